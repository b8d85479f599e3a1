"""What the bridge knows of each agent: the current call, and the last status; pure.

Frames carry no call id and `EndCall` says nothing but the login, so the bridge
gives each call an id at its arrival and keeps it until the next one begins, over
lost links and restarts. Enrichment never holds an event back: without knowledge
its fields are null.

What is kept of a call is its frame, not what the frame says: a hundred thousand
agents fit in a hundred megabytes, and what it says can be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from bridge.core.agents import MOST_RECORDINGS, Agent, Call, Expected, unix_seconds
from bridge.messages.commands import GetCurrentCall, MakeCall, WireCommand
from bridge.messages.envelope import timestamp
from bridge.messages.events import (
    BUSY,
    STATUS_NAMES,
    AgentStatus,
    CallCurrent,
    CallEnded,
    CallRecorded,
    CallStarted,
    Confirmed,
    Event,
    FrameUnknown,
    Heard,
)
from bridge.messages.fields import StatusName
from bridge.messages.replies import AgentData
from bridge.messages.trace import Trace

ANSWER_WITHIN_SECONDS = 10.0
"""How long after its question an answer may come that says what was just said anyway."""

MOST_EXPECTED = 16
"""Calls that commands asked for and that have not come yet, for one agent."""

_GIVEN_BY_US = frozenset(("call_id", "context", "raw", "_trace"))
CALL_FIELDS = tuple(f.name for f in fields(CallStarted))
_SAID_BY_TACTIUM = tuple(name for name in CALL_FIELDS if name not in _GIVEN_BY_US)


class Calls:
    """Every agent whom Tactium has named.

    `new_id` returns a fresh call id; `reread` returns what the frame of a call
    says, which was understood before; `expect_seconds` is how long the call that
    a command asked for may take to arrive, `forget_after` how long an agent is
    known of whom Tactium does not speak.
    """

    def __init__(
        self,
        new_id: Callable[[], str],
        reread: Callable[[str], Heard],
        *,
        expect_seconds: float = 60.0,
        forget_after: timedelta = timedelta(days=7),
    ) -> None:
        self._new_id = new_id
        self._reread = reread
        self._expect_seconds = expect_seconds
        self._forget_after = forget_after
        self._heard_every_seconds = min(3600.0, forget_after.total_seconds() / 10)
        self._agents: dict[str, Agent] = {}
        self._changed: set[str] = set()
        self._connection = 0

    def __repr__(self) -> str:
        return f"<Calls: {len(self._agents)} agents>"

    def restore(self, states: Iterable[tuple[str, bytes]]) -> list[str]:
        """Take what the bridge before this one knew, as `take_changes` gave it.

        Returns the agents whose state could not be read.
        """
        unreadable = []
        for name, state in states:
            try:
                self._agents[name] = Agent.from_state(state)
            except ValueError:
                unreadable.append(name)
        return unreadable

    def take_changes(self) -> dict[str, bytes | None]:
        """Return the state of each agent that changed since the last time, None to forget it."""
        if not self._changed:
            return {}
        changed, self._changed = self._changed, set()
        return {
            name: known.as_state() if (known := self._agents.get(name)) else None
            for name in changed
        }

    def change_all(self) -> None:
        """Have `take_changes` return everything, since nobody else has it any more."""
        self._changed.update(self._agents)

    def states(self) -> Iterator[tuple[str, bytes]]:
        """Yield the state of each agent, for another bridge to `adopt`."""
        for name in list(self._agents):
            known = self._agents.get(name)
            if known is not None:
                yield name, known.as_state()

    def adopt(self, states: Mapping[str, bytes | None]) -> None:
        """Take the states that another bridge has, None to forget an agent.

        One that is older than what was heard of the agent since is passed over.
        """
        for name, state in states.items():
            known = self._agents.get(name)
            if state is None:
                self._agents.pop(name, None)
            else:
                told = Agent.from_state(state)
                if known is None or (known.heard_at or 0.0) <= (told.heard_at or 0.0):
                    self._agents[name] = told
        self._changed.update(states)

    def followed(self, name: str, raw: str | None, at: datetime) -> Agent:
        """Return the agent of whom another bridge has heard, in this frame, if in any."""
        agent = self._agents.get(name)
        if agent is None:
            agent = self._agents[name] = Agent()
            login = (raw or "")[1:].partition(">")[0] or name
            agent.spelling = login if login.lower() != name else None
        agent.heard_at = max(unix_seconds(at), agent.heard_at or 0.0)
        self._changed.add(name)
        return agent

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
        if isinstance(heard, FrameUnknown) and answers:
            return []  # a refusal: of an agent who need not be there
        agent = self._named(heard, at)
        match heard:
            case CallStarted():
                self._changed.add(heard.agent)
                asked = isinstance(answers, GetCurrentCall)
                return self._arrived(agent, heard, at, asked=asked)
            case CallEnded():
                self._changed.add(heard.agent)
                agent.call_seen_on = self._connection
                return [_ended(agent, heard, at)]
            case CallRecorded():
                if agent.call or agent.last_call:
                    self._changed.add(heard.agent)
                return [_recorded(agent, heard)]
            case AgentStatus():
                return self._observed(agent, heard, at)
            case Confirmed() | FrameUnknown():
                return [] if answers else [_unknown(heard)]

    def _named(self, heard: Heard, at: datetime) -> Agent:
        """Return the agent whom Tactium has just named."""
        name = heard.agent
        agent = self._agents.get(name)
        if agent is None:
            agent = self._agents[name] = Agent()
            login = (heard.raw or "")[1:].partition(">")[0]
            agent.spelling = login if login.lower() != name else None
        agent.heard_on = self._connection
        if not agent.is_real and not isinstance(heard, FrameUnknown):
            agent.is_real = True
            self._changed.add(name)
        if agent.hears(unix_seconds(at), self._heard_every_seconds):
            self._changed.add(name)
        return agent

    def expect(self, command: MakeCall, command_id: str, trace: Trace, at: datetime) -> None:
        """Note that a command asks Tactium for a call, whose arrival carries its context.

        Noting it twice is harmless.
        """
        name = command.agent.casefold()
        agent = self._agents.get(name)
        if agent is None:
            agent = self._agents[name] = Agent()
        if any(each.command_id == command_id for each in agent.expected):
            return
        until = unix_seconds(at) + self._expect_seconds
        expected = Expected(command_id, command.phone, until, command.context, trace)
        agent.expected = (*agent.expected, expected)[-MOST_EXPECTED:]
        self._changed.add(name)

    def expect_no_more(self, agent: str, command_id: str) -> None:
        """Note that Tactium will not make the call that this command asked for."""
        known = self._agents.get(agent)
        if known is not None and known.expected:
            left = tuple(each for each in known.expected if each.command_id != command_id)
            known.expected = left
            self._changed.add(agent)

    def maybe_wanted_by(self, heard: Heard, at: datetime) -> str | None:
        """Return the id of the command that asked for the call which arrives, if any did."""
        if not isinstance(heard, CallStarted) or heard.direction != "outbound":
            return None
        agent = self._agents.get(heard.agent)
        expected = agent.maybe_expected(heard, at) if agent is not None else None
        return expected.command_id if expected is not None else None

    def is_heard_of(self, agent: str) -> bool:
        """Return whether Tactium has said anything of an agent since the link is up."""
        known = self._agents.get(agent)
        return known is not None and known.heard_on == self._connection

    def known(self, agent: str | None = None) -> Iterator[AgentData]:
        """Yield what is known of one agent, or of all (contract.md §5, `get_agents`)."""
        for name in [agent] if agent is not None else list(self._agents):
            known = self._agents.get(name)
            if known is not None and known.heard_at is not None:
                yield self._snapshot(name, known)

    def names(self) -> Collection[str]:
        """Return the names of all agents."""
        return self._agents.keys()

    def maybe_tile(self, agent: str) -> dict[str, Any] | None:
        """Return what there is to see of an agent at a glance: of its call, the direction."""
        known = self._agents.get(agent)
        if known is None or known.heard_at is None:
            return None
        call = known.call
        glance = {"direction": call.direction, "since": call.started_at} if call else None
        code, status, since = _state(known)
        return {"agent": agent, "code": code, "status": status, "since": since, "call": glance}

    def to_ask(self) -> list[tuple[str, str]]:
        """Return the agents whose state may have changed unheard, those in a call first.

        Each with its login, as Tactium spells it.
        """
        known = [(a.call is None, name) for name, a in self._agents.items() if a.has_state]
        return [(name, self._agents[name].spelling or name) for _, name in sorted(known)]

    def state_of(self, agent: str) -> tuple[int | None, str | None]:
        """Return an agent's status and the id of its call, as far as they are known."""
        known = self._agents.get(agent)
        if known is None:
            return None, None
        return known.code, known.call.id if known.call else None

    def forget(self, now: datetime) -> None:
        """Forget the agents not heard of for too long, and those who never were."""
        moment, limit = now.timestamp(), (now - self._forget_after).timestamp()
        gone = [name for name, agent in self._agents.items() if agent.is_over(moment, limit)]
        for name in gone:
            del self._agents[name]
        self._changed.update(gone)

    def _observed(self, agent: Agent, event: AgentStatus, at: datetime) -> list[Event]:
        """Take a status. A call from before the link was lost is over where nobody is busy."""
        if event.code != agent.code:
            agent.code, agent.since = event.code, unix_seconds(at)
            self._changed.add(event.agent)
        is_stale = agent.call is not None and agent.call_seen_on != self._connection
        if not is_stale or event.code == BUSY or event.code not in STATUS_NAMES:
            return [event]
        self._changed.add(event.agent)
        return [_ended(agent, CallEnded(event.agent, inferred=True), at), event]

    def _arrived(
        self, agent: Agent, event: CallStarted, at: datetime, *, asked: bool
    ) -> list[Event]:
        known = agent.call
        seen_before = agent.call_seen_on == self._connection
        agent.call_seen_on = self._connection
        now = unix_seconds(at)
        asked_before, agent.answer_until = now < agent.answer_until, 0.0
        if (asked or asked_before) and known is not None and self._is_same(known, event):
            event.call_id, event.context, event.trace = known.id, known.context, known.trace
            return [_current(event)]
        if asked:  # by an arrival of its own: the answer, which says the same, may still come
            agent.answer_until = now + ANSWER_WITHIN_SECONDS
        event.call_id = self._new_id()
        self._give_what_was_expected(agent, event, at)
        if asked and known is None and not seen_before:
            agent.call = Call.of(event, None)
            return [_current(event)]
        published: list[Event] = []
        if known is not None:
            published.append(_ended(agent, CallEnded(event.agent, inferred=True), at))
        agent.call = Call.of(event, at)
        published.append(event)
        return published

    def _give_what_was_expected(self, agent: Agent, event: CallStarted, at: datetime) -> None:
        """Give a call what the command that made it wants it to carry (contract.md §4)."""
        found = agent.maybe_expected(event, at)
        if found is not None:
            event.context, event.trace = found.context, found.trace
            agent.expected = tuple(each for each in agent.expected if each is not found)

    def _is_same(self, known: Call, event: CallStarted) -> bool:
        """Whether a frame says of a call, in every field, what its arrival said."""
        if known.raw == event.raw:
            return True
        before = self._reread(known.raw)
        return all(getattr(before, name) == getattr(event, name) for name in _SAID_BY_TACTIUM)

    def _snapshot(self, name: str, agent: Agent) -> AgentData:
        return AgentData(name, *_state(agent), self._maybe_data_of(agent.call))

    def _maybe_data_of(self, call: Call | None) -> CallStarted | None:
        """Return the data of a call's arrival, once more."""
        data = self._reread(call.raw) if call is not None else None
        if call is None or not isinstance(data, CallStarted):
            return None
        data.call_id, data.context = call.id, call.context
        return data


