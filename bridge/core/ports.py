"""What the core needs from outside but for the journal. The adapters fit these by shape alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Literal, Protocol

from bridge.core.journal import Journal
from bridge.messages.commands import WireCommand
from bridge.messages.envelope import Occurrence, Sealed
from bridge.messages.events import Heard
from bridge.messages.notices import FrameMalformed, LinkDown, LinkUp
from bridge.messages.replies import SealedReply

Clock = Callable[[], datetime]
"""Returns the present moment, aware, in UTC."""

Part = Literal["link", "broker", "journal"]
"""What must be well for a bridge to be ready."""


class Observer(Protocol):
    """Who is told what happens, so that people see it. It holds nobody up, and never fails."""

    def leads(self, instance: str, *, here: bool) -> None:
        """Hear which bridge leads, and whether that is the one `here`."""

    def changed(self, part: Part, *, ok: bool, reason: str) -> None:
        """Hear that a part is well, or is not; told again, it is so for another reason."""

    def hindered(self, part: Part, reason: str | None) -> None:
        """Hear why a part that is there does not do its work; None when it does again."""

    def committed(self, messages: Sequence[Sealed], agents: Collection[str]) -> None:
        """Hear what is in the journal now, and of which agents the state has changed."""

    def shed(self, what: Occurrence) -> None:
        """Hear what had to make way before it had a number, as the disk takes nothing."""

    def dropped(self, count: int) -> None:
        """Hear how many that were in the journal had to make way, or were lost with its file."""

    def contested(self, site: str | None) -> None:
        """Hear which other site's bridge leads under this one's prefix, None where none does."""

    def confirmed(self, count: int, seconds: float) -> None:
        """Hear how many the broker confirmed, the first of them so long after it was sent."""

    def settled(self, count: int) -> None:
        """Hear how many have left the journal: confirmed, or given up."""

    def refused(self, count: int) -> None:
        """Hear how many were given up that a queue which is full refused, for that queue's sake."""

    def repeated(self, count: int) -> None:
        """Hear how many are sent once more, which the broker may have had already."""

    def returned(self) -> None:
        """Hear that a reply came back: its queue is gone."""


class Ear(Protocol):
    """Who is told what a link hears. `at` is the moment of reading."""

    async def on_up(self, notice: LinkUp, at: datetime, *, is_behind: bool = False) -> None:
        """Tactium can be heard, and written to.

        `is_behind`: what it said before comes first, until it `on_caught_up`. An answer
        in it answers nothing that is asked from now on.
        """

    async def on_down(
        self, notice: LinkDown, at: datetime, *, silent_since: datetime | None
    ) -> None:
        """Tactium cannot be heard any more.

        `silent_since` is when it was last heard, where it was given up for its silence.
        """

    async def on_heard(
        self,
        said: Sequence[Heard | FrameMalformed],
        at: datetime,
        *,
        rows: Mapping[str, str] | None = None,
    ) -> None:
        """All that one read brought, in order. Nothing more is read until this returns.

        Where it came in `rows`, by number with a digest of each, this returns when all
        is in the journal, and the rows noted with it. Raises `JournalError` where it is
        not, and will not be.
        """

    def on_caught_up(self, through: datetime) -> None:
        """All that had arrived by this moment has been handed over."""

    def maybe_known_agent(self) -> str | None:
        """Return an agent whom a silent link may ask after, None where none is known."""


class Link(Protocol):
    """The connection to Tactium."""

    @property
    def keeps_answers(self) -> bool:
        """Whether what was asked over a connection that is lost may be answered on the next."""

    async def run(self, ear: Ear) -> None:
        """Connect, listen and connect again, until cancelled."""

    def spell(self, command: WireCommand) -> bytes:
        """Return the frame of a command. Raises `InvalidCommand`."""

    async def send(self, frame: bytes) -> None:
        """Write one frame.

        Raises `LinkDown` where nothing of it was written, `LinkRefused` where it never
        will be.
        """

    async def take_back(self, frame: bytes) -> bool | None:
        """Take back what Tactium has not taken yet; return whether that was still possible.

        None where it cannot be known now: it is tried again, before anything else is written.
        """

    def settle(self, frame: bytes) -> None:
        """Note that a frame was answered: there is nothing to take back any more."""

    def distrust(self, reason: str) -> None:
        """Give up the present connection, which is not what it seems, and make another."""


class Fence(Protocol):
    """Knows whether another bridge may lead."""

    @property
    def is_sure(self) -> bool:
        """Whether no other bridge can lead at this moment: a command may be begun."""

    async def until_sure(self) -> None:
        """Wait until this bridge leads beyond doubt."""


class Publisher(Protocol):
    """Brings the journal's messages to the broker, in order."""

    async def run(self, journal: Journal) -> None:
        """Publish and settle, over as many connections as it takes, until cancelled."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery(ABC):
    """One command message, as RabbitMQ delivered it.

    `expiration_seconds` is how long its sender lets it live, and `sent_at` when it
    was sent, if the sender says so. `trace` holds its headers `traceparent` and
    `tracestate`. `failed` is set on what the broker has given up: the reason, as
    the broker words it.
    """

    body: bytes
    content_type: str | None
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None
    user: str | None
    trace: Mapping[str, str]
    sent_at: datetime | None
    expiration_seconds: float | None
    redelivered: bool
    failed: str | None
    received_at: datetime

    @property
    def identity(self) -> bytes | None:
        """A hash of what this message shares with every other of the same request, if anything."""
        if self.message_id:
            return _hash(self.message_id)
        if self.reply_to and self.correlation_id:
            return _hash(self.reply_to, self.correlation_id)
        return None

    @property
    def fingerprint(self) -> bytes:
        """A hash of all that a message without an identity can be told by: others may have it."""
        told = (self.user, self.reply_to, self.correlation_id, str(self.sent_at), self.digest.hex())
        return _hash("", *(part or "" for part in told))

    @property
    def digest(self) -> bytes:
        """A hash of the body: it tells two commands apart that claim to be the same."""
        return sha256(self.body).digest()

    @abstractmethod
    async def conclude(self, reply: SealedReply, *, unanswered: bool = False) -> None:
        """Send the reply, bury the command where its outcome asks for it, acknowledge.

        `unanswered`: send no reply, for it must not go where the command wants it.
        A delivery whose channel is gone is left alone: the broker brings it again.
        """


def _hash(*words: str) -> bytes:
    """Return a hash that no other words have: each is told with its length."""
    whole = "".join(f"{len(word)}:{word}" for word in words)
    return sha256(whole.encode("utf-8", "surrogatepass")).digest()[:16]
