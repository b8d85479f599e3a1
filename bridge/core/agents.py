"""The state of one agent: as it is kept in memory and, as JSON, in the journal's file; pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from bridge.messages.events import CallStarted, Direction, Trace

HEARD_EVERY_SECONDS = 3600.0
"""How exactly the file knows when an agent was last heard of: it serves to forget after days."""


@dataclass(slots=True)
class Call:
    """One call. `started_at` (Unix seconds) is None where its arrival was not heard.

    `raw` is the frame of its arrival, empty once the call is over.
    """

    id: str
    direction: Direction
    started_at: float | None
    raw: str
    context: dict[str, Any] | None = None
    trace: Trace = None
    recordings: tuple[str, ...] = ()
    duration_seconds: float | None = None

    @classmethod
    def of(cls, event: CallStarted, at: datetime | None) -> Call:
        """Return the call that an arrival is, heard `at`, or found by asking."""
        started_at = at.timestamp() if at else None
        call_id = event.call_id or ""
        return cls(call_id, event.direction, started_at, event.raw, event.context, event.trace)

    @property
    def started_moment(self) -> datetime | None:
        """When it began, in UTC."""
        return _moment(self.started_at)

    def ended(self, at: datetime) -> Call:
        """Return what is kept of it after its end."""
        if self.started_at is not None:
            seconds = round(at.timestamp() - self.started_at, 6)
            self.duration_seconds = max(0.0, seconds)
        self.raw = ""
        return self


@dataclass(frozen=True, slots=True)
class Expected:
    """A call that a command asked for and that has not come yet; until when it may (Unix)."""

    phone: str
    until: float
    context: dict[str, Any] | None
    trace: Trace


@dataclass(slots=True)
class Agent:
    """One agent; times are Unix seconds. `heard_at` is None for whom Tactium never named.

    `heard_on` and `call_seen_on` number the connection on which anything was last
    heard of it, and on which a call of it was last seen; 0 was before this process.
    """

    code: int | None = None
    since: float | None = None
    heard_at: float | None = None
    call: Call | None = None
    last_call: Call | None = None
    expected: tuple[Expected, ...] = ()
    heard_on: int = 0
    call_seen_on: int = 0
    kept_at: float = 0.0

    @property
    def since_moment(self) -> datetime | None:
        """Since when its status is what it is, in UTC."""
        return _moment(self.since)

    @property
    def has_state(self) -> bool:
        """Whether there is something that may have changed unheard."""
        return self.code is not None or self.call is not None

    def hears(self, now: float) -> bool:
        """Note that it was heard of; return whether the file should know."""
        self.heard_at = now
        return now - self.kept_at > HEARD_EVERY_SECONDS

    def is_over(self, now: float, limit: float) -> bool:
        """Whether it was not heard of since `limit`, and nothing is expected of it."""
        if any(each.until >= now for each in self.expected):
            return False
        return self.heard_at is None or self.heard_at < limit

    def as_state(self) -> bytes:
        """Return all that outlives the process."""
        self.kept_at = self.heard_at or 0.0
        return orjson.dumps(
            {
                "code": self.code,
                "since": self.since,
                "heard_at": self.heard_at,
                "call": self.call,
                "last_call": self.last_call,
                "expected": self.expected,
            }
        )

    @classmethod
    def from_state(cls, state: bytes) -> Agent:
        """Return the agent that had this state."""
        known = orjson.loads(state)
        return cls(
            known["code"],
            known["since"],
            known["heard_at"],
            _call_from(known["call"]),
            _call_from(known["last_call"]),
            tuple(Expected(**each) for each in known["expected"]),
            kept_at=known["heard_at"] or 0.0,
        )


def _call_from(known: dict[str, Any] | None) -> Call | None:
    return None if known is None else Call(**{**known, "recordings": tuple(known["recordings"])})


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