def _state(agent: Agent) -> tuple[int | None, StatusName | None, str | None]:
    """Return an agent's status, as a number and in words, and since when it is that."""
    status: StatusName | None = None
    if agent.code is not None:
        status = STATUS_NAMES.get(agent.code, "unknown")
    since = timestamp(agent.since_moment) if agent.since_moment else None
    return agent.code, status, since


def _ended(agent: Agent, event: CallEnded, at: datetime) -> CallEnded:
    if agent.call is None:
        event.repeated = True
    else:
        agent.last_call, agent.call = agent.call.ended(at), None
    last = agent.last_call
    if last is not None:
        event.call_id, event.direction = last.id, last.direction
        event.started_at, event.duration_seconds = last.started_at, last.duration_seconds
        event.recordings = list(last.recordings)
        event.context, event.trace = last.context, last.trace
    return event


def _recorded(agent: Agent, event: CallRecorded) -> CallRecorded:
    """Give a recording to the current call, or after its end to the last one."""
    call = agent.call or agent.last_call
    if call is not None:
        event.call_id, event.context, event.trace = call.id, call.context, call.trace
        if event.path is not None:
            call.recordings = (*call.recordings, event.path)[-MOST_RECORDINGS:]
    return event


def _unknown(heard: Confirmed | FrameUnknown) -> FrameUnknown:
    """Return what a frame is that nothing was waiting for."""
    return heard.as_unknown() if isinstance(heard, Confirmed) else heard


def _current(call: CallStarted) -> CallCurrent:
    return CallCurrent(**{name: getattr(call, name) for name in CALL_FIELDS})
