"""What the bridge says of itself, on an exchange of its own (contract.md §3).

What stands below a field describes it in `schemas/`.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bridge.messages.fields import Agent, Moment, Seconds
from bridge.messages.privacy import GivenBack, Personal, RawFrame
from bridge.messages.replies import Failure
from bridge.messages.trace import Traced

Epoch = Annotated[int, Field(ge=0, description="The number of the leadership: it grows with each.")]
Instance = Annotated[str, Field(description="Which bridge: its host, and a part of its own.")]
Transport = Annotated[str, Field(description="How Tactium is reached: `socket` or `database`.")]
Peer = Annotated[str, Field(description="Where Tactium is.")]
Count = Annotated[int, Field(ge=0)]


@dataclass(slots=True)
class LinkUp:
    """Tactium can be heard."""

    type: ClassVar[str] = "link.up"

    transport: Transport
    peer: Peer
    reason: str
    """How the registration went."""


@dataclass(slots=True)
class LinkDown:
    """Tactium cannot be heard any more."""

    type: ClassVar[str] = "link.down"

    transport: Transport
    peer: Peer
    reason: str
    """Why not."""


GapCause = Literal["link_down", "bridge_down", "takeover", "journal_full"]


@dataclass(slots=True)
class Gap:
    """Time in which Tactium could not be heard, or events were dropped."""

    type: ClassVar[str] = "gap"

    begin: Annotated[Moment, Field(alias="from")]
    """When it was heard last."""
    end: Annotated[Moment, Field(alias="to")]
    """When it was heard again."""
    cause: GapCause
    """Why it was not heard."""
    dropped: Count = 0
    """How many events were dropped; 0 where unknown."""

    def as_json(self) -> dict[str, str | int]:
        """Return its data; `from` is no name that Python lets a field have."""
        return {"from": self.begin, "to": self.end, "cause": self.cause, "dropped": self.dropped}


@dataclass(slots=True)
class Resync:
    """After a gap, Tactium was asked what may have changed, and has answered."""

    type: ClassVar[str] = "resync"

    agents: Count
    """Of how many agents it was asked."""
    changed: Count
    """How many of them had changed."""
    duration_seconds: Seconds
    """How long that took."""


@dataclass(slots=True)
class FrameMalformed:
    """Bytes came from Tactium that are no frame."""

    type: ClassVar[str] = "frame.malformed"

    reason: str
    """Why they are none."""
    text: Annotated[str, Personal.FRAME]
    """The bytes as readable text."""
    base64: Annotated[str, Personal.FRAME]
    """The bytes as they came."""

    @classmethod
    def of(cls, reason: str, text: str, raw: bytes) -> FrameMalformed:
        """Make one from the bytes themselves."""
        return cls(reason, text, b64encode(raw).decode("ascii"))


@dataclass(slots=True)
class ReplyLate:
    """An answer that came after its command had been given up; it answers nothing any more."""

    type: ClassVar[str] = "reply.late"

    agent: Agent
    command: str
    """What the command is called."""
    command_id: str
    """The `id` of the reply that has said so."""
    raw: RawFrame


@dataclass(slots=True)
class CommandEnded(Traced):
    """One command and what became of it: the audit trail."""

    id: str
    """The command's `message_id`, else one that the bridge gave."""
    command: str | None
    """What the command is called; null where that cannot be read."""
    agent: str | None
    """For whom it was, as the requester spelt it; null where that cannot be read."""
    user: str | None
    """Who asked: the `user_id` that RabbitMQ has checked; null for nobody."""
    outcome: str
    """How it ended."""
    error: Failure | None
    """Why it did not end well; null where it did."""
    duration_seconds: Seconds
    """From when the bridge got it until it ended."""
    correlation_id: str | None
    """That of its message."""
    context: GivenBack

    @property
    def type(self) -> str:
        """`command.<outcome>`: a subscriber can ask for one outcome alone."""
        return f"command.{self.outcome}"


@dataclass(slots=True)
class LeaderGained:
    """A bridge leads from now on: it is the one that is connected to Tactium."""

    type: ClassVar[str] = "leader.gained"

    epoch: Epoch
    instance: Instance
    reason: str
    """Why it does."""


@dataclass(slots=True)
class LeaderLost:
    """A bridge does not lead any more."""

    type: ClassVar[str] = "leader.lost"

    epoch: Epoch
    instance: Instance
    reason: str
    """Why not."""


@dataclass(slots=True)
class Heartbeat:
    """A bridge leads and is alive. Said each second; transient, and in no journal."""

    type: ClassVar[str] = "heartbeat"

    epoch: Epoch
    instance: Instance
    published_until: Moment | None
    """Up to when all that Tactium said is at the broker; null where it was never heard."""


Notice = (
    LinkUp
    | LinkDown
    | Gap
    | Resync
    | FrameMalformed
    | ReplyLate
    | CommandEnded
    | LeaderGained
    | LeaderLost
    | Heartbeat
)
