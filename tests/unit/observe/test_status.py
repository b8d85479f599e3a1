"""The lights: which part is ill, and since when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from bridge.observe.status import Status

START = datetime(2026, 11, 25, tzinfo=UTC)


def status() -> Status:
    seconds = count()
    return Status(lambda: START + timedelta(seconds=next(seconds)))


def test_it_is_ready_when_all_parts_are_well() -> None:
    """And only then."""
    lights = status()
    for part in ("link", "broker", "journal"):
        assert not lights.is_ready
        lights.change(part, ok=True, reason="well")
    assert lights.is_ready
    lights.change("journal", ok=False, reason="the disk is full")
    answer = lights.as_json()
    assert answer["ready"] is False
    assert answer["journal"]["reason"] == "the disk is full"


def test_since_is_when_it_turned() -> None:
    """Told again, the reason is the latest; since when it is so stays."""
    lights = status()
    assert lights.change("link", ok=True, reason="registered")
    since = lights["link"].since
    assert not lights.change("link", ok=True, reason="once more")
    assert lights["link"].since == since
    assert lights["link"].reason == "once more"
    assert lights.change("link", ok=False, reason="cut")
    assert lights["link"].since > since


def test_a_broker_that_takes_nothing_is_ill() -> None:
    """Though its connections are there; when it takes again, all is as before."""
    lights = status()
    lights.change("broker", ok=True, reason="connected")
    assert lights.hinder("broker", "an alarm is on")
    assert not lights.hinder("broker", "an alarm is on")
    assert not lights["broker"].ok
    assert "alarm" in lights["broker"].reason
    assert lights.is_connected
    lights.change("broker", ok=False, reason="gone")
    assert lights["broker"].reason == "gone"
    lights.change("broker", ok=True, reason="connected")
    assert lights.hinder("broker", None)
    assert lights["broker"].ok
