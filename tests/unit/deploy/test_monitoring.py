"""What operators take away fits what the bridge says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bridge.core.journal import Depth
from bridge.observe.metrics import Metrics
from bridge.observe.status import Status

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "deploy" / "monitoring"
ALL = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
RULES = [rule for rule in ALL if "alert" in rule]
RECORDED = {rule["record"]: rule["expr"] for rule in ALL if "record" in rule}
DASHBOARD = json.loads((MONITORING / "grafana" / "dashboards" / "tactium-bridge.json").read_text())


def known() -> set[str]:
    """Return the name of every sample that the bridge gives."""
    metrics = Metrics(1)
    metrics.flow.taken["tactium.call.started"] += 1
    metrics.ended({"command": "pause", "outcome": "ok", "duration_seconds": 0.1})
    text = metrics.text(Status(lambda: datetime.now(UTC)), Depth(0, 0, 0), 0).decode()
    return {
        sample.name for family in text_string_to_metric_families(text) for sample in family.samples
    } | set(RECORDED)


def names(expression: str) -> set[str]:
    """Return the metrics that an expression asks for. Raises `ValueError` where it is none."""
    promql_parser.parse(expression)
    return set(re.findall(r"\btactium_bridge[\w:]+|\bprocess_\w+", expression))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    """Its expression is PromQL; its metrics exist; it says how grave it is, and what to do."""
    assert names(rule["expr"]) <= known()
    assert all(names(expression) <= known() for expression in RECORDED.values())
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert {"summary", "description", "runbook"} <= set(rule["annotations"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_the_runbook_knows_every_alert(rule: dict[str, Any]) -> None:
    """Meaning, cause and cure stand in the README."""
    row = next(
        line
        for line in (ROOT / "README.md").read_text().splitlines()
        if line.startswith(f"| **{rule['alert']}**")
    )
    assert all(cell.strip() for cell in row.strip("|").split("|"))


def test_the_dashboard_asks_for_what_there_is() -> None:
    """Every query of every panel, the variables of Grafana set to something."""
    expressions = list(_expressions(DASHBOARD))
    assert len(expressions) > 10
    for expression in expressions:
        filled = re.sub(r"\$__\w+|\$\{__\w+\}", "5m", expression)
        assert names(re.sub(r"\$\w+|\$\{\w+(:\w+)?\}", ".*", filled)) <= known()


def _expressions(panel: dict[str, Any]) -> Iterator[str]:
    for target in panel.get("targets", ()):
        yield target["expr"]
    for inner in panel.get("panels", ()):
        yield from _expressions(inner)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed here")
def test_promtool_takes_the_rules() -> None:
    """Prometheus' own check, and the alerts fire when they should, where it is there."""
    for what in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        subprocess.run(["promtool", *what], cwd=MONITORING, check=True, capture_output=True)  # noqa: S603, S607 - our own files, a tool found a line above
