"""Whether there is room for what comes: in the file, on the disk, in memory."""

from __future__ import annotations

import asyncio
import sys

import structlog

from bridge.core.ports import Observer
from bridge.journal.store import Store
from bridge.settings import JournalSettings

log = structlog.get_logger(__name__)

MOST_GATHERED = 4_000
"""Messages that gather while the disk works; then the reading waits for it, for milliseconds."""

ROOM_AGAIN = 0.9
"""The share of `max_bytes` under which a full journal has room again."""


class Room:
    """Lets who appends go on or wait, and says so once when the state of things changes."""

    def __init__(self, settings: JournalSettings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer
        self._pauses = settings.when_full == "pause_reading"
        self._is_full = False
        self._oldest = 0
        self._disk_refuses = False
        self._is_over = False
        self._free = asyncio.Event()
        self._free.set()

    def __repr__(self) -> str:
        return f"<Room: full={self._is_full}, disk_refuses={self._disk_refuses}>"

    @property
    def most_bytes(self) -> int:
        """How much the file may hold before the oldest make way."""
        return sys.maxsize if self._pauses else self._settings.max_bytes

    def hurry(self) -> None:
        """Let nobody wait any more."""
        self._is_over = True
        self._free.set()

    async def wait(self) -> None:
        """Wait until there is room for more."""
        await self._free.wait()

    def is_there(self, store: Store) -> bool:
        """Return whether a journal that was full would not be so again at once.

        What the oldest left when they made way is no such room: the broker has to take some.
        """
        was_taken = store.first > self._oldest or not store.messages
        return was_taken and store.bytes < ROOM_AGAIN * self._settings.max_bytes

    def refused(self, reason: str) -> None:
        """Note that the disk took nothing."""
        if not self._disk_refuses:
            log.error(
                "journal_unwritable",
                reason=reason,
                todo="make room on the disk; until then events wait in memory",
            )
        self._disk_refuses = True
        self._observer.changed("journal", ok=False, reason=reason)

    def accepted(self, store: Store, *, made_way: bool) -> None:
        """Note that the disk took what there was, and how full the file is by that.

        `made_way`: the oldest had to.
        """
        if made_way:
            self._oldest = store.first
        did_refuse, self._disk_refuses = self._disk_refuses, False
        if did_refuse:
            log.warning("journal_writable")
        full = store.state.dropped is not None or store.bytes >= self._settings.max_bytes
        full = full or (self._is_full and not self.is_there(store))
        if full and not self._is_full:
            log.error(
                "journal_full",
                messages=store.messages,
                bytes=store.bytes,
                when_full=self._settings.when_full,
                todo="bring the broker back, or raise journal.max_bytes",
            )
        elif self._is_full and not full:
            log.warning("journal_has_room_again")
        if did_refuse or full != self._is_full:
            way_out = "Tactium waits" if self._pauses else "the oldest make way"
            reason = f"it is full, and {way_out}" if full else "written"
            self._observer.changed("journal", ok=not full, reason=reason)
        self._is_full = full

    def press(self, weight: int) -> None:
        """Note how much waits for the disk, in ordinary messages."""
        pressed = weight > MOST_GATHERED and not self._disk_refuses
        must_wait = pressed or (self._pauses and (self._is_full or self._disk_refuses))
        if must_wait and not self._is_over:
            self._free.clear()
        else:
            self._free.set()
