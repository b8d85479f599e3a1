"""Which command a frame answers (protocol.md §5); pure.

Tactium's replies carry the login and nothing else, so one command at a time is
in flight for an agent, and a reply is told from an event by its shape:

- events are events always; the end of a call also answers a `hang_up`, and a
  call's arrival also a `get_current_call` or the `make_call` that dialled it;
- a status is always published, and also answers a `get_status`;
- `OK` answers what expects `OK` and nothing else;
- any other frame is a refusal of the command in flight.

A command that was given up may still be answered, and that answer must not be
taken for the next command's. Its agent is late: before anything else is sent, a
status query is, the fence. What comes before its answer belongs to the past.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum

from bridge.messages.commands import (
    EndWrapUp,
    GetCurrentCall,
    GetStatus,
    HangUp,
    Logoff,
    Logon,
    MakeCall,
    Pause,
    Resume,
    ScheduleCallback,
    SetDisposition,
    WireCommand,
)
from bridge.messages.events import (
    AgentStatus,
    CallEnded,
    CallStarted,
    Confirmed,
    FrameUnknown,
    Heard,
)
from bridge.messages.replies import Outcome

MOST_LATE = 10_000
"""Agents who owe an answer; past that, the one who has owed it longest is forgiven."""

_ANSWERED_BY: dict[type[WireCommand], tuple[type[Heard], ...]] = {
    Logon: (Confirmed,),
    Logoff: (Confirmed,),
    Pause: (Confirmed,),
    Resume: (Confirmed,),
    EndWrapUp: (Confirmed,),
    GetStatus: (AgentStatus,),
    ScheduleCallback: (Confirmed,),
    SetDisposition: (Confirmed,),
    MakeCall: (Confirmed, CallStarted),
    HangUp: (CallEnded,),
    GetCurrentCall: (CallStarted,),
}


class State(Enum):
    """How an agent and the commands for it stand."""

    IDLE = "idle"  # nothing is in flight and nothing is owed
    AWAITING = "awaiting"  # a command is in flight
    LATE = "late"  # a command was given up, and its answer may still come
    FENCED = "fenced"  # so was it, and the fence is in flight


class Step(Enum):
    """What brings an agent from one state into another."""

    SEND = "send"  # a command goes out
    ANSWER = "answer"  # it is answered, or the fence is
    GIVE_UP = "give up"  # time is over for the command, or for the fence
    FENCE = "fence"  # the fence goes out


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.IDLE, Step.SEND): State.AWAITING,
    (State.AWAITING, Step.ANSWER): State.IDLE,
    (State.AWAITING, Step.GIVE_UP): State.LATE,
    (State.LATE, Step.FENCE): State.FENCED,
    (State.FENCED, Step.ANSWER): State.IDLE,
    (State.FENCED, Step.GIVE_UP): State.LATE,
}
"""All that may happen. A link that is lost makes every agent idle: nothing is owed any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a frame means for the command in flight, or for the fence: `command` is a query then."""

    command: WireCommand
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Late:
    """A frame that answers a command which was given up."""

    command: WireCommand
    command_id: str


@dataclass(frozen=True, slots=True)
class _Agent:
    """`command` is the one in flight, or the one that was given up."""

    state: State
    command: WireCommand
    command_id: str


class Correlator:
    """The state of every agent that is not idle."""

    def __init__(self) -> None:
        self._agents: OrderedDict[str, _Agent] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Correlator: {len(self._agents)} agents are not idle>"

    def state(self, agent: str) -> State:
        """Return how an agent stands."""
        known = self._agents.get(agent)
        return known.state if known else State.IDLE

    def command(self, agent: str) -> WireCommand | None:
        """Return the command that is in flight for an agent, or that was given up last."""
        known = self._agents.get(agent)
        return known.command if known else None

    def send(self, agent: str, command: WireCommand, command_id: str) -> None:
        """Note that `command` goes out now. Raises `RuntimeError` where the agent is not idle."""
        state = self._next(agent, Step.SEND)
        self._agents[agent] = _Agent(state, command, command_id)
        self._forgive()

    def fence(self, agent: str) -> None:
        """Note that the fence goes out. Raises `RuntimeError` where the agent is not late."""
        self._step(agent, Step.FENCE)

    def give_up(self, agent: str) -> None:
        """Note that no answer came in time, to the command or to the fence.

        Raises `RuntimeError` where neither is in flight.
        """
        self._step(agent, Step.GIVE_UP)

    def reset_but(self, agents: AbstractSet[str]) -> None:
        """Owe nothing and await nothing any more, as the link is lost, but for these agents."""
        for agent in self._agents.keys() - agents:
            del self._agents[agent]

    def reset(self, agent: str) -> None:
        """Owe nothing and await nothing any more for one agent."""
        self._agents.pop(agent, None)

    def hear(self, heard: Heard, wanted_by: str | None = None) -> Answer | Late | None:
        """Return what a frame means for the agent's command, None where it is no more than news.

        `wanted_by` is the id of the command that asked for the call which arrives.
        """
        known = self._agents.get(heard.agent)
        if known is None:
            return None
        if known.state is State.AWAITING:
            is_anothers = wanted_by not in (None, known.command_id)
            if is_anothers and isinstance(known.command, MakeCall):
                return None
            return self._hear_answer(heard, known.command)
        if known.state is State.FENCED and isinstance(heard, AgentStatus):
            self._step(heard.agent, Step.ANSWER)
            return Answer(known.command, Outcome.OK)
        if _was_expected(heard, known.command):
            return Late(known.command, known.command_id)
        return None

    def _hear_answer(self, heard: Heard, command: WireCommand) -> Answer | None:
        if isinstance(heard, FrameUnknown):
            outcome = Outcome.REJECTED
        elif _answers(heard, command):
            outcome = Outcome.OK
        else:
            return None
        self._step(heard.agent, Step.ANSWER)
        return Answer(command, outcome)

    def _step(self, agent: str, step: Step) -> None:
        state = self._next(agent, step)
        if state is State.IDLE:
            del self._agents[agent]
            return
        known = self._agents[agent]
        self._agents[agent] = _Agent(state, known.command, known.command_id)

    def _next(self, agent: str, step: Step) -> State:
        state = self.state(agent)
        if (state, step) not in TRANSITIONS:
            raise RuntimeError(f"{agent!a} is {state.value}: no {step.value} follows")
        return TRANSITIONS[state, step]

    def _forgive(self) -> None:
        """Keep those who owe an answer within their bound."""
        if len(self._agents) <= MOST_LATE:
            return
        late = (name for name, known in self._agents.items() if known.state is State.LATE)
        oldest = next(late, None)
        if oldest is not None:
            del self._agents[oldest]


def _answers(heard: Heard, command: WireCommand) -> bool:
    """Whether a frame is of the shape that a command expects."""
    if not isinstance(heard, _ANSWERED_BY[type(command)]):
        return False
    if isinstance(heard, CallStarted) and isinstance(command, MakeCall):
        is_outbound = heard.direction == "outbound"
        return is_outbound and (heard.destination or "").endswith(command.phone)
    return True


def _was_expected(heard: Heard, command: WireCommand) -> bool:
    """Whether a frame can be the late answer to a command, or an answer at all.

    The call that a `make_call` brings comes when it comes: it is an event, and late for nothing.
    """
    if isinstance(heard, Confirmed | FrameUnknown):
        return True
    return not isinstance(command, MakeCall) and _answers(heard, command)
