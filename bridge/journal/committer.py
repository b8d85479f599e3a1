"""Writes what waits: numbers it, commits it, and says so to whoever waits for that.

One coroutine writes, in one thread, whatever has gathered while the last commit
ran: a group commit that is prompt in quiet times and large in a rush. What comes
while nothing is being written is committed at once, beside that coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

from bridge.backoff import delays
from bridge.core.journal import Depth
from bridge.core.notes import Learned
from bridge.core.ports import Observer
from bridge.errors import JournalCorrupt, JournalUnwritable
from bridge.journal.files import Files
from bridge.journal.missed import Missed
from bridge.journal.outlet import Outlet
from bridge.journal.room import Room
from bridge.journal.sealing import gap_of, news_of
from bridge.journal.state import Dropped, State, both
from bridge.journal.store import News, Store
from bridge.journal.waiting import Entry, Waiting
from bridge.journal.writer import Writer, Writing
from bridge.settings import JournalSettings

MOST_AT_ONCE = 1_000
"""Messages in one commit: tens of milliseconds at the worst."""

MOST_WAITING = 50_000
"""Messages that wait in memory for a disk that takes none: about 50 MB."""

FEW = 32
"""Messages that are written at once where that needs no `fsync`: a tenth of a millisecond."""

MORE_WITHIN_SECONDS = 0.002
"""How long an answer waits for its command's end, to be committed with it."""

SETTLE_WITHIN_SECONDS = 0.05
"""How long what is settled may wait for a commit to leave with."""


