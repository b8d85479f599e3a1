"""The bench: the bridge beside its yardsticks, on one broker, in one run.

Each round takes every figure and its yardstick soon after one another, so that both
meet the machine in the same mood; what counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import harmonic_mean
from typing import NamedTuple

from bridge.loop import Loop, fastest
from tests.bench import measures
from tests.bench.figures import Figure, Goal, Report
from tests.bench.rig import Bridge, Durability, Kind, Rig
from tests.bench.yardsticks import (
    BODY_ALONE,
    Ceiling,
    Pairs,
    Properties,
    SyslogNg,
    aio_pika_rate,
)

AGENTS_AT_REST = 1_000
CLASSIC = Goal("≥", 0.75, 0.9)
QUORUM = Goal("≥", 0.65, 0.8)
LIKE_OURS = "C client, our messages"


class Lines(NamedTuple):
    """Lines that syslog-ng brings to a queue, and the name that this has as a yardstick."""

    kind: Kind
    name: str
    pairs: Pairs
    goal: Goal | None


SYSLOG_NG = (
    Lines("classic", "syslog-ng, unconfirmed", "", Goal("≥", 1.0, 1.2)),
    Lines("quorum", "syslog-ng, unconfirmed", "", Goal("≥", 1.0, 1.2)),
    Lines("classic", "syslog-ng, unconfirmed, body alone", BODY_ALONE, None),
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything is done."""

    rounds: int = 3
    events: int = 24_000
    seconds: float = 3.0
    commands: int = 300
    backlog: int = 40_000
    idle_seconds: float = 7.0
    frames: int = 300_000

    @property
    def warm_up(self) -> int:
        """How many events come first and are left out."""
        return round(self.events * measures.WARM_UP)


USUAL = Scale()
SMALL = Scale(1, 5_000, 0.3, 5, 1_000, 0.2, 3_000)


