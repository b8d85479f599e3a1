"""What was measured, as people read it and as programs do."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

HEADING = """| figure | measured | yardstick | ratio | must | aim | |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure must be and what it is meant to be: at least that much, or at most."""

    sign: Literal["≥", "≤"]
    must: float
    aim: float | None = None

    def verdict(self, value: float) -> str:
        """Return how a value stands to the goal."""
        if self.aim is not None and self._holds(value, self.aim):
            return "aim"
        return "yes" if self._holds(value, self.must) else "**no**"

    def _holds(self, value: float, bound: float) -> bool:
        return value >= bound if self.sign == "≥" else value <= bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: what each round measured, and what the yardstick gave in the same round.

    The goal is for the ratio of both, or for the figure itself where it has no yardstick.
    """

    name: str
    unit: str
    rounds: Sequence[float]
    yardstick: str | None = None
    yardstick_rounds: Sequence[float] = ()
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios."""
        if not self.yardstick_rounds:
            return None
        pairs = zip(self.rounds, self.yardstick_rounds, strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def row(self) -> str:
        """Return the figure as a row of a table in Markdown."""
        measured = _number(statistics.median(self.rounds), self.unit)
        cells = [self.name, f"{measured} {self.unit}".strip(), "", "", "", "", ""]
        ratio = self.ratio
        if ratio is not None:
            theirs = _number(statistics.median(self.yardstick_rounds), self.unit)
            cells[2:4] = [f"{self.yardstick}: {theirs}", f"{ratio:.2f}"]
        if self.goal is not None:
            goal = self.goal
            value = ratio if ratio is not None else statistics.median(self.rounds)
            cells[4] = f"{goal.sign} {_goal(goal.must)}"
            cells[5] = f"{goal.sign} {_goal(goal.aim)}" if goal.aim is not None else "–"
            cells[6] = goal.verdict(value)
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one run; `conditions` are what they were taken under."""

    taken_at: str
    machine: str
    conditions: Sequence[str]
    figures: Sequence[Figure]

    def table(self) -> str:
        """Return the figures as a table in Markdown."""
        rows = "\n".join(figure.row() for figure in self.figures)
        return f"{HEADING}{rows}\n"

    def raw(self) -> str:
        """Return what each round measured."""
        lines = []
        for figure in self.figures:
            lines.append(f"{figure.name} [{figure.unit}]: {_rounds(figure.rounds, figure.unit)}")
            if figure.yardstick_rounds:
                theirs = _rounds(figure.yardstick_rounds, figure.unit)
                lines.append(f"    {figure.yardstick}: {theirs}")
        return "\n".join(lines) + "\n"

    def as_json(self) -> str:
        """Return everything, for programs."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def of(cls, figures: Sequence[Figure], conditions: Sequence[str]) -> Report:
        """Return the report of a run that ends now, on this machine."""
        taken_at = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(taken_at, machine(), conditions, figures)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return a report that was kept."""
        kept: dict[str, Any] = json.loads(text)
        figures = [
            Figure(**{**each, "goal": Goal(**each["goal"]) if each["goal"] else None})
            for each in kept["figures"]
        ]
        return cls(**{**kept, "figures": figures})


def machine() -> str:
    """Return on what the figures were taken."""
    parts = (
        f"{os.cpu_count()} cores ({platform.machine()})",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        f"aio-pika {version('aio-pika')}",
    )
    return ", ".join(parts)


def _rounds(rounds: Sequence[float], unit: str) -> str:
    return " · ".join(_number(each, unit) for each in rounds)


def _number(value: float, unit: str) -> str:
    decimals = {"s": 1, "ms": 2, "µs": 1, "%": 2}.get(unit, 0)
    return f"{value:,.{decimals}f}"


def _goal(bound: float) -> str:
    return f"{bound:,.0f}" if bound >= 1_000 else f"{bound:g}"