class Committer:
    """Takes entries; `outlet` gets the messages that each commit brought.

    `settled` is the highest number that the broker has confirmed, `heard_at` when
    Tactium could last be heard, `missed` what may have been begun unheard of, `epoch`
    which leadership is or was this bridge's, and `leads` whether it still is; all go
    into the next commit.
    """

    def __init__(
        self,
        settings: JournalSettings,
        files: Files,
        clock: Callable[[], datetime],
        observer: Observer,
        outlet: Outlet,
    ) -> None:
        self._settings = settings
        self._files = files
        self._clock = clock
        self._observer = observer
        self._outlet = outlet
        self._writer = Writer()
        self._waiting = Waiting()
        self._batch: list[Entry] = []
        self._room = Room(settings, observer)
        self.heard_at: datetime | None = None
        self.settled = 0
        self.epoch = 0
        self.leads = True
        self.missed = Missed()
        self._shed: Dropped | None = None
        self._lost_agents = False
        self._found_corrupt: JournalCorrupt | None = None
        self._is_idle = False  # whether `run` has nothing to do
        self._aside: Writing | None = None  # a commit beside it
        self._settling: asyncio.TimerHandle | None = None
        self._holding: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        self._empty = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Committer: {self._waiting}>"

    @property
    def _store(self) -> Store:
        return self._files.store

    @property
    def forgot_at(self) -> datetime | None:
        """Up to when commands may have been begun that are not remembered any more."""
        return self.missed.forgot_at(self._store.state.forgot_at)

    @property
    def depth(self) -> Depth:
        """How much the broker has not confirmed: in the file, and on its way there."""
        store = self._store
        inside = store.state.sequence - max(store.first - 1, self.settled)
        outside = sum(len(entry.what) for entry in self._batch) + self._waiting.messages
        return Depth(inside, store.bytes, outside)

    @property
    def oldest_waiting(self) -> datetime | None:
        """When the oldest was read that waits for the disk, None where none does."""
        return self._batch[0].at if self._batch else self._waiting.oldest

    @property
    def is_quick(self) -> bool:
        """Whether the disk has kept nobody waiting for a while."""
        return self._writer.is_quick

    @property
    def has_room(self) -> bool:
        """Whether not half as much waits for the disk as may."""
        return self._waiting.weight < MOST_WAITING // 2

    def go_on(self, last_written: datetime | None) -> None:
        """Go on from the file, which was just opened; the one before it may have been lost."""
        self.heard_at = last_written or self._store.state.heard_at
        self.settled = self._store.first - 1
        self.epoch, self.leads = self._store.state.epoch, self._store.state.leads

    def settle(self, through: int) -> None:
        """Forget all up to this number: the broker has confirmed it."""
        left = through - max(self.settled, self._store.first - 1)  # and had not made way before
        if left > 0:
            self._observer.settled(left)
        self.settled = max(self.settled, through)
        self.commit_soon()

    def add(self, entry: Entry, *, more_comes: bool = False) -> None:
        """Take what is to be written, or make room where too much waits for a disk.

        With `more_comes` it waits a moment for what is to be committed with it.
        """
        self._waiting.add(entry)
        self._empty.clear()
        if not self._is_idle or self._aside is not None or self._found_corrupt is not None:
            self._work.set()
        elif more_comes and len(entry.states) <= FEW:
            self._hold()
        elif self._is_soon_done() and len(entry.states) <= FEW:
            self._commit_here()
        else:
            self._commit_aside()
        while self._waiting.weight > MOST_WAITING:
            what, at = self._waiting.shed()
            if isinstance(what, Learned):
                self.missed.until(self._clock())
            elif what is not None:
                self._shed = both(self._shed, Dropped(1, at, at))
                self._observer.shed(what)

    def _hold(self) -> None:
        """Let it wait for more, but not for long: `_prepare` takes all of it."""
        if self._holding is None:
            loop = asyncio.get_running_loop()
            self._holding = loop.call_later(MORE_WITHIN_SECONDS, self._work.set)

    async def written(self, entry: Entry) -> None:
        """Return once an entry is on the disk."""
        entry.written = asyncio.get_running_loop().create_future()
        self.add(entry)
        await entry.written

    async def wait_for_room(self) -> None:
        """Wait a moment where the disk is behind, and for room where `pause_reading` asks it."""
        self._room.press(self._waiting.weight)
        await self._room.wait()

    def commit_soon(self) -> None:
        """Have a commit within a moment; one that comes before takes this with it."""
        if self._settling is None:
            loop = asyncio.get_running_loop()
            before = self._store.state.sequence
            self._settling = loop.call_later(SETTLE_WITHIN_SECONDS, self._commit_at_rest, before)

    def met_corrupt(self, error: JournalCorrupt) -> None:
        """Let whoever writes set the file aside."""
        self._found_corrupt = error
        self._work.set()

    def lost_agents(self) -> bool:
        """Return whether the states were lost since the last time this was asked."""
        lost, self._lost_agents = self._lost_agents, False
        return lost

    def hurry(self) -> None:
        """Let nobody wait for room any more: a stop is under way."""
        self._room.hurry()

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
        """Write what is left, in one try. `run` must have ended."""
        await self._aside_ended()
        with suppress(JournalUnwritable, JournalCorrupt):
            await self._commit()
            while self._waiting:
                await self._commit()
        if self._settling is not None:
            self._settling.cancel()
        self._writer.close()

    def _commit_at_rest(self, before: int) -> None:
        """Commit what is settled, unless other commits come and take it with them."""
        self._settling = None
        known = self._store.state
        noted = (known.heard_at, known.epoch, known.leads, known.forgot_at)
        is_noted = known.first > self.settled and noted == (
            self.heard_at,
            self.epoch,
            self.leads,
            self.forgot_at,
        )
        if known.sequence != before:
            self.commit_soon()
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
            and not self._store.checkpoints.is_due
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
            self._note_commit(news, state)
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

        self._outlet.expect(news.messages)
        self._aside = self._writer.begin(
            self._committing(news, state), partial(self._note_commit, news, state)
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
                self._committing(news, state), partial(self._note_commit, news, state)
            )
        except (JournalUnwritable, JournalCorrupt):
            self._shed = both(shed, self._shed)
            raise

    def _prepare(self) -> tuple[News, State, Dropped | None]:
        """Return what one batch brings, the state that it leads to, and what had been shed."""
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
        self._waiting.fill(self._batch, MOST_AT_ONCE)
        store = self._store
        known = store.state
        # What waits was heard later than what is written, and is not safe yet.
        heard_at = known.heard_at if self._waiting else self.heard_at
        if self._waiting:
            self._work.set()
        shed, self._shed = self._shed, None
        dropped = both(known.dropped, shed)
        entries = self._batch
        if dropped is not None and self._room.is_there(store):
            entries, dropped = [*entries, gap_of(dropped, self._clock())], None
        news = news_of(entries, self._files.envelope, known.sequence + 1, self.epoch)
        state = State(
            known.journal_id,
            sequence=known.sequence + len(news.messages),
            first=max(known.first, self.settled + 1),
            heard_at=heard_at,
            dropped=dropped,
            forgot_at=self.forgot_at,
            epoch=self.epoch,
            leads=self.leads,
        )
        self.missed.taken()
        return news, state, shed

    def _committing(self, news: News, state: State) -> Callable[[], None]:
        return partial(self._store.commit, news, state, self._room.most_bytes)

    def _note_empty(self) -> None:
        if self._store.is_tidy and not (self._store.messages or self._batch or self._waiting):
            self._empty.set()

    async def _settle_alone(self) -> None:
        """Delete what is settled though the disk takes nothing new: that makes room."""
        with suppress(JournalUnwritable, JournalCorrupt):
            while self._store.first <= self.settled or not self._store.is_tidy:
                known = self._store.state
                settled = replace(known, first=max(known.first, self.settled + 1))
                await self._writer.write(self._committing(News([]), settled), lambda: None)

    def _note_commit(self, news: News, intended: State) -> None:
        """Let go of the batch, which is written, and hand it to who reads or waits for it.

        `intended` is the state that it was to lead to, unless some had to make way.
        """
        for entry in self._batch:
            if entry.written is not None and not entry.written.done():
                entry.written.set_result(None)
        self._batch.clear()
        self._outlet.offer(news.messages, news.size)  # before all else: it is what others wait for
        made_way = _count(self._store.state.dropped) - _count(intended.dropped)
        self._room.accepted(self._store, made_way=made_way > 0)
        self._room.press(self._waiting.weight)
        # After whoever waits for this commit, as it takes its time.
        asyncio.get_running_loop().call_soon(self._observer.committed, news.messages, news.agents)
        if made_way:
            self._observer.dropped(made_way)
        if not self._store.is_tidy:
            self.commit_soon()  # to delete what is confirmed, unless more comes before
        if self._store.state.dropped is not None and self._room.is_there(self._store):
            self._work.set()  # for the gap that tells of it

    def _lose_the_file(self, error: JournalCorrupt) -> None:
        """Go on, numbers and all, without what the corrupt file held."""
        old = self._store
        self._files.replace(error)
        self._lost_agents = True
        self._store.go_on_from(old.state.sequence)
        now = self._clock()
        count = old.state.sequence - max(old.first - 1, self.settled)
        lost = Dropped(count, old.state.heard_at or now, now) if count > 0 else None
        self._shed = both(both(old.state.dropped, lost), self._shed)
        self._observer.dropped(_count(lost))


def _count(dropped: Dropped | None) -> int:
    return dropped.messages if dropped is not None else 0
