"""`make bench` and `make plots`: measure, and write down what was found."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.bench import sizes
from tests.bench.figures import Report
from tests.bench.rig import open_rig
from tests.bench.run import SMALL, USUAL, Bench, Scale

BUILD = Path(__file__).parents[2] / "build"


async def _run(scale: Scale) -> Report:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with open_rig(Path(folder)) as rig:
            return await Bench(rig, scale).run()


def main() -> None:
    """Run the bench and say what it found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--small", action="store_true", help="only to see that it runs")
    parser.add_argument("--sizes", action="store_true", help="cost against size, as a picture")
    parser.add_argument("--backlog", type=int, help="how many events gather before they drain")
    parser.add_argument("--rounds", type=int, help="of how many rounds the medians are")
    parser.add_argument("--out", type=Path, default=BUILD, help="a folder for what it writes")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.sizes:
        asyncio.run(sizes.run(given.out, small=given.small))
        return
    scale = SMALL if given.small else USUAL
    if given.backlog:
        scale = replace(scale, backlog=given.backlog)
    if given.rounds:
        scale = replace(scale, rounds=given.rounds)
    report = asyncio.run(_run(scale))
    (given.out / "bench.json").write_text(report.as_json())
    conditions = "; ".join([report.machine, *report.conditions])
    sys.stdout.write(f"{report.table()}\n{conditions}\n\n{report.raw()}")


if __name__ == "__main__":
    main()
