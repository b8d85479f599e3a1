"""What waits for the disk: in memory, in order, bounded by weight."""

from __future__ import annotations

from asyncio import Future
from collections import deque
from collections.abc import Mapping, Sequence
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

    `written` is done once it is on the disk. One that `goes_on` is written with the
    next. `order` counts all that ever waited.
    """

    what: Occurrence | None
    at: datetime
    note: Note | None = None
    state: tuple[str, bytes | None] | None = None
    written: Future[None] | None = None
    goes_on: bool = False
    order: int = 0

    @property
    def weight(self) -> int:
        """How many ordinary messages this one weighs in memory; a state alone is none."""
        if self.what is None:
            return 0
        text = self.what.base64 if isinstance(self.what, FrameMalformed) else self._raw
        return 1 + 4 * len(text) // ORDINARY_BYTES

    @property
    def is_given_up(self) -> bool:
        """Whether nobody waits for it any more, and nothing of it is to be published."""
        return self.what is None and self.written is not None and self.written.cancelled()

    @property
    def _raw(self) -> str:
        return getattr(self.what, "raw", None) or ""


def together(
    what: Sequence[Occurrence], at: datetime, states: Mapping[str, bytes | None]
) -> list[Entry]:
    """Return entries for what happened at one moment, to be written in one commit.

    Each state stands with the last that happened to its agent.
    """
    entries = [Entry(occurrence, at) for occurrence in what]
    left = dict(states)
    for entry in reversed(entries if left else []):
        agent = getattr(entry.what, "agent", None)
        if agent in left:
            entry.state = (agent, left.pop(agent))
    entries += [Entry(None, at, state=each) for each in left.items()]
    for entry in entries[:-1]:
        entry.goes_on = True
    return entries


@dataclass(frozen=True, slots=True)
class Kept:
    """The state of an agent, and when it was that in the order of all that waited."""

    order: int
    state: bytes | None


States = dict[str, Kept]


class Waiting:
    """Entries on their way to the disk. `weight` is that of all, in ordinary messages."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._states: States = {}  # of what had to be dropped
        self._order = 0
        self.weight = 0

    def __repr__(self) -> str:
        return f"<Waiting: {len(self._entries)} entries>"

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, entry: Entry) -> None:
        """Add one: behind all others, or before them where it has no place in their order."""
        self._order += 1
        entry.order = self._order
        if isinstance(entry.note, Begun):
            self._entries.appendleft(entry)
        else:
            self._entries.append(entry)
        self.weight += entry.weight

    def fill(self, batch: list[Entry], most: int) -> None:
        """Move entries into a batch until it weighs `most`."""
        heavy = sum(entry.weight for entry in batch)
        goes_on = bool(batch) and batch[-1].goes_on
        while self._entries and ((heavy < most and len(batch) < 5 * most) or goes_on):
            entry = self._take()
            goes_on = entry.goes_on
            if not entry.is_given_up:
                batch.append(entry)
                heavy += entry.weight

    def states_of(self, batch: list[Entry]) -> States:
        """Return the latest state of each agent of whom a batch, or what was dropped, tells."""
        states, self._states = self._states, {}
        for entry in batch:
            _update(states, entry)
        return states

    def keep(self, states: States) -> None:
        """Take back states that were not written."""
        for agent, state in states.items():
            if agent not in self._states or self._states[agent].order < state.order:
                self._states[agent] = state

    def shed(self) -> Dropped | None:
        """Drop the oldest, and tell whoever waits for it; return what was lost by that."""
        entry = self._take()
        _update(self._states, entry)
        if entry.written is not None and not entry.written.done():
            entry.written.set_exception(JournalUnwritable("too much waits for the disk"))
        return Dropped(1, entry.at, entry.at) if entry.what is not None else None

    def _take(self) -> Entry:
        entry = self._entries.popleft()
        self.weight -= entry.weight
        return entry


def _update(states: States, entry: Entry) -> None:
    """Take the state that an entry brings, unless a later one is there."""
    if entry.state is None:
        return
    agent, state = entry.state
    if agent not in states or states[agent].order < entry.order:
        states[agent] = Kept(entry.order, state)
