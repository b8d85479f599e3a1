"""What one who stands by takes from the leader's heartbeat."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.core.bridge import Bridge
from bridge.core.leadership import Leader

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)


class Heard:
    """A journal that knows up to when Tactium was heard, and when this bridge led."""

    epoch = 3

    def __init__(self) -> None:
        self.heard_at = AT

    def heard(self, at: datetime) -> None:
        """Note a sign of life."""
        self.heard_at = at


@pytest.fixture
def journal() -> Heard:
    return Heard()


@pytest.fixture
def bridge(journal: Heard) -> Bridge:
    nobody: Any = SimpleNamespace()
    return Bridge(
        journal=journal,  # type: ignore[arg-type]
        publisher=nobody,
        leadership=nobody,
        calls=nobody,
        new_term=nobody,
        observer=nobody,
        clock=lambda: AT,
    )


def beat(epoch: int, seconds: int) -> Leader:
    return Leader(epoch, "other", AT + timedelta(seconds=seconds))


def test_what_the_leader_takes_back_is_taken_back(bridge: Bridge, journal: Heard) -> None:
    """Its link was half open: it had not heard Tactium for as long as it believed."""
    bridge.hear(beat(4, 10))
    bridge.hear(beat(4, 20))
    bridge.hear(beat(4, 12))
    assert journal.heard_at == AT + timedelta(seconds=12)


def test_nothing_is_taken_from_who_led_before(bridge: Bridge, journal: Heard) -> None:
    """Not from a former leader, and not what this bridge itself has said."""
    bridge.hear(beat(3, -10))
    assert journal.heard_at == AT
    bridge.hear(beat(5, 20))
    bridge.hear(beat(4, 30))
    assert journal.heard_at == AT + timedelta(seconds=20)
    assert bridge.last_epoch == 5
