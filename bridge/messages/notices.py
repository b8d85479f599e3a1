"""What the bridge says of itself, on an exchange of its own (contract.md §3)."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from bridge.messages.privacy import GivenBack, Personal, RawFrame
from bridge.messages.replies import Failure


@dataclass(slots=True)
class LinkUp:
    """Tactium can be heard. `reason` says how the registration went."""

    type: ClassVar[str] = "link.up"

    transport: str
    peer: str
    reason: str


@dataclass(slots=True)
class LinkDown:
    """Tactium cannot be heard any more, and why."""

    type: ClassVar[str] = "link.down"

    transport: str
    peer: str
    reason: str


GapCause = Literal["link_down", "bridge_down", "takeover", "journal_full"]


@dataclass(slots=True)
class Gap:
    """Time in which Tactium could not be heard, or events were dropped.

    `begin` and `end` are its `from` and `to`, RFC 3339; `dropped` is how many
    events were dropped, 0 where unknown.
    """

    type: ClassVar[str] = "gap"

    begin: str
    end: str
    cause: GapCause
    dropped: int = 0

    def as_json(self) -> dict[str, str | int]:
        """Return its data; `from` is no name that Python lets a field have."""
        return {"from": self.begin, "to": self.end, "cause": self.cause, "dropped": self.dropped}


@dataclass(slots=True)
class Resync:
    """After a gap it was asked what may have changed: of so many agents, with so many changes."""

    type: ClassVar[str] = "resync"

    agents: int
    changed: int
    duration_seconds: float


@dataclass(slots=True)
class FrameMalformed:
    """Bytes from Tactium that are no frame: as readable text, and as they came."""

    type: ClassVar[str] = "frame.malformed"

    reason: str
    text: RawFrame
    base64: Annotated[str, Personal.FRAME]

    @classmethod
    def of(cls, reason: str, text: str, raw: bytes) -> FrameMalformed:
        """Make one from the bytes themselves."""
        return cls(reason, text, b64encode(raw).decode("ascii"))


@dataclass(slots=True)
class ReplyLate:
    """An answer that came after its command had been given up; it answers nothing any more."""

    type: ClassVar[str] = "reply.late"

    agent: str
    command: str
    command_id: str
    raw: RawFrame


@dataclass(slots=True)
class CommandEnded:
    """One command and what became of it: the audit trail."""

    id: str
    command: str | None
    agent: str | None
    user: str | None
    outcome: str
    error: Failure | None
    duration_seconds: float
    correlation_id: str | None
    context: GivenBack

    @property
    def type(self) -> str:
        """`command.<outcome>`: a subscriber can ask for one outcome alone."""
        return f"command.{self.outcome}"


Notice = LinkUp | LinkDown | Gap | Resync | FrameMalformed | ReplyLate | CommandEnded
