"""What waits for the disk: in memory, in order, bounded by weight."""

from __future__ import annotations

from asyncio import Future
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bridge.core.notes import Begun, Learned, Note
from bridge.errors import JournalUnwritable
from bridge.journal.rows import RowsRead
from bridge.messages.envelope import Occurrence
from bridge.messages.notices import FrameMalformed

ORDINARY_BYTES = 2_000
"""More than nearly every message; a heavier one counts as several in all that is bounded here."""

MOST_ENTRIES = 5_000
"""Entries in one commit, as those that bring nothing to publish weigh nothing."""


@dataclass(slots=True, eq=False)
class Entry:
    """What is written together: what happened at one moment, states of agents, notes.

    `note` is on a command, `rows` on where it was read.

    `written` is done once it is on the disk. `weight` is how many ordinary messages it
    weighs in memory: nothing, where whoever waits for it, or what was there before, bounds it.
    """

    at: datetime
    what: deque[Occurrence] = field(default_factory=deque)
    states: Mapping[str, bytes | None] = field(default_factory=dict)
    note: Note | None = None
    rows: RowsRead | None = None
    written: Future[None] | None = None
    weight: int = field(init=False)

    def __post_init__(self) -> None:
        self.weight = sum(map(_weight, self.what)) + isinstance(self.note, Learned)

    @property
    def is_states_alone(self) -> bool:
        """Whether it is states of agents and nothing else, for which nobody waits."""
        return not (self.what or self.note or self.rows or self.written)

    @property
    def is_given_up(self) -> bool:
        """Whether nobody waits for it any more, and nothing of it is to be kept."""
        is_cancelled = self.written is not None and self.written.cancelled()
        return is_cancelled and not (self.what or self.states or self.rows)


class Waiting:
    """Entries on their way to the disk. `weight` is that of all, in ordinary messages."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.weight = 0

    def __repr__(self) -> str:
        return f"<Waiting: {len(self._entries)} entries>"

    def __bool__(self) -> bool:
        return bool(self._entries)

    @property
    def messages(self) -> int:
        """How many are to be published of all that waits."""
        return sum(len(entry.what) for entry in self._entries)

    @property
    def oldest(self) -> datetime | None:
        """When the first of them happened."""
        return self._entries[0].at if self._entries else None

    def add(self, entry: Entry) -> None:
        """Add one: behind all others, or before them where it has no place in their order."""
        last = self._entries[-1] if self._entries else None
        if isinstance(entry.note, Begun):
            self._entries.appendleft(entry)
        elif last is not None and entry.is_states_alone and last.is_states_alone:
            last.states = {**last.states, **entry.states}
        else:
            self._entries.append(entry)
        self.weight += entry.weight

    def fill(self, batch: list[Entry], most: int) -> None:
        """Move entries into a batch until it weighs `most`."""
        heavy = sum(entry.weight for entry in batch)
        while self._entries and heavy < most and len(batch) < MOST_ENTRIES:
            entry = self._entries.popleft()
            self.weight -= entry.weight
            if not entry.is_given_up:
                batch.append(entry)
                heavy += entry.weight

    def shed(self) -> tuple[Occurrence | Learned | None, datetime]:
        """Drop the oldest, and tell whoever waits for it; return what was lost, and from when.

        The states of agents are not: they go on with what comes next.
        """
        entry = self._entries[0]
        lost = entry.what.popleft() if entry.what else None
        if lost is not None:
            entry.weight -= _weight(lost)
            self.weight -= _weight(lost)
        if entry.what:
            return lost, entry.at
        self._entries.popleft()
        self._leave(entry)
        if isinstance(entry.note, Learned):
            self.weight -= 1
            return entry.note, entry.at
        return lost, entry.at

    def _leave(self, entry: Entry) -> None:
        if entry.written is not None and not entry.written.done():
            entry.written.set_exception(JournalUnwritable("too much waits for the disk"))
        if entry.states and not self._entries:
            self._entries.append(Entry(entry.at))
        if entry.states:
            following = self._entries[0]
            following.states = {**entry.states, **following.states}


def _weight(what: Occurrence) -> int:
    text = what.base64 if isinstance(what, FrameMalformed) else getattr(what, "raw", None)
    return 1 + 4 * len(text or "") // ORDINARY_BYTES
