"""The journal: what was heard and has not reached the broker yet, on disk.

One coroutine writes, in one thread, whatever has gathered while the last commit
ran: a group commit that is prompt in quiet times and large in a rush. Ids and
numbers are fixed by the commit. The publisher reads what is committed, from
memory where it keeps up and from the file where it does not, so memory does not
grow with the backlog. The same commits note which commands were begun and how
they ended.

A disk that is full or read-only stops nothing: what is heard waits in memory,
bounded, until the disk takes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import count
from types import MappingProxyType

import structlog

from bridge.backoff import delays
from bridge.core.ports import Remembered, Take
from bridge.errors import JournalCorrupt, JournalUnwritable
from bridge.journal.commands import Begun, Ended
from bridge.journal.files import Files
from bridge.journal.outlet import Outlet
from bridge.journal.room import Room
from bridge.journal.store import Dropped, News, State, Store, both
from bridge.journal.waiting import Entry, Waiting
from bridge.journal.writer import Writer, Writing
from bridge.messages.envelope import Occurrence, Sealed, timestamp
from bridge.messages.notices import CommandEnded, Gap
from bridge.messages.replies import SealedReply
from bridge.settings import JournalSettings

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 1_000
"""Messages in one commit: tens of milliseconds at the worst."""

MOST_WAITING = 50_000
"""Messages that wait in memory for a disk that takes none: about 50 MB."""

DISK_PATIENCE_SECONDS = 2.0

FEW = 32
"""Messages that are written at once where that needs no `fsync`: a tenth of a millisecond."""

SETTLE_WITHIN_SECONDS = 0.05
"""How long what is settled may wait for a commit to leave with."""


class DurableJournal:
    """Numbers, keeps and hands out messages: `open` it, `run` it, `close` it."""

    def __init__(
        self, settings: JournalSettings, files: Files, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._files = files
        self._clock = clock
        self._writer = Writer()
        self._waiting = Waiting()
        self._batch: list[Entry] = []
        self._outlet = Outlet(files, self._met_corrupt)
        self._shed: Dropped | None = None
        self._heard_at: datetime | None = None
        self._settled = 0
        self._lost_agents = False
        self._agents: list[tuple[str, bytes]] = []
        self._forgets_nothing = False
        self._found_corrupt: JournalCorrupt | None = None
        self._is_idle = False  # whether `run` has nothing to do
        self._aside: Writing | None = None  # a commit beside it
        self._settling: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        self._empty = asyncio.Event()
        self._room = Room(settings)

    def __repr__(self) -> str:
        return f"<DurableJournal: {self._settings.path}, {self._waiting}>"

    @property
    def _store(self) -> Store:
        return self._files.store

    @property
    def heard_at(self) -> datetime | None:
        """When Tactium could last be heard, by this bridge or the one before it."""
        return self._heard_at

    @property
    def forgot_at(self) -> datetime | None:
        """Up to when commands may have been begun that are not remembered any more."""
        return None if self._forgets_nothing else self._store.state.forgot_at

    @property
    def settled(self) -> int:
        """The highest sequence number of all that the broker has confirmed."""
        return self._settled

    def open(self) -> None:
        """Open the file, or set a corrupt one aside and begin another.

        Raises `JournalBusy` where another bridge has it, `JournalUnwritable`
        where it cannot be opened.
        """
        self._agents, self._heard_at = self._files.open()
        self._heard_at = self._heard_at or self._store.state.heard_at
        self._settled = self._store.first - 1

    def heard(self, at: datetime) -> None:
        """Note a sign of life: Tactium could be heard `at` this moment."""
        self._heard_at = at
        self._commit_soon()

    def agents(self) -> Iterable[tuple[str, bytes]]:
        """Return the state of each agent as the file had it at the opening; once."""
        agents, self._agents = self._agents, []
        return agents

    async def met_new_queue(self) -> None:
        """Note that no command can have come before this moment: nothing is forgotten.

        Returns once that is on the disk, or soon where the disk takes nothing.
        """
        self._forgets_nothing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(DISK_PATIENCE_SECONDS):
                await self._written(Entry(self._clock()))

    def hurry(self) -> None:
        """Let nobody wait for room any more: a stop is under way."""
        self._room.hurry()

    def lost_agents(self) -> bool:
        """Return whether the states were lost since the last time this was asked."""
        lost, self._lost_agents = self._lost_agents, False
        return lost

    async def append(
        self,
        what: Sequence[Occurrence],
        at: datetime,
        states: Mapping[str, bytes | None] = MappingProxyType({}),
    ) -> None:
        """Take what happened at one moment; it is numbered in this order.

        `states` of agents are kept with what happened to them; None forgets one.

        Waits a moment where the disk works and cannot keep up, and for room where
        `when_full` is `pause_reading`.
        """
        if what or states:
            self._add(Entry(at, deque(what), states))
        self._room.press(self._waiting.weight)
        await self._room.wait()

    async def recall(self, identity: bytes) -> Remembered | None:
        """Return what is known of a command; None where it was never begun and never answered.

        Raises `JournalError` where the file cannot be read.
        """
        if self._writer.is_quick:
            return self._files.commands.recall(identity)
        return await self._outlet.recall(identity)

    async def begin(
        self,
        identity: bytes,
        digest: bytes,
        at: datetime,
        states: Mapping[str, bytes | None] = MappingProxyType({}),
    ) -> None:
        """Note that a command's bytes go out; returns once that is on the disk.

        Waits for a disk that takes nothing; cancelled, it is as if never asked for.
        `states` of agents that it changes are written no later.
        """
        if states:
            self._add(Entry(at, states=states))
        await self._written(Entry(at, note=Begun(identity, digest, at)))

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
        await self._written(Entry(at, deque([trace]), note=note))

    def hand_to(self, take: Take | None) -> None:
        """Offer `take` from now on what was just committed; what it takes need not be read."""
        self._outlet.hand_to(take)

    async def read(self, after: int, most: int) -> Sequence[Sealed]:
        """Return up to `most` committed messages that follow number `after`; wait for one."""
        return await self._outlet.read(after, most)

    def settle(self, through: int) -> None:
        """Forget all up to this number: the broker has confirmed it."""
        self._settled = max(self._settled, through)
        self._commit_soon()

    async def drained(self) -> None:
        """Wait until everything is settled, and the file knows it."""
        await self._empty.wait()

    async def run(self) -> None:
        """Write whatever gathers, until cancelled."""
        while True:
            self._work.clear()
            await self._write()
            self._is_idle = True
            try:
                await self._work.wait()
            finally:
                self._is_idle = False
                await self._aside_ended()

    async def close(self) -> None:
        """Write what is left, in one try, and close the file. `run` must have ended."""
        await self._aside_ended()
        with suppress(JournalUnwritable, JournalCorrupt):
            await self._commit()
            while self._waiting:
                await self._commit()
        if self._settling is not None:
            self._settling.cancel()
        self._writer.close()
        self._outlet.close()
        self._files.close()

    def _add(self, entry: Entry) -> None:
        self._waiting.add(entry)
        self._empty.clear()
        if not self._is_idle or self._aside is not None or self._found_corrupt is not None:
            self._work.set()
        elif self._is_soon_done() and len(entry.states) <= FEW:
            self._commit_here()
        else:
            self._commit_aside()
        while self._waiting.weight > MOST_WAITING:
            self._shed = both(self._shed, self._waiting.shed())

    async def _written(self, entry: Entry) -> None:
        """Return once an entry is on the disk."""
        entry.written = asyncio.get_running_loop().create_future()
        self._add(entry)
        await entry.written

    def _commit_soon(self) -> None:
        """Have a commit within a moment; one that comes before takes this with it."""
        if self._settling is None:
            loop = asyncio.get_running_loop()
            before = self._store.state.sequence
            self._settling = loop.call_later(SETTLE_WITHIN_SECONDS, self._commit_at_rest, before)

    def _commit_at_rest(self, before: int) -> None:
        """Commit what is settled, unless other commits come and take it with them."""
        self._settling = None
        known = self._store.state
        is_noted = known.first > self._settled and known.heard_at == self._heard_at
        if known.sequence != before:
            self._commit_soon()
        elif not (is_noted and self._store.is_tidy):
            self._work.set()

    async def _write(self) -> None:
        """Commit what has gathered, however often the disk has to be asked."""
        waits = delays()
        while True:
            try:
                if self._found_corrupt is not None:
                    found, self._found_corrupt = self._found_corrupt, None
                    raise found
                await self._commit()
            except JournalUnwritable as error:
                self._room.refused(str(error))
                self._room.press(self._waiting.weight)
                await self._settle_alone()
                await asyncio.sleep(next(waits))
            except JournalCorrupt as error:
                self._lose_the_file(error)
            else:
                break
        self._note_empty()

    def _is_soon_done(self) -> bool:
        """Whether what waits is written sooner here than in a thread that has to be woken."""
        return (
            self._settings.durability == "process"
            and self._waiting.weight <= FEW
            and not self._store.checkpoints.is_half_done
            and self._writer.is_quick
        )

    def _commit_here(self) -> None:
        """Commit what waits; where that fails, `run` goes on with it."""
        news, state, shed = self._prepare()
        try:
            self._writer.write_here(self._committing(news, state))
        except (JournalUnwritable, JournalCorrupt):
            self._shed = both(shed, self._shed)
            self._work.set()
        else:
            self._note_commit(news)
            self._note_empty()

    def _commit_aside(self) -> None:
        """Have the thread commit what waits; where that fails, `run` goes on with it."""
        news, state, shed = self._prepare()

        def end(aside: Writing) -> None:
            self._aside = None
            if aside.result() is not None:
                self._shed = both(shed, self._shed)
                self._work.set()
            self._note_empty()

        self._aside = self._writer.begin(
            self._committing(news, state), partial(self._note_commit, news)
        )
        self._aside.add_done_callback(end)

    async def _aside_ended(self) -> None:
        while self._aside is not None:
            await asyncio.wait((self._aside,))

    async def _commit(self) -> None:
        """Commit one batch. One that fails stays, and is numbered anew at the next try."""
        news, state, shed = self._prepare()
        try:
            await self._writer.write(
                self._committing(news, state), partial(self._note_commit, news)
            )
        except (JournalUnwritable, JournalCorrupt):
            self._shed = both(shed, self._shed)
            raise

    def _prepare(self) -> tuple[News, State, Dropped | None]:
        """Return what one batch brings, the state that it leads to, and what had been shed."""
        self._waiting.fill(self._batch, MOST_AT_ONCE)
        known = self._store.state
        # What waits was heard later than what is written, and is not safe yet.
        heard_at = known.heard_at if self._waiting else self._heard_at
        if self._waiting:
            self._work.set()
        shed, self._shed = self._shed, None
        dropped = both(known.dropped, shed)
        to_publish: list[Entry] = self._batch
        if dropped is not None and self._room.is_there(self._store):
            to_publish, dropped = [*self._batch, self._gap_of(dropped)], None
        numbers = count(known.sequence + 1)
        seal = self._files.envelope.seal
        sealed = [
            seal(what, next(numbers), entry.at) for entry in to_publish for what in entry.what
        ]
        state = replace(
            known,
            sequence=known.sequence + len(sealed),
            first=max(known.first, self._settled + 1),
            heard_at=heard_at,
            dropped=dropped,
            forgot_at=self.forgot_at,
        )
        self._forgets_nothing = False
        notes = [entry.note for entry in self._batch if entry.note is not None]
        states = {agent: state for entry in self._batch for agent, state in entry.states.items()}
        return News(sealed, notes, states), state, shed

    def _committing(self, news: News, state: State) -> Callable[[], None]:
        return partial(self._store.commit, news, state, self._room.most_bytes)

    def _note_empty(self) -> None:
        if self._store.is_tidy and not (self._store.messages or self._batch or self._waiting):
            self._empty.set()

    async def _settle_alone(self) -> None:
        """Delete what is settled though the disk takes nothing new: that makes room."""
        with suppress(JournalUnwritable, JournalCorrupt):
            while self._store.first <= self._settled or not self._store.is_tidy:
                known = self._store.state
                settled = replace(known, first=max(known.first, self._settled + 1))
                await self._writer.write(self._committing(News([]), settled), lambda: None)

    def _note_commit(self, news: News) -> None:
        """Let go of the batch, which is written, and hand it to who reads or waits for it."""
        for entry in self._batch:
            if entry.written is not None and not entry.written.done():
                entry.written.set_result(None)
        self._batch.clear()
        self._room.accepted(self._store)
        self._room.press(self._waiting.weight)
        self._outlet.offer(news.messages)
        if not self._store.is_tidy:
            self._commit_soon()  # to delete what is confirmed, unless more comes before
        if self._store.state.dropped is not None and self._room.is_there(self._store):
            self._work.set()  # for the gap that tells of it

    def _gap_of(self, dropped: Dropped) -> Entry:
        """Return the gap that tells of all that had to make way, once there is room again."""
        first, last = timestamp(dropped.first), timestamp(dropped.last)
        gap = Gap(first, last, "journal_full", dropped.messages)
        return Entry(self._clock(), deque([gap]))

    def _met_corrupt(self, error: JournalCorrupt) -> None:
        """Let whoever writes set the file aside."""
        self._found_corrupt = error
        self._work.set()

    def _lose_the_file(self, error: JournalCorrupt) -> None:
        """Go on, numbers and all, without what the corrupt file held."""
        old = self._store
        self._files.replace(error)
        self._lost_agents = True
        self._store.go_on_from(old.state.sequence)
        now = self._clock()
        count = old.state.sequence - max(old.first - 1, self._settled)
        lost = Dropped(count, old.state.heard_at or now, now) if count > 0 else None
        self._shed = both(both(old.state.dropped, lost), self._shed)
