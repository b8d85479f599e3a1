"""Cost against size: what an event costs as a site grows, and how a backlog drains."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import measures
from tests.bench.figures import machine
from tests.bench.measures import Rate
from tests.bench.rig import Rig, open_rig

ROUNDS = 3
EVENTS = 30_000
FEWEST_EVENTS = 3_000
AGENTS = (100, 1_000, 10_000, 100_000)
QUEUES = (1, 2, 5, 10, 20)
BACKLOGS = (1_000, 10_000, 100_000, 1_000_000)
LONGEST = 100_000
"""A longer backlog than this is drained once only."""


async def run(out: Path, *, small: bool) -> None:
    """Measure, and write `sizes.json` and the plot `sizes.svg` into a folder."""
    shrink, rounds = (100, 1) if small else (1, ROUNDS)
    points: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with open_rig(Path(folder)) as rig:
            for agents in AGENTS[: -1 if small else None]:
                rates = [await _with_agents(rig, agents, EVENTS // shrink) for _ in range(rounds)]
                points["agents"].append(_point(agents, rates))
            for queues in QUEUES:
                count = max(FEWEST_EVENTS, EVENTS // queues) // shrink
                rates = [await _with_queues(rig, queues, count) for _ in range(rounds)]
                points["queues"].append(_point(queues, rates))
            for backlog in BACKLOGS[: 1 if small else None]:
                times = 1 if backlog > LONGEST else rounds
                drained = [
                    await measures.drain(rig, backlog, EVENTS // shrink) for _ in range(times)
                ]
                points["backlog"].append(
                    {
                        "size": backlog,
                        "per_second": statistics.median(each.per_second for each in drained),
                        "live": statistics.median(each.live_per_second for each in drained),
                        "megabytes": max(each.megabytes for each in drained),
                    }
                )
                _say("backlog", points["backlog"][-1])
    found = {"machine": machine(), **points}
    (out / "sizes.json").write_text(json.dumps(found, indent=2) + "\n")
    plot(found, out / "sizes.svg")


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw what was found."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - only who draws has it

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tactium-bridge", "font.size": 9})
    figure, (agents, queues, backlog) = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for axes, name in ((agents, "agents"), (queues, "queues")):
        sizes = [point["size"] for point in found[name]]
        costs = [point["cpu_microseconds"] for point in found[name]]
        axes.plot(sizes, costs, "o-", color="tab:blue")
        axes.set(xscale="log", ylim=(0, None), ylabel="CPU per event in the bridge, µs")
    agents.set(xlabel="agents", title="An event among so many agents")
    queues.set(xlabel="queues bound with #", title="… for so many subscribers", xticks=QUEUES)
    queues.set_xticklabels([str(count) for count in QUEUES])
    sizes = [point["size"] for point in found["backlog"]]
    backlog.plot(sizes, [p["per_second"] / 1e3 for p in found["backlog"]], "o-", color="tab:blue")
    backlog.set(xscale="log", ylim=(0, None), xlabel="events", title="A backlog")
    backlog.set_ylabel("drained, 1,000 events/s", color="tab:blue")
    memory = backlog.twinx()
    memory.plot(sizes, [p["megabytes"] for p in found["backlog"]], "s--", color="tab:red")
    memory.set(ylim=(0, 160))
    memory.set_ylabel("most memory, MB", color="tab:red")
    figure.savefig(path, metadata={"Date": None})


async def _with_agents(rig: Rig, agents: int, count: int) -> Rate:
    """Return what events cost when Tactium has named so many agents before."""
    async with rig.bridge() as bridge:
        await bridge.tactium.say(b"".join(b"<agent%06d><S><1>$" % n for n in range(agents)))
        await bridge.keep(agents)
        await bridge.settle()
        async with rig.queue() as queue:
            return await measures.sustained(rig, bridge, queue, count, agents)


async def _with_queues(rig: Rig, queues: int, count: int) -> Rate:
    """Return what events cost that so many queues want."""
    async with rig.bridge() as bridge, rig.queue(count=queues) as queue:
        return await measures.sustained(rig, bridge, queue, count)


def _point(size: int, rates: Sequence[Rate]) -> dict[str, float]:
    found = {
        "size": size,
        "per_second": statistics.median(rate.per_second for rate in rates),
        "cpu_microseconds": statistics.median(rate.cpu_microseconds for rate in rates),
    }
    _say("sustained", found)
    return found


def _say(what: str, found: dict[str, float]) -> None:
    told = ", ".join(f"{name} {value:,.1f}" for name, value in found.items())
    sys.stderr.write(f"{what}: {told}\n")
