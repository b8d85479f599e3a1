"""The bench runs, and what it says of itself is what it measured."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

import pytest

from tests.bench.figures import Figure, Goal, Report
from tests.bench.rig import rig_on
from tests.bench.run import LIKE_OURS, SMALL, SYSLOG_NG, Bench

ROOT = Path(__file__).parents[2]
KEPT = Report.from_json((ROOT / "docs" / "bench.json").read_text())


MAYBE = {LIKE_OURS, *(lines.name for lines in SYSLOG_NG)}
"""Yardsticks that are left out where a machine has not the programs."""


def rows(report: Report, taken: Report) -> list[str]:
    """Return the names of a report's rows, without those that `taken` had no yardstick for."""
    missing = MAYBE - {str(figure.yardstick) for figure in taken.figures}
    return [figure.name for figure in report.figures if figure.yardstick not in missing]


async def test_the_bench_runs(vhost_url: str, tmp_path: Path) -> None:
    """In small: each figure is taken, with its yardstick, and comes back from JSON."""
    async with rig_on(vhost_url, tmp_path) as rig:
        report = await Bench(rig, SMALL).run()
    values = [value for figure in report.figures for value in figure.rounds]
    values += [value for figure in report.figures for value in figure.yardstick_rounds]
    assert all(isfinite(value) and value >= 0 for value in values)
    names = [name.partition(" of ")[0] for name in rows(report, report)]  # but for how many
    assert names == [name.partition(" of ")[0] for name in rows(KEPT, report)]
    assert Report.from_json(report.as_json()).table() == report.table()


def test_the_readme_shows_what_was_measured() -> None:
    """Its table is that of the run that is kept, to the letter."""
    assert KEPT.table() in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("ours", "theirs", "goal", "row"),
    [
        (
            [3, 9, 8],
            [6, 10, 10],
            Goal("≥", 0.75, 0.9),
            "8 events/s | other: 10 | 0.80 | ≥ 0.75 | ≥ 0.9 | yes",
        ),
        (
            [9, 9, 9],
            [9, 9, 9],
            Goal("≥", 0.75, 0.9),
            "9 events/s | other: 9 | 1.00 | ≥ 0.75 | ≥ 0.9 | aim",
        ),
        ([2, 4, 4], [2, 2, 2], Goal("≤", 1.5), "4 events/s | other: 2 | 2.00 | ≤ 1.5 | – | **no**"),
        ([2, 4, 4], [], Goal("≤", 4, 3), "4 events/s |  |  | ≤ 4 | ≤ 3 | yes"),
    ],
)
def test_what_counts_is_the_median_of_the_ratios(
    ours: list[float], theirs: list[float], goal: Goal, row: str
) -> None:
    """Each round is held to the yardstick in the same round, and the goal says how it stands."""
    yardstick = "other" if theirs else None
    assert Figure("x", "events/s", ours, yardstick, theirs, goal).row() == f"| x | {row} |"
