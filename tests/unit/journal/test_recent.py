"""The latest messages in memory: what is kept, and what the file must be asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bridge.journal import recent as module
from bridge.journal.recent import Recent
from bridge.messages.envelope import Sealed

AT = datetime(2026, 11, 24, tzinfo=UTC)


def messages(*sequences: int) -> list[Sealed]:
    return [Sealed(n, "events", "ana.call.ended", f"J-{n}", "t", AT, b"x" * 10) for n in sequences]


def test_what_follows_a_number_is_there_in_order() -> None:
    """Over the commits that brought it, and no more than is asked for."""
    recent = Recent()
    recent.add(messages(1, 2), 20, first=1)
    recent.add([], 0, first=1)
    recent.add(messages(3), 10, first=1)
    assert recent.maybe_after(0, 9) == messages(1, 2, 3)
    assert recent.maybe_after(1, 1) == messages(2)
    assert recent.maybe_after(3, 9) == []


def test_what_the_file_has_no_more_goes_with_all_of_its_commit() -> None:
    """And then nothing in memory knows of it."""
    recent = Recent()
    recent.add(messages(1, 2), 20, first=1)
    recent.add(messages(3), 10, first=2)
    assert len(recent) == 3
    recent.add(messages(4), 10, first=3)
    assert len(recent) == 2
    assert recent.maybe_after(1, 9) is None
    assert recent.maybe_after(2, 9) == messages(3, 4)
    recent.add([], 0, first=5)
    assert len(recent) == 0
    assert recent.maybe_after(4, 9) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest make way, and one commit that is too large is not kept at all."""
    monkeypatch.setattr(module, "MOST_BYTES", 35)
    recent = Recent()
    for number in range(1, 6):
        recent.add(messages(number), 10, first=1)
    assert recent.maybe_after(2, 9) == messages(3, 4, 5)
    assert recent.maybe_after(1, 9) is None
    recent.add(messages(6, 7, 8, 9), 40, first=1)
    assert len(recent) == 0
