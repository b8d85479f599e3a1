"""What the core needs from outside. The adapters fit these by shape alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bridge.messages.commands import WireCommand
from bridge.messages.envelope import Occurrence, Sealed
from bridge.messages.events import Heard
from bridge.messages.notices import FrameMalformed, LinkDown, LinkUp
from bridge.messages.replies import Reply

Clock = Callable[[], datetime]
"""Returns the present moment, aware, in UTC."""


Identity = tuple[str, ...]
"""What makes two messages the same request."""


class Ear(Protocol):
    """Who is told what a link hears. `at` is the moment of reading."""

    async def on_up(self, notice: LinkUp, at: datetime) -> None:
        """Tactium can be heard, and written to."""

    async def on_down(self, notice: LinkDown, at: datetime, *, deaf_since: datetime) -> None:
        """Tactium cannot be heard any more, and may not have been since `deaf_since`."""

    async def on_heard(self, said: Sequence[Heard | FrameMalformed], at: datetime) -> None:
        """All that one read brought, in order. Nothing more is read until this returns."""

    def on_caught_up(self, through: datetime) -> None:
        """All that had arrived by this moment has been handed over."""

    def maybe_known_agent(self) -> str | None:
        """Return an agent whom a silent link may ask after, None where none is known."""


class Link(Protocol):
    """The connection to Tactium."""

    async def run(self, ear: Ear) -> None:
        """Connect, listen and connect again, until cancelled."""

    def spell(self, command: WireCommand) -> bytes:
        """Return the frame of a command. Raises `InvalidCommand`."""

    async def send(self, frame: bytes) -> None:
        """Write one frame. Raises `LinkDown` where nothing of it was written."""


class Journal(Protocol):
    """What was said and has not reached the broker yet, in one order."""

    @property
    def settled(self) -> int:
        """The highest sequence number of all that the broker has confirmed."""

    @property
    def heard_at(self) -> datetime | None:
        """When Tactium could last be heard, by this bridge or the one before it."""

    def open(self) -> None:
        """Take possession of what is kept. Raises `JournalError`."""

    async def run(self) -> None:
        """Write what gathers, until cancelled."""

    async def close(self) -> None:
        """Write what is left and let go of it; `run` must have ended."""

    def heard(self, at: datetime) -> None:
        """Note a sign of life: Tactium could be heard at this moment."""

    async def append(self, what: Sequence[Occurrence], at: datetime) -> None:
        """Take what happened at one moment; it gets its numbers in this order."""

    async def read(self, after: int, most: int) -> Sequence[Sealed]:
        """Return up to `most` messages that follow number `after`; wait until there is one."""

    def settle(self, through: int) -> None:
        """Forget all up to this number: the broker has confirmed it."""

    async def drained(self) -> None:
        """Wait until everything is settled."""


class Publisher(Protocol):
    """Brings the journal's messages to the broker, in order."""

    async def run(self, journal: Journal) -> None:
        """Publish and settle, over as many connections as it takes, until cancelled."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery(ABC):
    """One command message, as RabbitMQ delivered it.

    `expiration_seconds` is how long its sender lets it live. `failed` is set on
    what the broker has given up: the reason, as the broker words it.
    """

    body: bytes
    content_type: str | None
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None
    user: str | None
    expiration_seconds: float | None
    redelivered: bool
    failed: str | None
    received_at: datetime

    @property
    def identity(self) -> Identity | None:
        """What this message shares with every other of the same request, if anything."""
        if self.message_id:
            return (self.message_id,)
        if self.reply_to and self.correlation_id:
            return (self.reply_to, self.correlation_id)
        return None

    @abstractmethod
    async def conclude(self, reply: Reply) -> None:
        """Send the reply, bury the command where its outcome asks for it, acknowledge.

        A delivery whose channel is gone is left alone: the broker brings it again.
        """


class Inbox(Protocol):
    """Where commands come from."""

    async def run(self, accept: Callable[[Delivery], None]) -> None:
        """Consume, over as many connections as it takes, until cancelled."""

    async def stop(self) -> None:
        """Take no more. What was delivered can still be concluded."""
