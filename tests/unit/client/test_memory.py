"""What was given is known, however much came from others since."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bridge.client import memory
from bridge.client.event import Event
from bridge.client.memory import Memory


def event(journal: str, number: int) -> Event:
    at = datetime(2026, 11, 26, tzinfo=UTC)
    return Event(
        f"{journal}-{number:020}",
        "tactium-bridge/main",
        "tactium.agent.status",
        "ana",
        at,
        number,
        1,
        {},
        "ana.agent.status",
        b"",
        late=False,
        trace={},
    )


def test_what_another_journal_brings_pushes_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that died and runs again publishes its last ones once more."""
    monkeypatch.setattr(memory, "REMEMBERED", 100)
    known = Memory()
    for number in range(1, 51):
        known.add(event("A", number))
    for number in range(1, 1_001):
        known.add(event("B", number))
    assert all(event("A", number) in known for number in range(1, 51))
    assert event("A", 51) not in known
    assert [event("B", number) in known for number in (900, 901, 1_000)] == [False, True, True]


def test_journals_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was silent for longest goes."""
    monkeypatch.setattr(memory, "JOURNALS", 2)
    known = Memory()
    for journal in "ABAC":
        known.add(event(journal, 1))
    assert [event(journal, 1) in known for journal in "ABC"] == [True, False, True]
