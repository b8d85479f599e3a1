"""Which events were given, so that none is given twice."""

from __future__ import annotations

from bridge.client.event import Event

REMEMBERED = 20_000
"""Of each journal so many events: more than a bridge has under way when it is lost."""

JOURNALS = 16
"""Journals whose events are remembered: each bridge has one, and keeps it for long."""


class Memory:
    """Knows the latest of each journal's events, however long ago that was.

    A bridge that died publishes once more, when it runs again, what it had no
    confirmation for; what others published meanwhile must not have pushed that out.
    """

    def __init__(self) -> None:
        self._journals: dict[tuple[str, str], dict[str, None]] = {}  # the latest last

    def __repr__(self) -> str:
        return f"<Memory: {len(self._journals)} journals>"

    def __contains__(self, event: Event) -> bool:
        return event.id in self._journals.get(_journal(event), ())

    def add(self, event: Event) -> None:
        """Remember an event, and forget the oldest of its journal, or the oldest journal."""
        known = self._journals.pop(_journal(event), {})
        self._journals[_journal(event)] = known
        known[event.id] = None
        if len(known) > REMEMBERED:
            del known[next(iter(known))]
        if len(self._journals) > JOURNALS:
            del self._journals[next(iter(self._journals))]


def _journal(event: Event) -> tuple[str, str]:
    """Return the journal of an event: its id names that (contract.md §2)."""
    return event.source, event.id.rpartition("-")[0]
