"""The numbers that Prometheus gets."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.core.journal import Depth
from bridge.observe.metrics import Metrics
from bridge.observe.status import Status

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def numbers(metrics: Metrics) -> dict[str, float]:
    text = metrics.text(Status(lambda: NOW), Depth(3, 4_096, 0), 1.5).decode()
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def ended(name: str | None, outcome: str = "ok") -> dict[str, object]:
    return {"command": name, "outcome": outcome, "duration_seconds": 0.02}


def test_what_is_named_in_the_contract_is_there() -> None:
    """Every name of contract.md §8, from the first moment."""
    found = {name.partition("[")[0] for name in numbers(Metrics(1))}
    named = """link_up broker_up leader journal_events journal_bytes journal_oldest_seconds
        frames_malformed_total events_repeated_total events_dropped_total gaps_total
        gap_seconds_total reconnects_total command_seconds_bucket command_seconds_count
        confirm_seconds_bucket confirm_seconds_sum confirm_seconds_count build_info"""
    assert {f"tactium_bridge_{name}" for name in named.split()} <= found


@pytest.mark.parametrize("name", [None, "jose", "40050500", "make_call\n", ""])
def test_no_label_is_from_outside(name: str | None) -> None:
    """A command that there is not is `unknown`, whatever it calls itself."""
    metrics = Metrics(1)
    metrics.ended(ended(name, "invalid"))
    label = "[('command', 'unknown'), ('outcome', 'invalid')]"
    assert numbers(metrics)[f"tactium_bridge_commands_total{label}"] == 1


def test_a_command_is_counted_by_its_name_and_outcome() -> None:
    """And its time goes into the histogram."""
    metrics = Metrics(1)
    metrics.ended(ended("pause"))
    found = numbers(metrics)
    label = "[('command', 'pause'), ('outcome', 'ok')]"
    assert found[f"tactium_bridge_commands_total{label}"] == 1
    assert found["tactium_bridge_command_seconds_bucket[('le', '0.025')]"] == 1
    assert found["tactium_bridge_command_seconds_bucket[('le', '0.01')]"] == 0


def test_many_confirms_are_counted_at_once() -> None:
    """As if each had been observed alone; a bound belongs to its own bucket."""
    metrics = Metrics(1)
    metrics.flow.observe(0.004, 500)
    metrics.flow.observe(0.005, 2)
    metrics.flow.observe(99.0, 1)
    found = numbers(metrics)
    bucket = "tactium_bridge_confirm_seconds_bucket[('le', '{}')]"
    assert found[bucket.format("0.0025")] == 0
    assert found[bucket.format("0.005")] == 502
    assert found[bucket.format("30.0")] == 502
    assert found[bucket.format("+Inf")] == 503
    assert found["tactium_bridge_confirm_seconds_count[]"] == 503
    assert found["tactium_bridge_confirm_seconds_sum[]"] == pytest.approx(500 * 0.004 + 0.01 + 99)


def test_a_gap_is_counted_with_its_length() -> None:
    """By its cause; one that ends before it begins has none."""
    metrics = Metrics(1)
    for begin, end in (("10", "12"), ("12", "10")):
        metrics.missed(
            {
                "cause": "link_down",
                "from": f"2026-11-25T00:00:{begin}.000000Z",
                "to": f"2026-11-25T00:00:{end}.500000Z",
            }
        )
    found = numbers(metrics)
    assert found["tactium_bridge_gaps_total[('cause', 'link_down')]"] == 2
    assert found["tactium_bridge_gap_seconds_total[]"] == pytest.approx(2.5)
