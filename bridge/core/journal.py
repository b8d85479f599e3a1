"""What the core needs of the journal. Whatever keeps it fits these by shape alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from bridge.core.notes import Lasting, Learned
from bridge.messages.envelope import Occurrence, Sealed
from bridge.messages.notices import CommandEnded
from bridge.messages.replies import SealedReply


@dataclass(frozen=True, slots=True)
class Depth:
    """What the broker has not confirmed: in the file, and its size; in memory, on its way there."""

    messages: int
    bytes: int
    waiting: int


class Taker(Protocol):
    """Is offered messages in their order, as they are committed."""

    def expect(self, messages: Sequence[Sealed]) -> None:
        """Make ready for these, which are about to be committed."""

    def take(self, messages: Sequence[Sealed]) -> bool:
        """Take these, which were committed, or leave them; return whether they were taken."""


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

    def agents(self) -> Iterable[tuple[str, bytes]]:
        """Return the state of each agent, as it was last appended."""

    async def met_new_queue(self) -> None:
        """Note that no command can have come before this moment: nothing is forgotten."""

    def hurry(self) -> None:
        """Let nobody wait for room any more: a stop is under way."""

    def lost_agents(self) -> bool:
        """Return whether the states were lost since the last time this was asked."""

    async def append(
        self,
        what: Sequence[Occurrence],
        at: datetime,
        states: Mapping[str, bytes | None] = MappingProxyType({}),
        rows: Mapping[str, str] | None = None,
        *,
        more_comes: bool = False,
    ) -> None:
        """Take what happened at one moment; it gets its numbers in this order.

        `states` of agents are kept with what happened to them; None forgets one. With
        `rows`, where it was read, this returns when all of it is kept; raises
        `JournalError` where it is not. `more_comes` within a moment that
        belongs to it: both may be kept together then.
        """

    @property
    def epoch(self) -> int:
        """Which leadership this bridge's is, or was last."""

    @property
    def leads(self) -> bool:
        """Whether it leads, or did at its end; one that never heard of another does."""

    def lead(self, epoch: int) -> None:
        """Note that this bridge leads, and seal from now on with its epoch."""

    def stand_by(self) -> None:
        """Note that another bridge leads."""

    @property
    def has_room(self) -> bool:
        """Whether little waits for the disk."""

    def learn(self, learned: Learned) -> None:
        """Note soon what another bridge has noted of a command."""

    async def know_all(self) -> None:
        """Return once all that was learned can be recalled, or is known to be missed."""

    def notes(self) -> AsyncIterator[Lasting]:
        """Yield what is noted of each command that was begun or answered, for another bridge.

        Raises `JournalError` where it cannot be read.
        """

    def missed_until(self, at: datetime) -> None:
        """Note that commands may have been begun until then of which nothing is known here."""

    async def maybe_oldest(self) -> datetime | None:
        """Return when the oldest was read that the broker has not confirmed; None where none is."""

    def hand_to(self, taker: Taker | None) -> None:
        """Offer `taker` from now on what was just committed; what it takes need not be read."""

    async def read(self, after: int, most: int) -> Sequence[Sealed]:
        """Return up to `most` messages that follow number `after`; wait until there is one."""

    def settle(self, through: int) -> None:
        """Forget all up to this number: the broker has confirmed it."""

    async def drained(self) -> None:
        """Wait until everything is settled."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a command that came before.

    `digest` tells another command under the same identity; `begun` says that its
    bytes may have gone out; `reply` is None where it has none yet.
    """

    digest: bytes
    begun: bool
    reply: SealedReply | None


class CommandLog(Protocol):
    """Which commands were begun, and how they ended; outlives the process."""

    @property
    def forgot_at(self) -> datetime | None:
        """Up to when commands may have been begun that are not remembered any more."""

    async def recall(self, identity: bytes) -> Remembered | None:
        """Return what is known of a command. Raises `JournalError`."""

    async def begin(
        self,
        identity: bytes,
        digest: bytes,
        frame: bytes,
        at: datetime,
        states: Mapping[str, bytes | None],
    ) -> None:
        """Note that a command's bytes go out, its `frame`, and what it changes of agents.

        Returns once that is kept.
        """

    async def end(
        self,
        trace: CommandEnded,
        at: datetime,
        *,
        identity: bytes | None,
        digest: bytes,
        reply: SealedReply,
    ) -> None:
        """Publish the trace of a command and note its reply; returns once that is kept.

        Raises `JournalError`.
        """


class RowLog(Protocol):
    """Which rows of Tactium's are journaled and not deleted yet; outlives the process."""

    def rows(self) -> Mapping[str, str]:
        """Return the rows that were noted last, by their number with a digest of each."""

    def forget_rows(self) -> None:
        """Note soon that all rows are deleted which were noted."""

    async def uncertain(self) -> Sequence[tuple[bytes, bytes]]:
        """Return the identity and the frame of each command that may have been taken, or not.

        Raises `JournalError`.
        """

    async def clear_up(self, identity: bytes, *, was_taken: bool) -> None:
        """Note whether a command was taken; where not, it is as if it was never begun."""
