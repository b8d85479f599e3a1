"""What is committed, for whoever publishes it: at once, from memory, or from the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from bridge.core.journal import Remembered, Taker
from bridge.core.notes import Lasting
from bridge.core.ports import Observer
from bridge.errors import JournalCorrupt, JournalUnwritable
from bridge.journal.files import Files
from bridge.journal.recent import Recent
from bridge.messages.envelope import Sealed

log = structlog.get_logger(__name__)

READ_AGAIN_SECONDS = 5.0


class Outlet:
    """One thread that reads, and what need not be read: `on_corrupt` is told of a bad page."""

    def __init__(
        self, files: Files, on_corrupt: Callable[[JournalCorrupt], None], observer: Observer
    ) -> None:
        self._files = files
        self._observer = observer
        self._on_corrupt = on_corrupt
        self._thread = ThreadPoolExecutor(1, "journal-reader")
        self._recent = Recent()
        self._taker: Taker | None = None
        self._committed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Outlet: {self._recent}>"

    def hand_to(self, taker: Taker | None) -> None:
        """Offer `taker` from now on what was just committed; what it takes need not be read."""
        self._taker = taker

    def expect(self, messages: Sequence[Sealed]) -> None:
        """Say what is about to be committed."""
        if messages and self._taker is not None:
            self._taker.expect(messages)

    def offer(self, messages: Sequence[Sealed], size: int) -> None:
        """Hand out what was just committed, unless it had to make way by that.

        `size` is that of all bodies.
        """
        first = self._files.store.first
        is_there = bool(messages) and messages[0].sequence >= first
        is_taken = False
        try:
            is_taken = is_there and self._taker is not None and self._taker.take(messages)
        finally:
            self._recent.add(messages, size, first)
            if not is_taken:
                self._committed.set()

    async def read(self, after: int, most: int) -> Sequence[Sealed]:
        """Return up to `most` committed messages that follow number `after`; wait for one."""
        while True:
            self._committed.clear()
            after = self._past_gone(after)
            found = self._maybe_recent(after, most)
            if found is None:
                found = await self._read_file(after, most)
            if found:
                return found
            await self._committed.wait()

    async def maybe_one(self, after: int) -> Sealed | None:
        """Return the first committed message that follows number `after`, None where none does.

        None as well where the file cannot be read just now, which `read` will say.
        """
        after = self._past_gone(after)
        found = self._maybe_recent(after, 1)
        if found is None:
            loop = asyncio.get_running_loop()
            with suppress(JournalCorrupt, JournalUnwritable):
                read = self._files.reader.read
                found = await loop.run_in_executor(self._thread, read, after, 1)
        return found[0] if found else None

    async def recall(self, identity: bytes) -> Remembered | None:
        """Look a command up in the file. Raises `JournalError` where it cannot be read."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._files.reader.recall, identity)

    async def remembered(self, after: int, most: int) -> list[tuple[int, Lasting]]:
        """Return notes on commands, as the reader does. Raises `JournalError` as `recall` does."""
        loop = asyncio.get_running_loop()
        read = self._files.reader.remembered
        return await loop.run_in_executor(self._thread, read, after, most)

    async def uncertain(self) -> list[tuple[bytes, bytes]]:
        """Return the commands that may have been taken. Raises `JournalError` as `recall` does."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._files.reader.uncertain)

    def close(self) -> None:
        """End the thread when it has read what it reads."""
        self._thread.shutdown()

    def _past_gone(self, after: int) -> int:
        """Return `after`, or the last number that had to make way, as that is not to be had."""
        return max(after, self._files.store.first - 1)

    def _maybe_recent(self, after: int, most: int) -> list[Sealed] | None:
        """Return what memory holds after this number; None where the file must be asked."""
        if after >= self._files.store.state.sequence:
            return []
        return self._recent.maybe_after(after, most)

    async def _read_file(self, after: int, most: int) -> list[Sealed]:
        """Return what the file has after this number, nothing where it cannot be read just now."""
        loop = asyncio.get_running_loop()
        try:
            read = self._files.reader.read
            found = await loop.run_in_executor(self._thread, read, after, most)
        except JournalCorrupt as error:
            self._on_corrupt(error)
        except JournalUnwritable as error:
            log.error(  # noqa: TRY400 - the cause is the disk: where our code met it helps nobody
                "journal_unreadable",
                reason=str(error),
                todo="see the disk that journal.path is on; it is tried again",
            )
            self._observer.hindered("journal", str(error))
            await asyncio.sleep(READ_AGAIN_SECONDS)
            self._committed.set()
        else:
            self._observer.hindered("journal", None)
            return found
        return []
