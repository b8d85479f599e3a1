"""Fixtures for the faults, and the table of what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.simulator import SimulatorOptions
from tests.faults.witness import NAMES, Verdict
from tests.integration.conftest import TACTIUM, open_site, vhost_url

__all__ = ["open_site", "vhost_url"]

_Row = tuple[str, Verdict, float | None, float | None]
_ROWS: list[_Row] = []
_REMARKS: list[str] = []


class Ledger:
    """Takes the figures of one fault."""

    def __init__(self, fault: str) -> None:
        self._fault = fault

    def remark(self, text: str) -> None:
        """Add a line below the table."""
        _REMARKS.append(f"{self._fault}: {text}")

    def note(
        self,
        verdict: Verdict,
        recovery_seconds: float | None = None,
        noticed_seconds: float | None = None,
    ) -> None:
        """Add a row to the table, with the worst of its times.

        `recovery_seconds` is from the healing until events flow again,
        `noticed_seconds` from the fault until it is noticed.
        """
        _ROWS.append((self._fault, verdict, recovery_seconds, noticed_seconds))


@pytest.fixture
def default_tactium() -> SimulatorOptions:
    """A Tactium that knows the agents whom the events are about, and answers for them."""
    return replace(TACTIUM, agents=NAMES)


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """Where a test notes what it measured."""
    return Ledger(request.node.name.removeprefix("test_"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if not (_ROWS or _REMARKS):
        return
    terminalreporter.section("faults")
    columns = ("sent", "received", "repeated", "lost", "in no gap", "gaps", "noticed", "recovery")
    line = "{:34}{:>8}{:>10}{:>10}{:>7}{:>11}{:>6}{:>10}{:>10}".format
    terminalreporter.write_line(line("fault", *columns))
    for fault, verdict, recovery, noticed in _ROWS:
        figures = (verdict.sent, verdict.received, verdict.repeated, len(verdict.lost))
        more = (len(verdict.lost_outside_gaps), len(verdict.gaps))
        terminalreporter.write_line(
            line(fault[:33], *figures, *more, _seconds(noticed), _seconds(recovery))
        )
    for remark in _REMARKS:
        terminalreporter.write_line(remark)


def _seconds(maybe_time: float | None) -> str:
    return "-" if maybe_time is None else f"{maybe_time:.2f} s"
