"""The journal: what was heard and has not reached the broker yet, on disk.

Ids and numbers are fixed by the commit. The publisher reads what is committed,
from memory where it keeps up and from the file where it does not, so memory does
not grow with the backlog. The same commits note which commands were begun and how
they ended.

A disk that is full or read-only stops nothing: what is heard waits in memory,
bounded, until the disk takes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType

from bridge.core.journal import Depth, Remembered, Taker
from bridge.core.notes import Begun, ClearedUp, Ended, Lasting, Learned
from bridge.core.ports import Observer
from bridge.errors import JournalCorrupt, JournalUnwritable
from bridge.journal.committer import Committer
from bridge.journal.files import Files
from bridge.journal.outlet import Outlet
from bridge.journal.rows import RowsRead
from bridge.journal.waiting import Entry
from bridge.messages.envelope import Occurrence, Sealed
from bridge.messages.notices import CommandEnded
from bridge.messages.replies import SealedReply
from bridge.settings import JournalSettings

DISK_PATIENCE_SECONDS = 2.0
NOTES_TOGETHER = 500


class DurableJournal:
    """Numbers, keeps and hands out messages: `open` it, `run` it, `close` it."""

    def __init__(
        self,
        settings: JournalSettings,
        files: Files,
        clock: Callable[[], datetime],
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._files = files
        self._clock = clock
        self._agents: list[tuple[str, bytes]] = []
        self._rows: Mapping[str, str] = {}
        self._outlet = Outlet(files, self._met_corrupt, observer)
        self._observer = observer
        self._committer = Committer(settings, files, clock, observer, self._outlet)

    def __repr__(self) -> str:
        return f"<DurableJournal: {self._settings.path}, {self._committer}>"

    @property
    def heard_at(self) -> datetime | None:
        """When Tactium could last be heard, by this bridge or the one before it."""
        return self._committer.heard_at

    @property
    def forgot_at(self) -> datetime | None:
        """Up to when commands may have been begun that are not remembered any more."""
        return self._committer.forgot_at

    @property
    def settled(self) -> int:
        """The highest sequence number of all that the broker has confirmed."""
        return self._committer.settled

    @property
    def depth(self) -> Depth:
        """How much the broker has not confirmed."""
        return self._committer.depth

    @property
    def epoch(self) -> int:
        """Which leadership this bridge's is, or was last."""
        return self._committer.epoch

    @property
    def leads(self) -> bool:
        """Whether it leads, or did at its end; one that never heard of another does."""
        return self._committer.leads

    async def maybe_oldest(self) -> datetime | None:
        """Return when the oldest was read that the broker has not confirmed; None where none is."""
        if self.depth.messages:
            found = await self._outlet.maybe_one(self.settled)
            return found.time if found is not None else None
        return self._committer.oldest_waiting

    def open(self) -> None:
        """Open the file, or set a corrupt one aside and begin another.

        Raises `JournalBusy` where another bridge has it, `JournalUnwritable`
        where it cannot be opened.
        """
        self._agents, last_written = self._files.open()
        self._rows = self._files.store.rows()
        self._committer.go_on(last_written)
        self._observer.changed("journal", ok=True, reason="open")

    def heard(self, at: datetime) -> None:
        """Note a sign of life: Tactium could be heard `at` this moment."""
        self._committer.heard_at = at
        self._committer.commit_soon()

    def agents(self) -> Iterable[tuple[str, bytes]]:
        """Return the state of each agent as the file had it at the opening; once."""
        agents, self._agents = self._agents, []
        return agents

    def lead(self, epoch: int) -> None:
        """Note that this bridge leads, and seal from now on with its epoch."""
        self._committer.epoch, self._committer.leads = epoch, True
        self._committer.commit_soon()

    def stand_by(self) -> None:
        """Note that another bridge leads."""
        self._committer.leads = False
        self._committer.commit_soon()

    def learn(self, learned: Learned) -> None:
        """Note soon what another bridge has noted of a command."""
        self._committer.add(Entry(learned.note.at, note=learned))

    @property
    def has_room(self) -> bool:
        """Whether little waits for the disk."""
        return self._committer.has_room

    async def know_all(self) -> None:
        """Return once all that was learned can be recalled.

        Where the disk takes nothing it is missed, and this returns soon.
        """
        try:
            async with asyncio.timeout(DISK_PATIENCE_SECONDS):
                await self._committer.written(Entry(self._clock()))
        except (TimeoutError, JournalUnwritable):
            self.missed_until(self._clock())

    async def notes(self) -> AsyncIterator[Lasting]:
        """Yield what is noted of each command that was begun or answered, for another bridge.

        Raises `JournalError` where the file cannot be read.
        """
        after = 0
        while found := await self._outlet.remembered(after, NOTES_TOGETHER):
            for _, note in found:
                yield note
            after, _ = found[-1]

    def missed_until(self, at: datetime) -> None:
        """Note that commands may have been begun until then of which nothing is known here."""
        self._committer.missed.until(at)
        self._committer.commit_soon()

    async def met_new_queue(self) -> None:
        """Note that no command can have come before this moment: nothing is forgotten.

        Returns once that is on the disk, or soon where the disk takes nothing.
        """
        self._committer.missed.nothing()
        with suppress(TimeoutError):
            async with asyncio.timeout(DISK_PATIENCE_SECONDS):
                await self._committer.written(Entry(self._clock()))

    def hurry(self) -> None:
        """Let nobody wait for room any more: a stop is under way."""
        self._committer.hurry()

    def lost_agents(self) -> bool:
        """Return whether the states were lost since the last time this was asked."""
        return self._committer.lost_agents()

    async def append(
        self,
        what: Sequence[Occurrence],
        at: datetime,
        states: Mapping[str, bytes | None] = MappingProxyType({}),
        rows: Mapping[str, str] | None = None,
        *,
        more_comes: bool = False,
    ) -> None:
        """Take what happened at one moment; it is numbered in this order.

        `states` of agents are kept with what happened to them; None forgets one. With
        `rows`, where it was read, this returns when all of it is on the disk; raises
        `JournalUnwritable` where it had to make way. `more_comes` within a moment that
        belongs to it: both are written together then.

        Waits a moment where the disk works and cannot keep up, and for room where
        `when_full` is `pause_reading`.
        """
        if rows is not None:
            entry = Entry(at, deque(what), states, rows=RowsRead(rows))
            await self._committer.written(entry)
            self._rows = rows
        elif what or states:
            self._committer.add(Entry(at, deque(what), states), more_comes=more_comes)
        await self._committer.wait_for_room()

    async def recall(self, identity: bytes) -> Remembered | None:
        """Return what is known of a command; None where it was never begun and never answered.

        Raises `JournalError` where the file cannot be read.
        """
        if self._committer.is_quick:
            return self._files.commands.recall(identity)
        return await self._outlet.recall(identity)

    async def begin(
        self,
        identity: bytes,
        digest: bytes,
        frame: bytes,
        at: datetime,
        states: Mapping[str, bytes | None] = MappingProxyType({}),
    ) -> None:
        """Note that a command's bytes go out; returns once that is on the disk.

        Waits for a disk that takes nothing; cancelled, it is as if never asked for.
        `states` of agents that it changes are written no later.
        """
        if states:
            self._committer.add(Entry(at, states=states))
        await self._committer.written(Entry(at, note=Begun(identity, digest, at, frame)))

    async def end(
        self,
        trace: CommandEnded,
        at: datetime,
        *,
        identity: bytes | None,
        digest: bytes,
        reply: SealedReply,
    ) -> None:
        """Publish the trace of a command, and with it note its reply; returns as `begin` does.

        Without an identity there is nothing to note. Raises `JournalUnwritable`
        where it had to make way.
        """
        note = Ended(identity, digest, at, reply) if identity is not None else None
        await self._committer.written(Entry(at, deque([trace]), note=note))

    async def uncertain(self) -> Sequence[tuple[bytes, bytes]]:
        """Return the identity and the frame of each command that may have been taken, or not.

        Raises `JournalError` where the file cannot be read.
        """
        return await self._outlet.uncertain()

    async def clear_up(self, identity: bytes, *, was_taken: bool) -> None:
        """Note whether it was; where not, it is as if never begun. Returns once that is kept."""
        now = self._clock()
        note = ClearedUp(identity, now, was_taken)
        await self._committer.written(Entry(now, note=note))

    def rows(self) -> Mapping[str, str]:
        """Return the rows that were read last and may not be deleted yet."""
        return self._rows

    def forget_rows(self) -> None:
        """Note soon that they are all deleted."""
        if self._rows:
            self._rows = {}
            self._committer.add(Entry(self._clock(), rows=RowsRead({})))

    def hand_to(self, taker: Taker | None) -> None:
        """Offer `taker` from now on what was just committed; what it takes need not be read."""
        self._outlet.hand_to(taker)

    async def read(self, after: int, most: int) -> Sequence[Sealed]:
        """Return up to `most` committed messages that follow number `after`; wait for one."""
        return await self._outlet.read(after, most)

    def settle(self, through: int) -> None:
        """Forget all up to this number: the broker has confirmed it."""
        self._committer.settle(through)

    async def drained(self) -> None:
        """Wait until everything is settled, and the file knows it."""
        await self._committer.drained()

    async def run(self) -> None:
        """Write whatever gathers, until cancelled."""
        await self._committer.run()

    async def close(self) -> None:
        """Write what is left, in one try, and close the file. `run` must have ended."""
        await self._committer.close()
        self._outlet.close()
        self._files.close()

    def _met_corrupt(self, error: JournalCorrupt) -> None:
        self._committer.met_corrupt(error)
