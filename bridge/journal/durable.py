"""The journal: what was heard and has not reached the broker yet, on disk.

One coroutine writes, in one thread, whatever has gathered while the last commit
ran: a group commit that is prompt in quiet times and large in a rush. Ids and
numbers are fixed by the commit. The publisher reads what is committed, from
memory where it keeps up and from the file where it does not, so memory does not
grow with the backlog.

A disk that is full or read-only stops nothing: what is heard waits in memory,
bounded, until the disk takes it.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import structlog

from bridge.backoff import delays
from bridge.errors import JournalCorrupt, JournalUnwritable
from bridge.journal.store import Dropped, Reader, State, Store
from bridge.messages.envelope import Envelope, Occurrence, Sealed, timestamp
from bridge.messages.notices import FrameMalformed, Gap
from bridge.settings import JournalSettings

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 2_000
"""Messages in one commit: tens of milliseconds at the worst."""

ORDINARY_BYTES = 2_000
"""More than nearly every message; a heavier one counts as several in all that is bounded here."""

MOST_GATHERED = 10_000
"""Messages that gather while the disk works; then the reading waits for it, for milliseconds."""

MOST_RECENT_BYTES = 4 * 1024 * 1024
"""Bodies kept in memory for a publisher that keeps up: thousands of messages."""

MOST_WAITING = 50_000
"""Messages that wait in memory for a disk that takes none: about 50 MB."""

SETTLE_WITHIN_SECONDS = 0.05
"""How long what is settled may wait for a commit to leave with."""

ROOM_AGAIN = 0.9
"""The share of `max_bytes` under which a full journal has room again."""


class DurableJournal:
    """Numbers, keeps and hands out messages: `open` it, `run` it, `close` it.

    `envelope_of` makes the envelope for a journal's id, `new_id` an id for a new
    journal.
    """

    _store: Store
    _reader: Reader
    _envelope: Envelope

    def __init__(
        self,
        settings: JournalSettings,
        *,
        envelope_of: Callable[[str], Envelope],
        new_id: Callable[[], str],
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._envelope_of = envelope_of
        self._new_id = new_id
        self._clock = clock
        self._pauses = settings.when_full == "pause_reading"
        self._writer = ThreadPoolExecutor(1, "journal-writer")
        self._readers = ThreadPoolExecutor(1, "journal-reader")
        self._waiting: deque[tuple[Occurrence, datetime]] = deque()
        self._weight = 0  # of all that waits, in ordinary messages
        self._batch: list[tuple[Occurrence, datetime]] = []
        self._recent: deque[Sealed] = deque()
        self._recent_bytes = 0
        self._shed: Dropped | None = None
        self._heard_at: datetime | None = None
        self._settled = 0
        self._full = False
        self._unwritable = False
        self._settling: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        self._committed = asyncio.Event()
        self._empty = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __repr__(self) -> str:
        return f"<DurableJournal: {self._settings.path}, {len(self._waiting)} wait for the disk>"

    @property
    def heard_at(self) -> datetime | None:
        """When Tactium could last be heard, by this bridge or the one before it."""
        return self._heard_at

    @property
    def settled(self) -> int:
        """The highest sequence number of all that the broker has confirmed."""
        return self._settled

    def open(self) -> None:
        """Open the file, or set a corrupt one aside and begin another.

        Raises `JournalBusy` where another bridge has it, `JournalUnwritable`
        where it cannot be opened.
        """
        try:
            self._use(self._new_store())
        except JournalCorrupt as error:
            last_written = self._settings.path.stat().st_mtime
            self._start_afresh(error)
            self._heard_at = datetime.fromtimestamp(last_written, UTC)
        self._heard_at = self._heard_at or self._store.state.heard_at
        self._settled = self._store.first - 1

    def heard(self, at: datetime) -> None:
        """Note a sign of life: Tactium could be heard `at` this moment."""
        self._heard_at = at
        self._commit_soon()

    async def append(self, what: Sequence[Occurrence], at: datetime) -> None:
        """Take what happened at one moment; it is numbered in this order.

        Waits a moment where the disk works and cannot keep up, and for room where
        `when_full` is `pause_reading`.
        """
        if not what:
            return
        for occurrence in what:
            self._waiting.append((occurrence, at))
            self._weight += _weight(occurrence)
        self._empty.clear()
        self._work.set()
        self._note_room()
        await self._room.wait()
        while self._weight > MOST_WAITING:
            self._shed_oldest()

    async def read(self, after: int, most: int) -> Sequence[Sealed]:
        """Return up to `most` committed messages that follow number `after`; wait for one."""
        while True:
            self._committed.clear()
            found = self._maybe_recent(after, most)
            if found is None:
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(self._readers, self._reader.read, after, most)
            if found:
                return found
            await self._committed.wait()

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
            await self._work.wait()

    async def close(self) -> None:
        """Write what is left, in one try, and close the file. `run` must have ended."""
        with suppress(JournalUnwritable, JournalCorrupt):
            await self._commit()
            while self._waiting:
                await self._commit()
        if self._settling:
            self._settling.cancel()
        self._writer.shutdown()
        self._readers.shutdown()
        self._reader.close()
        self._store.close()

    def _new_store(self) -> Store:
        return Store(self._settings.path, self._settings.durability, self._new_id())

    def _use(self, store: Store) -> None:
        self._store = store
        self._reader = Reader(store.path)
        self._envelope = self._envelope_of(store.state.journal_id)

    def _start_afresh(self, error: JournalCorrupt) -> None:
        """Set a corrupt file aside, for whoever can read it, and go on with a new one."""
        path = self._settings.path
        aside = path.with_name(f"{path.name}.corrupt-{self._clock():%Y%m%dT%H%M%SZ}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        log.error(
            "journal_corrupt",
            reason=str(error),
            set_aside=str(aside),
            todo="what the broker had not confirmed is in that file; the gap says from when",
        )
        self._use(self._new_store())

    def _commit_soon(self) -> None:
        """Have a commit within a moment; one that comes before takes this with it."""
        if self._settling is None:
            loop = asyncio.get_running_loop()
            self._settling = loop.call_later(SETTLE_WITHIN_SECONDS, self._work.set)

    async def _write(self) -> None:
        """Commit what has gathered, however often the disk has to be asked."""
        waits = delays()
        while True:
            try:
                await self._commit()
            except JournalUnwritable as error:
                if not self._unwritable:
                    self._unwritable = True
                    self._note_room()
                    log.error(  # noqa: TRY400 - a full disk needs no traceback
                        "journal_unwritable",
                        reason=str(error),
                        todo="make room on the disk; until then events wait in memory",
                    )
                await self._settle_alone()
                await asyncio.sleep(next(waits))
            except JournalCorrupt as error:
                self._lose_the_file(error)
            else:
                break
        if self._unwritable:
            self._unwritable = False
            log.warning("journal_writable")
        self._note_room()

    async def _commit(self) -> None:
        """Commit one batch. One that fails stays, and is numbered anew at the next try."""
        self._settling = None
        heavy = sum(_weight(what) for what, _ in self._batch)
        while self._waiting and heavy < MOST_AT_ONCE:
            what, at = self._waiting.popleft()
            self._batch.append((what, at))
            self._weight -= _weight(what)
            heavy += _weight(what)
        known = self._store.state
        # What waits was heard later than what is written, and is not safe yet.
        heard_at = known.heard_at if self._waiting else self._heard_at
        if self._waiting:
            self._work.set()
        batch, dropped = self._with_news_of_drops()
        sealed = [
            self._envelope.seal(what, number, at)
            for number, (what, at) in enumerate(batch, known.sequence + 1)
        ]
        state = replace(
            known,
            sequence=known.sequence + len(sealed),
            heard_at=heard_at,
            dropped=dropped,
        )
        await self._write_down(sealed, state)

    async def _settle_alone(self) -> None:
        """Delete what is settled though the disk takes nothing new: that makes room."""
        with suppress(JournalUnwritable, JournalCorrupt):
            while self._store.first <= self._settled:
                known = self._store.state
                dropped = _both(known.dropped, self._shed)
                await self._write_down([], replace(known, dropped=dropped))

    async def _write_down(self, sealed: list[Sealed], state: State) -> None:
        """Commit in the writer's thread. Raises `JournalUnwritable` or `JournalCorrupt`."""
        limit = sys.maxsize if self._pauses else self._settings.max_bytes
        committing = asyncio.get_running_loop().run_in_executor(
            self._writer, self._store.commit, sealed, self._settled, state, limit
        )
        try:
            await asyncio.shield(committing)
        finally:  # cancelled or not, the thread writes on; what it has written has its number
            await asyncio.wait((committing,))
            if committing.exception() is None:
                self._note_commit(sealed)

    def _note_commit(self, sealed: list[Sealed]) -> None:
        """Let go of a batch that is written, and hand it to who reads."""
        if sealed:
            self._batch.clear()
        self._shed = None
        self._recent.extend(sealed)
        self._recent_bytes += sum(len(message.body) for message in sealed)
        while self._recent and (
            self._recent[0].sequence < self._store.first  # settled, or dropped to make room
            or self._recent_bytes > MOST_RECENT_BYTES
        ):
            self._recent_bytes -= len(self._recent.popleft().body)
        self._committed.set()
        if self._store.first <= self._settled:
            self._work.set()  # for the rest of what is settled
        self._note_fullness()
        if not (self._store.messages or self._batch or self._waiting):
            self._empty.set()

    def _with_news_of_drops(self) -> tuple[list[tuple[Occurrence, datetime]], Dropped | None]:
        """Return the batch, and what was dropped that nothing in it tells of.

        Once there is room again, one gap tells of all that had to make way.
        """
        dropped = _both(self._store.state.dropped, self._shed)
        if dropped is None or not self._has_room:
            return self._batch, dropped
        first, last = timestamp(dropped.first), timestamp(dropped.last)
        gap = Gap(first, last, "journal_full", dropped.messages)
        return [*self._batch, (gap, self._clock())], None

    @property
    def _has_room(self) -> bool:
        """Whether a journal that was full would not be so again at once."""
        return self._store.bytes < ROOM_AGAIN * self._settings.max_bytes

    def _note_fullness(self) -> None:
        """Say once that the journal is full, and once that it is not any more."""
        untold = self._store.state.dropped is not None
        if untold and self._has_room:
            self._work.set()  # for the gap that tells of it
        full = untold or self._store.bytes >= self._settings.max_bytes
        full = full or (self._full and not self._has_room)
        if full and not self._full:
            log.error(
                "journal_full",
                messages=self._store.messages,
                bytes=self._store.bytes,
                when_full=self._settings.when_full,
                todo="bring the broker back, or raise journal.max_bytes",
            )
        elif self._full and not full:
            log.warning("journal_has_room_again")
        self._full = full

    def _note_room(self) -> None:
        """Let who appends go on, or wait."""
        pressed = self._weight > MOST_GATHERED and not self._unwritable
        if pressed or (self._pauses and (self._full or self._unwritable)):
            self._room.clear()
        else:
            self._room.set()

    def _shed_oldest(self) -> None:
        """Drop the oldest of what waits in memory for the disk."""
        what, at = self._waiting.popleft()
        self._weight -= _weight(what)
        self._shed = _both(self._shed, Dropped(1, at, at))

    def _lose_the_file(self, error: JournalCorrupt) -> None:
        """Go on, numbers and all, without what the corrupt file held."""
        old = self._store
        old.close()
        self._reader.close()
        self._start_afresh(error)
        self._store.state = replace(self._store.state, sequence=old.state.sequence)
        now = self._clock()
        lost = Dropped(old.messages, old.state.heard_at or now, now)
        self._shed = _both(self._shed, lost) if old.messages else self._shed

    def _maybe_recent(self, after: int, most: int) -> list[Sealed] | None:
        """Return what memory holds after this number; None where the file must be asked."""
        if after >= self._store.state.sequence:
            return []
        if not self._recent or self._recent[0].sequence > after + 1:
            return None
        first = after + 1 - self._recent[0].sequence
        return list(islice(self._recent, first, first + most))


def _weight(what: Occurrence) -> int:
    """Return how many ordinary messages this one weighs in memory."""
    if isinstance(what, FrameMalformed):
        return 1 + 4 * len(what.base64) // ORDINARY_BYTES
    return 1 + 4 * len(getattr(what, "raw", None) or "") // ORDINARY_BYTES


def _both(earlier: Dropped | None, later: Dropped | None) -> Dropped | None:
    if earlier is None or later is None:
        return earlier or later
    return earlier.and_then(later)
