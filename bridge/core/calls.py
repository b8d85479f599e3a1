"""What the bridge knows of each agent: the current call, and the last status; pure.

Frames carry no call id and `EndCall` says nothing but the login, so the bridge
gives each call an id at its arrival and keeps it until the next one begins.
Enrichment never holds an event back: without knowledge its fields are null.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from bridge.messages.commands import GetCurrentCall, WireCommand
from bridge.messages.envelope import timestamp
from bridge.messages.events import (
    AgentStatus,
    CallCurrent,
    CallEnded,
    CallRecorded,
    CallStarted,
    Confirmed,
    Event,
    FrameUnknown,
    Heard,
    StatusName,
)

_GIVEN_BY_US = frozenset(("call_id", "context", "raw"))
_SAID_BY_TACTIUM = tuple(f.name for f in fields(CallStarted) if f.name not in _GIVEN_BY_US)


@dataclass(slots=True)
class _Call:
    """One call. `started_at` is None where its arrival was not heard."""

    data: CallStarted
    started_at: datetime | None
    recordings: list[str] = field(default_factory=list)
    duration_seconds: float | None = None


@dataclass(slots=True)
class _Agent:
    code: int | None = None
    status: StatusName | None = None
    since: datetime | None = None
    call: _Call | None = None
    last_call: _Call | None = None
    connection: int = 0  # the one during which a call of this agent was last seen
    heard_on: int = 0  # the one during which anything was last heard of this agent


class Calls:
    """Every agent whom Tactium has named. `new_id` returns a fresh call id."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._agents: dict[str, _Agent] = {}
        self._connection = 0

    def __repr__(self) -> str:
        return f"<Calls: {len(self._agents)} agents>"

    def reconnected(self) -> None:
        """Note that the link is new: what was heard before may be out of date."""
        self._connection += 1

    def hear(
        self, heard: Heard, at: datetime, *, answers: WireCommand | None = None
    ) -> list[Event]:
        """Return what is to be published of what was heard `at` (UTC), its call filled in.

        `answers` is the command that it answers, if any: an `OK` or a refusal is
        then no event, and the answer to `get_current_call` is a new call only
        where it differs from what is known.
        """
        agent = self._agents.get(heard.agent)
        if agent is None:
            agent = self._agents[heard.agent] = _Agent()
        agent.heard_on = self._connection
        match heard:
            case CallStarted():
                asked = isinstance(answers, GetCurrentCall)
                return self._arrived(agent, heard, at, asked=asked)
            case CallEnded():
                agent.connection = self._connection
                return [_ended(agent, heard, at)]
            case CallRecorded():
                return [_recorded(agent, heard)]
            case AgentStatus():
                if heard.code != agent.code:
                    agent.code, agent.status, agent.since = heard.code, heard.status, at
                return [heard]
            case Confirmed():
                return [] if answers else [heard.as_unknown()]
            case FrameUnknown():
                return [] if answers else [heard]

    def is_heard_of(self, agent: str) -> bool:
        """Return whether Tactium has said anything of an agent since the link is up."""
        known = self._agents.get(agent)
        return known is not None and known.heard_on == self._connection

    def known(self, agent: str | None = None) -> list[dict[str, Any]]:
        """Return what is known of one agent, or of all (contract.md §5, `get_agents`)."""
        names = self._agents if agent is None else [agent] if agent in self._agents else []
        return [_snapshot(name, self._agents[name]) for name in names]

    def _arrived(
        self, agent: _Agent, event: CallStarted, at: datetime, *, asked: bool
    ) -> list[Event]:
        known = agent.call
        seen_before = agent.connection == self._connection
        agent.connection = self._connection
        if asked and known is not None and _same(known.data, event):
            return [_current(known.data, event.raw)]
        event.call_id = self._new_id()
        if asked and known is None and not seen_before:
            agent.call = _Call(event, started_at=None)
            return [_current(event, event.raw)]
        published: list[Event] = []
        if known is not None:
            published.append(_ended(agent, CallEnded(event.agent, inferred=True), at))
        agent.call = _Call(event, started_at=at)
        published.append(event)
        return published


def _ended(agent: _Agent, event: CallEnded, at: datetime) -> CallEnded:
    if agent.call is None:
        event.repeated = True
    else:
        agent.last_call, agent.call = agent.call, None
        if agent.last_call.started_at is not None:
            seconds = (at - agent.last_call.started_at).total_seconds()
            agent.last_call.duration_seconds = max(0.0, seconds)
    call = agent.last_call
    if call is not None:
        event.call_id = call.data.call_id
        event.direction = call.data.direction
        event.started_at = timestamp(call.started_at) if call.started_at else None
        event.duration_seconds = call.duration_seconds
        event.recordings = list(call.recordings)
        event.context = call.data.context
    return event


def _recorded(agent: _Agent, event: CallRecorded) -> CallRecorded:
    """Give a recording to the current call, or after its end to the last one."""
    call = agent.call or agent.last_call
    if call is not None:
        event.call_id, event.context = call.data.call_id, call.data.context
        if event.path is not None:
            call.recordings.append(event.path)
    return event


def _same(one: CallStarted, other: CallStarted) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in _SAID_BY_TACTIUM)


def _current(call: CallStarted, raw: str) -> CallCurrent:
    known = {f.name: getattr(call, f.name) for f in fields(call)}
    return CallCurrent(**{**known, "raw": raw})


def _snapshot(name: str, agent: _Agent) -> dict[str, Any]:
    return {
        "agent": name,
        "code": agent.code,
        "status": agent.status,
        "since": timestamp(agent.since) if agent.since else None,
        "call": agent.call.data if agent.call else None,
    }
