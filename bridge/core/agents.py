"""The state of one agent: as it is kept in memory and, as JSON, in the journal's file; pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from bridge.messages.envelope import timestamp
from bridge.messages.events import CallStarted, Direction
from bridge.messages.trace import Trace

MOST_RECORDINGS = 100
"""Paths kept of one call, for its end to tell; each is told when it comes."""


@dataclass(slots=True)
class Call:
    """One call. `started_at` (RFC 3339) is None where its arrival was not heard.

    `raw` is the frame of its arrival, empty once the call is over.
    """

    id: str
    direction: Direction
    started_at: str | None
    raw: str
    context: dict[str, Any] | None = None
    trace: Trace = None
    recordings: tuple[str, ...] = ()
    duration_seconds: float | None = None

    @classmethod
    def of(cls, event: CallStarted, at: datetime | None) -> Call:
        """Return the call that an arrival is, heard `at`, or found by asking."""
        started_at = timestamp(at) if at else None
        call_id = event.call_id or ""
        return cls(call_id, event.direction, started_at, event.raw, event.context, event.trace)

    def ended(self, at: datetime) -> Call:
        """Return what is kept of it after its end."""
        if self.started_at is not None:
            lasted = at - datetime.fromisoformat(self.started_at)
            self.duration_seconds = max(0.0, lasted.total_seconds())
        self.raw = ""
        return self


@dataclass(frozen=True, slots=True)
class Expected:
    """A call that a command asked for and that has not come yet; until when it may (Unix)."""

    command_id: str
    phone: str
    until: float
    context: dict[str, Any] | None
    trace: Trace


@dataclass(slots=True)
class Agent:
    """One agent; times are Unix seconds. `heard_at` is None for whom Tactium never named.

    `heard_on` and `call_seen_on` number the connection on which anything was last
    heard of it, and on which a call of it was last seen; 0 was before this process.
    `is_real`: something was said of it that was understood. `spelling` is its login
    where that cannot be had back from its name. Until `answer_until`, the arrival
    of its call may be told again as the answer to a question.
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
    is_real: bool = False
    spelling: str | None = None
    answer_until: float = 0.0

    @property
    def since_moment(self) -> datetime | None:
        """Since when its status is what it is, in UTC."""
        return _moment(self.since)

    @property
    def has_state(self) -> bool:
        """Whether there is something that may have changed unheard."""
        return self.is_real or self.code is not None or self.call is not None

    def hears(self, now: float, every_seconds: float) -> bool:
        """Note that it was heard of; return whether the file should know, so often."""
        self.heard_at = now
        return now - self.kept_at > every_seconds

    def maybe_expected(self, call: CallStarted, at: datetime) -> Expected | None:
        """Return which of the calls that are expected one is that arrives, the oldest first."""
        if not self.expected or call.direction != "outbound":
            return None
        now, destination = unix_seconds(at), call.destination or ""
        for each in self.expected:
            if each.until >= now and destination.endswith(each.phone):
                return each
        return None

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
                "is_real": self.is_real,
                "spelling": self.spelling,
                "call": self.call,
                "last_call": self.last_call,
                "expected": self.expected,
            }
        )

    @classmethod
    def from_state(cls, state: bytes) -> Agent:
        """Return the agent that had this state. Raises `ValueError` where it is none."""
        known = orjson.loads(state)
        try:
            return cls._of(known)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no state of an agent: {error}") from None

    @classmethod
    def _of(cls, known: dict[str, Any]) -> Agent:
        return cls(
            known["code"],
            known["since"],
            known["heard_at"],
            _call_from(known["call"]),
            _call_from(known["last_call"]),
            tuple(Expected(**each) for each in known["expected"]),
            kept_at=known["heard_at"] or 0.0,
            is_real=known["is_real"],
            spelling=known["spelling"],
        )


def _call_from(known: dict[str, Any] | None) -> Call | None:
    """Return a call from its state; the first of them had its beginning in Unix seconds."""
    if known is None:
        return None
    started_at = known["started_at"]
    if isinstance(started_at, float):
        started_at = timestamp(datetime.fromtimestamp(started_at, UTC))
    recordings = tuple(known["recordings"])
    return Call(**{**known, "started_at": started_at, "recordings": recordings})


@lru_cache(maxsize=256)  # what one read brings has one time
def unix_seconds(at: datetime) -> float:
    """Return a moment (aware) as Unix seconds."""
    return at.timestamp()


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
