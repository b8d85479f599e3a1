"""What entries come to: messages with their numbers, and what is noted beside them; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import count

from bridge.journal.state import Dropped
from bridge.journal.store import News
from bridge.journal.waiting import Entry
from bridge.messages.envelope import Envelope, timestamp
from bridge.messages.notices import Gap


def news_of(entries: Sequence[Entry], envelope: Envelope, first: int, epoch: int) -> News:
    """Return what entries bring, their messages numbered from `first` on."""
    numbers = count(first)
    seal = envelope.seal
    sealed = [
        seal(what, next(numbers), entry.at, epoch) for entry in entries for what in entry.what
    ]
    notes = [entry.note for entry in entries if entry.note is not None]
    states = {agent: state for entry in entries for agent, state in entry.states.items()}
    rows = next((each.rows for each in reversed(entries) if each.rows is not None), None)
    return News(sealed, notes, states, rows)


def gap_of(dropped: Dropped, at: datetime) -> Entry:
    """Return the gap, published `at`, that tells of all that had to make way."""
    first, last = timestamp(dropped.first), timestamp(dropped.last)
    return Entry(at, deque([Gap(first, last, "journal_full", dropped.messages)]))
