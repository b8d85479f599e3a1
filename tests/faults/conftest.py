"""Fixtures for the faults, and the table of what was measured."""

from __future__ import annotations

import pytest

from tests.faults.witness import Verdict
from tests.integration.conftest import open_site, vhost_url

__all__ = ["open_site", "vhost_url"]

_ROWS: list[tuple[str, Verdict, float | None]] = []


class Ledger:
    """Takes the figures of one fault."""

    def __init__(self, fault: str) -> None:
        self._fault = fault

    def note(self, verdict: Verdict, recovery_seconds: float | None = None) -> None:
        """Add a row to the table; `recovery_seconds` from the healing to the first sign of it."""
        _ROWS.append((self._fault, verdict, recovery_seconds))


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """Where a test notes what it measured."""
    return Ledger(request.node.name.removeprefix("test_"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if not _ROWS:
        return
    terminalreporter.section("faults")
    head = ("fault", "sent", "received", "repeated", "lost", "in no gap", "gaps", "recovery s")
    line = "{:44}{:>8}{:>10}{:>10}{:>7}{:>11}{:>6}{:>12}".format
    terminalreporter.write_line(line(*head))
    for fault, verdict, recovery in _ROWS:
        row = (fault, verdict.sent, verdict.received, verdict.repeated, len(verdict.lost))
        more = (len(verdict.lost_outside_gaps), len(verdict.gaps))
        took = f"{recovery:.2f}" if recovery is not None else "-"
        terminalreporter.write_line(line(*row, *more, took))
