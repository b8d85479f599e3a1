"""Which command a frame answers (protocol.md §5); pure.

Tactium's replies carry the login and nothing else, so one command at a time is
in flight for an agent, and a reply is told from an event by its shape:

- events are events always; the end of a call also answers a `hang_up`, and a
  call's arrival also a `get_current_call` or the `make_call` that dialled it;
- a status is always published, and also answers a `get_status`;
- `OK` answers what expects `OK` and nothing else;
- any other frame is a refusal of the command in flight.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a frame means for the command in flight."""

    command: WireCommand
    outcome: Outcome


class Correlator:
    """Per agent: idle, or awaiting the answer to one command."""

    def __init__(self) -> None:
        self._awaiting: dict[str, WireCommand] = {}

    def __repr__(self) -> str:
        return f"<Correlator: {len(self._awaiting)} awaiting>"

    def begin(self, agent: str, command: WireCommand) -> None:
        """Note that `command` goes out now. The agent must be idle."""
        if agent in self._awaiting:
            raise RuntimeError(f"{agent!a} has a command in flight already")
        self._awaiting[agent] = command

    def end(self, agent: str) -> None:
        """Await no longer, whatever the reason. Ending twice is harmless."""
        self._awaiting.pop(agent, None)

    def hear(self, heard: Heard) -> Answer | None:
        """Return which command a frame answers, and how; the agent is idle then."""
        command = self._awaiting.get(heard.agent)
        if command is None:
            return None
        if isinstance(heard, _ANSWERED_BY[type(command)]):
            if isinstance(heard, CallStarted) and not _is_asked_for(heard, command):
                return None
            outcome = Outcome.OK
        elif isinstance(heard, FrameUnknown):
            outcome = Outcome.REJECTED
        else:
            return None
        self.end(heard.agent)
        return Answer(command, outcome)


def _is_asked_for(call: CallStarted, command: WireCommand) -> bool:
    """Whether a call that arrives is what the command in flight waits for."""
    if not isinstance(command, MakeCall):
        return True
    return call.direction == "outbound" and (call.destination or "").endswith(command.phone)