class Bench:
    """One run: what was measured so far, by name, a number for each round."""

    def __init__(self, rig: Rig, scale: Scale) -> None:
        self._rig = rig
        self._scale = scale
        self._ceiling = Ceiling(rig.folder)
        self._found: defaultdict[str, list[float]] = defaultdict(list)
        self._size = 0
        self._syslog_ng = SyslogNg.maybe_here()

    async def run(self) -> Report:
        """Measure everything and return the report."""
        begin = time.monotonic()
        for number in range(self._scale.rounds):
            _say(f"round {number + 1} of {self._scale.rounds}")
            await self._round()
        _say(f"took {time.monotonic() - begin:.0f} s")
        return Report.of(self._figures(), self._conditions())

    async def _round(self) -> None:
        rig, scale = self._rig, self._scale
        async with rig.bridge() as bridge:
            share = await measures.idle(bridge, AGENTS_AT_REST, scale.idle_seconds)
            self._note("idle", 100 * share)
        async with rig.bridge() as bridge:
            self._size = self._size or await measures.body_bytes(rig, bridge)
            self._note("memory, idle", bridge.megabytes())
            await self._latencies(bridge, "process")
            await self._round_trips()
            await self._rate(bridge, "quorum")
            await self._rate(bridge, "classic")
            self._note("memory, full rate", bridge.most_megabytes)
        async with rig.bridge("power") as bridge:
            async with rig.queue() as queue:
                rate = await measures.sustained(rig, bridge, queue, scale.events)
            self._note("power", rate.per_second)
            await self._latencies(bridge, "power")
        live = round(scale.backlog / (1 + measures.WARM_UP))
        drained = await measures.drain(rig, scale.backlog, live)
        self._note("drain", drained.per_second)
        self._note("live", drained.live_per_second)
        self._note("drained in", drained.seconds)
        self._note("late", drained.late_seconds)
        self._note("memory, backlog", drained.megabytes)
        async with rig.queue():
            bare = await aio_pika_rate(rig, scale.warm_up, scale.events, self._size)
        self._note("aio-pika", bare)
        self._note("decoder", measures.decoded(scale.frames))

    async def _rate(self, bridge: Bridge, kind: Kind) -> None:
        """Take the sustained rate between two of the ceiling's, so that neither is ahead.

        All of them fill a queue of their own to the same length, which slows its broker.
        """
        count = self._scale.events
        ceilings: dict[Properties, list[float]] = {"few": [], "all": []}

        async def measure(properties: Properties) -> None:
            async with self._rig.queue(kind):
                rate = await self._ceiling.rate(
                    self._rig, self._scale.warm_up, count, self._size, properties
                )
            ceilings[properties].append(rate)

        kinds: list[Properties] = ["few", "all"] if self._ceiling.is_c else ["few"]
        for each in kinds:
            await measure(each)
        async with self._rig.queue(kind) as queue:
            rate = await measures.sustained(self._rig, bridge, queue, count)
        self._note(kind, rate.per_second)
        self._note(f"cpu, {kind}", rate.cpu_microseconds)
        for each in reversed(kinds):
            await measure(each)
            self._note(f"ceiling, {kind}, {each}", harmonic_mean(ceilings[each]))
        if self._syslog_ng is not None:
            await self._rate_of_lines(self._syslog_ng, kind)

    async def _rate_of_lines(self, syslog_ng: SyslogNg, kind: Kind) -> None:
        count, warm_up = self._scale.events, self._scale.warm_up
        for lines in SYSLOG_NG:
            if lines.kind == kind:
                async with self._rig.queue(kind) as queue:
                    rate = await syslog_ng.rate(
                        self._rig, queue, warm_up, count, self._size, lines.pairs
                    )
                self._note(f"{lines.name}, {kind}", rate)

    async def _latencies(self, bridge: Bridge, mode: Durability) -> None:
        """Take the latency of events between two halves of a bare publisher's."""
        seconds = self._scale.seconds
        first = await measures.bare_latency(self._rig, seconds / 2, self._size)
        ours = await measures.latency(self._rig, bridge, seconds)
        second = await measures.bare_latency(self._rig, seconds / 2, self._size)
        for rank in ("p50", "p99"):
            self._note(f"{rank}, {mode}", getattr(ours, rank))
            bare = (getattr(first, rank) + getattr(second, rank)) / 2
            self._note(f"{rank}, {mode}, bare", bare)

    async def _round_trips(self) -> None:
        """Take the round trip of commands between two halves of the echo's."""
        commands = self._scale.commands
        first = await measures.bare_round_trip(self._rig, commands // 2)
        self._note("rpc", (await measures.round_trip(self._rig, commands)).p50)
        second = await measures.bare_round_trip(self._rig, commands // 2)
        self._note("bare rpc", (first.p50 + second.p50) / 2)

    def _note(self, name: str, value: float) -> None:
        self._found[name].append(value)

    def _figures(self) -> list[Figure]:
        found, ceiling = self._found, self._ceiling.name
        rate, backlog = "events/s", f"{self._scale.backlog:,}"
        figures = [
            Figure(
                "sustained rate, classic queue",
                *(rate, found["classic"], ceiling, found["ceiling, classic, few"]),
                CLASSIC,
            ),
            Figure(
                "sustained rate, quorum queue",
                *(rate, found["quorum"], ceiling, found["ceiling, quorum, few"]),
                QUORUM,
            ),
            Figure(
                "the same, classic",
                *(rate, found["classic"], "aio-pika, 500 in flight", found["aio-pika"]),
            ),
            Figure(
                "`durability = power`",
                *(rate, found["power"], "`process`", found["classic"]),
                Goal("≥", 0.9, 1.0),
            ),
            *(
                Figure(
                    f"latency at {measures.PER_SECOND} events/s, {rank}, `{mode}`",
                    *("ms", found[f"{rank}, {mode}"], "aio-pika", found[f"{rank}, {mode}, bare"]),
                    goal,
                )
                for rank, mode, goal in (
                    ("p50", "process", Goal("≤", 1.5, 1.2)),
                    ("p50", "power", Goal("≤", 2.0, 1.5)),
                    ("p99", "process", Goal("≤", 3.0, 2.0)),
                    ("p99", "power", Goal("≤", 3.0, 2.0)),
                )
            ),
            Figure(
                "command round trip, p50",
                *("ms", found["rpc"], "aio-pika RPC echo", found["bare rpc"]),
                Goal("≤", 2.0, 1.5),
            ),
            Figure(
                f"drain of a backlog of {backlog}",
                *(rate, found["drain"], "sustained rate after it", found["live"]),
                Goal("≥", 0.9, 1.0),
            ),
            Figure(
                "the latest of what is said while it drains",
                *("s", found["late"], "the time of the drain", found["drained in"]),
                Goal("≤", 1.0),
            ),
            Figure("CPU per event, classic", "µs", found["cpu, classic"], goal=Goal("≤", 45, 25)),
            Figure("CPU per event, quorum", "µs", found["cpu, quorum"], goal=Goal("≤", 45, 25)),
            Figure("memory, idle", "MB", found["memory, idle"], goal=Goal("≤", 70)),
            Figure("memory, full rate", "MB", found["memory, full rate"], goal=Goal("≤", 120)),
            Figure(
                f"memory, backlog of {backlog}",
                *("MB", found["memory, backlog"]),
                goal=Goal("≤", 150),
            ),
            Figure("decoder alone", "frames/s", found["decoder"], goal=Goal("≥", 300_000, 600_000)),
            Figure(
                f"idle CPU, {AGENTS_AT_REST:,} agents known",
                *("%", found["idle"]),
                goal=Goal("≤", 1.0, 0.3),
            ),
        ]
        if self._ceiling.is_c:
            figures[2:2] = [
                Figure(
                    f"the same, {kind}",
                    *(rate, found[kind], LIKE_OURS, found[f"ceiling, {kind}, all"]),
                    goal,
                )
                for kind, goal in (("classic", CLASSIC), ("quorum", QUORUM))
            ]
        if self._syslog_ng is not None:
            figures[2:2] = [
                Figure(
                    f"the same, {kind}",
                    *(rate, found[kind], name, found[f"{name}, {kind}"]),
                    goal,
                )
                for kind, name, _, goal in SYSLOG_NG
            ]
        return figures

    def _conditions(self) -> list[str]:
        loop = "asyncio" if fastest() is Loop else "uvloop"
        conditions = [
            f"one private RabbitMQ {self._rig.broker_version} for all",
            "durable queues bound with `#`, persistent messages",
            f"the bridge in the event loop of {loop}, aio-pika in that of asyncio",
            f"bodies of {self._size} bytes, medians of {self._scale.rounds} rounds",
            f"idle CPU in looks of {self._scale.idle_seconds:g} s",
        ]
        if self._syslog_ng is None:
            conditions.append("no syslog-ng with its AMQP destination here to compare with")
        return conditions


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
