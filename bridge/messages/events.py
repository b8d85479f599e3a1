"""What Tactium says: its events, past tense, and its bare `OK`.

The field order of a class is the key order of `data` in contract.md §2. What stands below
a field describes it in `schemas/`.

These are the hot path, so they are plain dataclasses that orjson writes as they
are, and without slots, through which it would take twice as long to look; `core`
fills in what a frame alone cannot tell (`call_id`, `context`, …).

`agent` is always the canonical name: the casefolded login. `raw` is the frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bridge.messages.fields import Agent, CallId, Moment, Seconds, StatusCode, StatusName
from bridge.messages.privacy import GivenBack, Note, Personal, Phone, RawFrame
from bridge.messages.trace import Traced

Direction = Annotated[
    Literal["inbound", "outbound"],
    Field(description="Who called: `inbound` the customer, `outbound` the dialer or the agent."),
]

STATUS_NAMES: dict[int, StatusName] = {
    0: "logged_out",
    1: "available",
    2: "paused",
    3: "busy",
    4: "wrap_up",
}
"""§4.6. A number outside these keeps its value, with the name `unknown`."""

BUSY = 3
"""The status of an agent in a call."""


@dataclass
class CallData(Traced):
    """A call, as Tactium told it at its beginning or when it was asked."""

    agent: Agent
    call_id: CallId | None
    direction: Direction
    dial_item_id: str | None
    """The dialer's id of what it dialled; outbound only."""
    origin_area_code: Phone | None
    """The area code of the number that calls."""
    origin: Phone | None
    """The number that calls."""
    destination_area_code: Phone | None
    """The area code of the number that is called."""
    destination: Phone | None
    """The number that is called."""
    description: Note | None
    """The service or campaign, as Tactium describes it."""
    recording_key: Note | None
    """By what the recording is found."""
    external_id: Note | None
    """What an integration gave the call, as it came."""
    external: Annotated[dict[str, str], Personal.NOTE]
    """The pairs in `external_id`, such as the dialer's attributes; empty where it holds none."""
    context: GivenBack
    raw: RawFrame


@dataclass
class CallStarted(CallData):
    """A call arrives at an agent (§5.1 outbound, §5.2 inbound)."""

    type: ClassVar[str] = "call.started"

    @property
    def topic(self) -> str:
        """What follows the agent in the routing key."""
        return f"call.started.{self.direction}"


@dataclass
class CallCurrent(CallData):
    """A call that was going on already was found by asking (§4.11)."""

    type: ClassVar[str] = "call.current"
    topic: ClassVar[str] = "call.current"


@dataclass
class CallRecorded(Traced):
    """Where the recording of a call is kept (§5.3)."""

    type: ClassVar[str] = "call.recorded"
    topic: ClassVar[str] = "call.recorded"

    agent: Agent
    call_id: CallId | None
    path: Annotated[str | None, Personal.NOTE]
    """Where the recording is kept."""
    context: GivenBack
    raw: RawFrame


@dataclass
class CallEnded(Traced):
    """A call ended (§5.4).

    `repeated`: no call was open, Tactium said it twice. `inferred`: Tactium
    never said it, the next call began or a resync found it gone; `raw` is null.
    """

    type: ClassVar[str] = "call.ended"
    topic: ClassVar[str] = "call.ended"

    agent: Agent
    call_id: CallId | None = None
    direction: Direction | None = None
    started_at: Moment | None = None
    """The `time` of the event that began the call."""
    duration_seconds: Seconds | None = None
    """How long the call took, as the bridge saw it."""
    recordings: Annotated[list[str] | None, Personal.NOTE] = None
    """Where the recordings of the call are kept."""
    context: GivenBack = None
    repeated: bool = False
    """Whether no call was open: Tactium said it twice, and the rest is the last call's."""
    inferred: bool = False
    """Whether Tactium never said it: the next call began, or a resync found it gone."""
    raw: RawFrame | None = None


@dataclass
class AgentStatus:
    """What an agent is doing, as Tactium answered whoever asked (§4.6)."""

    type: ClassVar[str] = "agent.status"
    topic: ClassVar[str] = "agent.status"

    agent: Agent
    code: StatusCode
    status: StatusName
    raw: RawFrame


@dataclass
class FrameUnknown:
    """A well-formed frame that fits nothing; `fields` holds all of it, the login first."""

    type: ClassVar[str] = "frame.unknown"
    topic: ClassVar[str] = "frame.unknown"

    agent: Agent
    fields: Annotated[list[str], Personal.FRAME] = field(default_factory=list)
    """All fields of the frame, the login first."""
    raw: RawFrame = ""


@dataclass
class Confirmed:
    """Tactium's bare `OK`: the answer to a command, and no event by itself."""

    agent: str
    fields: list[str]
    raw: RawFrame

    def as_unknown(self) -> FrameUnknown:
        """Return what an `OK` is that nothing was waiting for."""
        return FrameUnknown(self.agent, self.fields, self.raw)


Event = CallStarted | CallCurrent | CallRecorded | CallEnded | AgentStatus | FrameUnknown
"""All that is published on the events exchange."""

Heard = CallStarted | CallRecorded | CallEnded | AgentStatus | FrameUnknown | Confirmed
"""All that one frame from Tactium can be."""
