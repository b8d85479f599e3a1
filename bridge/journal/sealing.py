"""What entries come to: messages with their numbers, and what is noted beside them; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from bridge.core.notes import Note
from bridge.journal.rows import RowsRead
from bridge.journal.state import Dropped
from bridge.journal.store import News
from bridge.journal.waiting import Entry
from bridge.messages.envelope import Envelope, Sealed, timestamp
from bridge.messages.notices import Gap


def news_of(entries: Sequence[Entry], envelope: Envelope, first: int, epoch: int) -> News:
    """Return what entries bring, their messages numbered from `first` on."""
    sealed: list[Sealed] = []
    notes: list[Note] = []
    states: dict[str, bytes | None] = {}
    rows: RowsRead | None = None
    seal = envelope.seal
    for entry in entries:  # a plain loop: most often it is one that brings one
        for number, what in enumerate(entry.what, first + len(sealed)):
            sealed.append(seal(what, number, entry.at, epoch))
        if entry.note is not None:
            notes.append(entry.note)
        states.update(entry.states)
        rows = entry.rows or rows
    return News(sealed, notes, states, rows)


def gap_of(dropped: Dropped, at: datetime) -> Entry:
    """Return the gap, published `at`, that tells of all that had to make way."""
    first, last = timestamp(dropped.first), timestamp(dropped.last)
    return Entry(at, deque([Gap(first, last, "journal_full", dropped.messages)]))
