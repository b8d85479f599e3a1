"""What is on its way to the broker: confirms in any order, refusals, bounds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.amqp import window as module
from bridge.amqp.window import Window
from bridge.messages.envelope import Sealed

AT = datetime(2026, 11, 24, tzinfo=UTC)


def message(sequence: int, size: int = 10) -> Sealed:
    return Sealed(sequence, "events", "ana.agent.status", f"J-{sequence}", "t", AT, b"x" * size)


def messages(*sequences: int) -> list[Sealed]:
    return [message(sequence) for sequence in sequences]


def test_what_is_settled_is_what_is_done_without_a_hole() -> None:
    """Confirms come in any order; the journal forgets from the front."""
    window = Window(settled=4)
    assert window.settled == window.last == 4
    window.send(1, messages(5, 6, 9), 0.0)  # 7 and 8 were dropped to make room
    assert window.settled == 4
    window.confirm(2, multiple=False, taken=True)
    assert window.settled == 4
    window.confirm(1, multiple=False, taken=True)
    assert window.settled == 8
    window.confirm(3, multiple=True, taken=True)
    assert window.settled == window.last == 9


def test_what_is_refused_is_done_when_it_is_taken_or_given_up() -> None:
    """It keeps all behind it from being settled, and counts how often it was sent."""
    window = Window(settled=0)
    window.send(1, messages(1, 2, 3), 0.0)
    assert window.confirm(2, multiple=False, taken=False) == [(message(2), 1)]
    window.confirm(3, multiple=True, taken=True)
    assert window.settled == 1
    window.send(4, messages(2), 1.0)
    assert window.last == 3
    assert window.confirm(4, multiple=False, taken=False) == [(message(2), 2)]
    window.give_up(message(2))
    assert window.settled == 3


def test_a_confirm_of_what_was_not_sent_is_nothing() -> None:
    """Nor is one that comes twice."""
    window = Window(settled=0)
    window.send(1, messages(1), 0.0)
    for _ in range(2):
        assert window.confirm(1, multiple=False, taken=True) == []
    assert window.confirm(7, multiple=False, taken=False) == []
    assert window.settled == 1


def test_room_is_bounded_in_messages_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever comes first."""
    monkeypatch.setattr(module, "MOST_MESSAGES", 3)
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    window = Window(settled=0)
    window.send(1, messages(1, 2), 0.0)
    assert window.room == 1
    window.send(3, [message(3, 80)], 0.0)
    assert window.room == 0
    window.confirm(3, multiple=True, taken=True)
    assert window.room == 3
    window.send(4, [message(4, 100)], 0.0)
    assert window.room == 0


def test_what_was_sent_together_weighs_until_all_of_it_is_confirmed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Confirms come by the hundred, so that nothing has to be weighed again."""
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    window = Window(settled=0)
    window.send(1, [message(1, 60), message(2, 60)], 0.0)
    window.send(3, [message(3, 60)], 0.0)
    window.confirm(2, multiple=False, taken=True)
    window.confirm(3, multiple=False, taken=True)
    assert window.room == 0
    window.confirm(1, multiple=False, taken=True)
    assert window.room == module.MOST_MESSAGES


def test_who_waits_longest_is_known() -> None:
    """For the time limit of each confirm."""
    window = Window(settled=0)
    since = [window.waiting_since]
    window.send(1, messages(1), 1.0)
    window.send(2, messages(2), 2.0)
    since.append(window.waiting_since)
    window.confirm(1, multiple=False, taken=True)
    since.append(window.waiting_since)
    assert since == [None, 1.0, 2.0]


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans(), st.booleans()), max_size=60))
def test_against_a_plain_reading(confirms: list[tuple[int, bool, bool]]) -> None:
    """Whatever is confirmed how: settled is one less than the lowest that is not taken."""
    window = Window(settled=0)
    window.send(1, messages(*range(1, 31)), 0.0)
    undecided, taken = set(range(1, 31)), set[int]()
    for number, multiple, yes in confirms:
        meant = {n for n in undecided if n <= number} if multiple else {number} & undecided
        refused = window.confirm(number, multiple=multiple, taken=yes)
        assert {each.sequence for each, _ in refused} == (set() if yes else meant)
        undecided -= meant
        taken |= meant if yes else set()
        open_ones = [n for n in range(1, 31) if n not in taken]
        assert window.settled == (open_ones[0] - 1 if open_ones else 30)
