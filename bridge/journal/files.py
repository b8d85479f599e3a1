"""The journal's file as its writer and its reader have it; one that is corrupt is replaced."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from bridge.errors import JournalCorrupt
from bridge.journal.commands import Memory
from bridge.journal.reader import Reader
from bridge.journal.sqlite import set_aside
from bridge.journal.store import Store
from bridge.messages.envelope import Envelope
from bridge.settings import JournalSettings

log = structlog.get_logger(__name__)


class Files:
    """One file at a time: its `store`, two readers of it, and the `envelope` with its id.

    The `reader` is for a thread; `commands` looks commands up in the event loop meanwhile.

    `envelope_of` makes the envelope for a journal's id, `new_id` an id for a new
    journal. Nothing but `open` may be used before that was.
    """

    store: Store
    reader: Reader
    commands: Reader
    envelope: Envelope

    def __init__(
        self,
        settings: JournalSettings,
        memory: Memory,
        *,
        envelope_of: Callable[[str], Envelope],
        new_id: Callable[[], str],
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._envelope_of = envelope_of
        self._new_id = new_id
        self._clock = clock
        self._is_open = False

    def __repr__(self) -> str:
        return f"<Files: {self._settings.path}>"

    def open(self) -> tuple[list[tuple[str, bytes]], datetime | None]:
        """Open the file, or set a corrupt one aside and begin another.

        Returns the states of agents that it holds, and when the one that had to go
        was last written. Raises `JournalBusy` where another bridge has it,
        `JournalUnwritable` where it cannot be opened.
        """
        try:
            self._use_file()
            return self.store.agents(), None
        except JournalCorrupt as error:
            last_written = self._settings.path.stat().st_mtime
            self.replace(error)
            return [], datetime.fromtimestamp(last_written, UTC)

    def replace(self, error: JournalCorrupt) -> None:
        """Set a corrupt file aside, for whoever can read it, and go on with a new one."""
        self.close()
        aside = set_aside(self._settings.path, self._clock())
        log.error(
            "journal_corrupt",
            reason=str(error),
            set_aside=str(aside),
            todo="what the broker had not confirmed is in that file; the gap says from when",
        )
        self._use_file()

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._is_open:
            self.reader.close()
            self.commands.close()
            self.store.close()
        self._is_open = False

    def _use_file(self) -> None:
        settings = self._settings
        self.store = Store(settings.path, settings.durability, self._new_id(), self._memory)
        self.reader, self.commands = Reader(self.store.path), Reader(self.store.path)
        self.envelope = self._envelope_of(self.store.state.journal_id)
        self._is_open = True
