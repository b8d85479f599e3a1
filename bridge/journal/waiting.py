"""What waits for the disk: in memory, in order, bounded by weight."""

from __future__ import annotations

from asyncio import Future
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from bridge.errors import JournalUnwritable
from bridge.journal.commands import Begun, Note
from bridge.journal.store import Dropped
from bridge.messages.envelope import Occurrence
from bridge.messages.notices import FrameMalformed

ORDINARY_BYTES = 2_000
"""More than nearly every message; a heavier one counts as several in all that is bounded here."""


@dataclass(slots=True, eq=False)
class Entry:
    """What is written together: something to publish, a note on a command, an agent's state.

    `written` is done once it is on the disk.
    """

    what: Occurrence | None
    at: datetime
    note: Note | None = None
    state: tuple[str, bytes | None] | None = None
    written: Future[None] | None = None

    @property
    def weight(self) -> int:
        """How many ordinary messages this one weighs in memory."""
        text = self.what.base64 if isinstance(self.what, FrameMalformed) else self._raw
        return 1 + 4 * len(text) // ORDINARY_BYTES

    @property
    def is_given_up(self) -> bool:
        """Whether nobody waits for it any more, and nothing of it is to be published."""
        return self.what is None and self.written is not None and self.written.cancelled()

    @property
    def _raw(self) -> str:
        return getattr(self.what, "raw", None) or ""


class Waiting:
    """Entries on their way to the disk. `weight` is that of all, in ordinary messages."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._states: dict[str, bytes | None] = {}  # of what had to be dropped
        self.weight = 0

    def __repr__(self) -> str:
        return f"<Waiting: {len(self._entries)} entries>"

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, entry: Entry) -> None:
        """Add one: behind all others, or before them where it has no place in their order."""
        if isinstance(entry.note, Begun):
            self._entries.appendleft(entry)
        else:
            self._entries.append(entry)
        self.weight += entry.weight

    def fill(self, batch: list[Entry], most: int) -> None:
        """Move entries into a batch until it weighs `most`."""
        heavy = sum(entry.weight for entry in batch)
        while self._entries and heavy < most:
            entry = self._take()
            if not entry.is_given_up:
                batch.append(entry)
                heavy += entry.weight

    def states_of(self, batch: list[Entry]) -> dict[str, bytes | None]:
        """Return the latest state of each agent of whom a batch, or what was dropped, tells."""
        states, self._states = self._states, {}
        for entry in batch:
            if entry.state is not None:
                states[entry.state[0]] = entry.state[1]
        return states

    def keep(self, states: dict[str, bytes | None]) -> None:
        """Take back states that were not written."""
        self._states = states | self._states

    def shed(self) -> Dropped | None:
        """Drop the oldest, and tell whoever waits for it; return what was lost by that."""
        entry = self._take()
        if entry.state is not None:
            self._states[entry.state[0]] = entry.state[1]
        if entry.written is not None and not entry.written.done():
            entry.written.set_exception(JournalUnwritable("too much waits for the disk"))
        return Dropped(1, entry.at, entry.at) if entry.what is not None else None

    def _take(self) -> Entry:
        entry = self._entries.popleft()
        self.weight -= entry.weight
        return entry
