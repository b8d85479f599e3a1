"""What Tactium says: its events, past tense, and its bare `OK`.

The field order of a class is the key order of `data` in contract.md §2. These
are the hot path, so they are plain dataclasses that orjson writes as they are, and
without slots, through which it would take twice as long to look; `core` fills in
what a frame alone cannot tell (`call_id`, `context`, …).

`agent` is always the canonical name: the casefolded login. `raw` is the frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from bridge.messages.privacy import GivenBack, Note, Personal, Phone, RawFrame

Direction = Literal["inbound", "outbound"]
StatusName = Literal["logged_out", "available", "paused", "busy", "wrap_up", "unknown"]

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


Trace = str | None
"""W3C Trace Context of the command behind a call: `traceparent`, on a second line `tracestate`."""


@dataclass
class _Traced:
    """Part of a call. What begins with an underscore is no part of `data`, but of the headers."""

    _trace: Trace = field(default=None, kw_only=True)

    @property
    def trace(self) -> Trace:
        """The trace that the call belongs to, if any."""
        return self._trace

    @trace.setter
    def trace(self, trace: Trace) -> None:
        self._trace = trace


@dataclass
class _CallData(_Traced):
    agent: str
    call_id: str | None
    direction: Direction
    dial_item_id: str | None
    origin_area_code: Phone | None
    origin: Phone | None
    destination_area_code: Phone | None
    destination: Phone | None
    description: Note | None
    recording_key: Note | None
    external_id: Note | None
    external: Annotated[dict[str, str], Personal.NOTE]
    context: GivenBack
    raw: RawFrame


@dataclass
class CallStarted(_CallData):
    """A call arrives at an agent (§5.1 outbound, §5.2 inbound)."""

    type: ClassVar[str] = "call.started"

    @property
    def topic(self) -> str:
        """What follows the agent in the routing key."""
        return f"call.started.{self.direction}"


@dataclass
class CallCurrent(_CallData):
    """A call that was going on already was found by asking (§4.11)."""

    type: ClassVar[str] = "call.current"
    topic: ClassVar[str] = "call.current"


@dataclass
class CallRecorded(_Traced):
    """Where the recording of a call is kept (§5.3)."""

    type: ClassVar[str] = "call.recorded"
    topic: ClassVar[str] = "call.recorded"

    agent: str
    call_id: str | None
    path: Annotated[str | None, Personal.NOTE]
    context: GivenBack
    raw: RawFrame


@dataclass
class CallEnded(_Traced):
    """A call ended (§5.4).

    `repeated`: no call was open, Tactium said it twice. `inferred`: Tactium
    never said it, the next call began or a resync found it gone; `raw` is null.
    """

    type: ClassVar[str] = "call.ended"
    topic: ClassVar[str] = "call.ended"

    agent: str
    call_id: str | None = None
    direction: Direction | None = None
    started_at: str | None = None
    duration_seconds: float | None = None
    recordings: Annotated[list[str] | None, Personal.NOTE] = None
    context: GivenBack = None
    repeated: bool = False
    inferred: bool = False
    raw: RawFrame | None = None


@dataclass
class AgentStatus:
    """What an agent is doing, as Tactium answered whoever asked (§4.6)."""

    type: ClassVar[str] = "agent.status"
    topic: ClassVar[str] = "agent.status"

    agent: str
    code: int
    status: StatusName
    raw: RawFrame


@dataclass
class FrameUnknown:
    """A well-formed frame that fits nothing; `fields` holds all of it, the login first."""

    type: ClassVar[str] = "frame.unknown"
    topic: ClassVar[str] = "frame.unknown"

    agent: str
    fields: Annotated[list[str], Personal.FRAME] = field(default_factory=list)
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
