"""What Prometheus gets (contract.md §8). No agent, login or phone is ever a label."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from math import isinf
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from bridge.core.journal import Depth
from bridge.messages.envelope import Sealed
from bridge.messages.notices import GapCause
from bridge.observe.masking import command_name, short_type
from bridge.observe.status import Status

PREFIX = "tactium_bridge"
PEERS = {"link": "tactium", "broker": "broker"}
COMMAND_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
CONFIRM_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The numbers of one bridge, in a registry of its own."""

    def __init__(self, max_bytes: int) -> None:
        self._registry = registry = CollectorRegistry()
        self.flow = Flow()
        registry.register(self.flow)
        ProcessCollector(registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, namespace=PREFIX, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace=PREFIX, registry=registry)

        self._link_up = gauge("link_up", "Whether Tactium can be heard.")
        self._broker_up = gauge("broker_up", "Whether the broker's connections are set up.")
        self._broker_blocked = gauge(
            "broker_blocked", "Whether the broker takes nothing: its memory or disk alarm is on."
        )
        self._leader = gauge("leader", "Whether this bridge is the one connected to Tactium.")
        self._journal_ok = gauge("journal_ok", "Whether the journal is written and not full.")
        self._journal_events = gauge("journal_events", "Messages in it that are not confirmed.")
        self._journal_waiting = gauge("journal_waiting_events", "Messages in memory for its disk.")
        self._journal_bytes = gauge("journal_bytes", "Size of the journal's messages.")
        self._journal_oldest = gauge("journal_oldest_seconds", "Age of the oldest not confirmed.")
        gauge("journal_max_bytes", "Size at which the oldest make way.").set(max_bytes)
        self.repeated = counter("events_repeated", "Messages sent again on a new connection.")
        self.refused = counter("events_refused", "Messages given up for a full queue's sake.")
        self.dropped_so_far = 0
        self._dropped = counter("events_dropped", "Messages that had to make way or were lost.")
        self._commands = counter("commands", "Commands that ended.", "command", "outcome")
        self._malformed = counter("frames_malformed", "Pieces from Tactium that are no frame.")
        self._gaps = counter("gaps", "Times in which something may be missing.", "cause")
        self._gap_seconds = counter("gap_seconds", "Length of all gaps.")
        self._reconnects = counter("reconnects", "Connections made again.", "peer")
        self.returned = counter("replies_returned", "Replies whose queue is gone.")
        self._command_seconds = Histogram(
            "command_seconds",
            "From a command's arrival to its reply.",
            namespace=PREFIX,
            registry=registry,
            buckets=COMMAND_SECONDS,
        )
        build = Gauge("build_info", "What runs.", ["version"], namespace=PREFIX, registry=registry)
        build.labels(version("tactium-bridge")).set(1)
        # An alert can only see a counter grow that is there before.
        for cause in get_args(GapCause):
            self._gaps.labels(cause)
        for peer in PEERS.values():
            self._reconnects.labels(peer)

    def malformed(self) -> None:
        """Count a piece from Tactium that is no frame."""
        self._malformed.inc()

    def ended(self, command: dict[str, Any]) -> None:
        """Count a command by the data of its audit message."""
        self._commands.labels(command_name(command["command"]), command["outcome"]).inc()
        self._command_seconds.observe(command["duration_seconds"])

    def missed(self, gap: dict[str, Any]) -> None:
        """Count a gap by its data."""
        self._gaps.labels(gap["cause"]).inc()
        self._gap_seconds.inc(max(0.0, (_moment(gap["to"]) - _moment(gap["from"])).total_seconds()))

    def drop(self, count: int) -> None:
        """Count messages that had to make way or were lost."""
        self.dropped_so_far += count
        self._dropped.inc(count)

    def reconnected(self, peer: str) -> None:
        """Count a connection that was made again."""
        self._reconnects.labels(peer).inc()

    def text(self, status: Status, depth: Depth, oldest_seconds: float) -> bytes:
        """Return everything in Prometheus' text format."""
        self._link_up.set(bool(status["link"].ok))
        self._broker_up.set(status.is_connected)
        self._broker_blocked.set(status.is_hindered("broker"))
        self._leader.set(status.role == "leader")
        self._journal_ok.set(bool(status["journal"].ok))
        self._journal_events.set(depth.messages)
        self._journal_waiting.set(depth.waiting)
        self._journal_bytes.set(depth.bytes)
        self._journal_oldest.set(oldest_seconds)
        return generate_latest(self._registry)


class Flow(Collector):
    """What is counted for every message: plain numbers, which are families when they are asked for.

    `taken` counts messages by their type, `confirmed` those that the broker has.
    """

    def __init__(self) -> None:
        self.taken: defaultdict[str, int] = defaultdict(int)
        self.confirmed = 0
        self._buckets = [0] * (len(CONFIRM_SECONDS) + 1)
        self._seconds = 0.0

    def took(self, messages: Sequence[Sealed]) -> None:
        """Count messages that were taken in."""
        taken = self.taken
        for message in messages:
            taken[message.type] += 1

    def observe(self, seconds: float, times: int) -> None:
        """Note how long so many confirms took: many at once, as the library's histogram cannot."""
        self._buckets[bisect_left(CONFIRM_SECONDS, seconds)] += times
        self._seconds += seconds * times

    def collect(self) -> Sequence[Metric]:
        """Return all of it as it stands."""
        events = CounterMetricFamily(
            f"{PREFIX}_events", "Messages taken in, the bridge's own too.", labels=["type"]
        )
        for kind, count in self.taken.items():
            events.add_metric([short_type(kind)], count)
        confirmed = CounterMetricFamily(
            f"{PREFIX}_events_confirmed", "Messages that the broker confirmed.", self.confirmed
        )
        total, buckets = 0, []
        for bound, count in zip((*CONFIRM_SECONDS, float("inf")), self._buckets, strict=True):
            total += count
            buckets.append(("+Inf" if isinf(bound) else str(float(bound)), total))
        seconds = HistogramMetricFamily(
            f"{PREFIX}_confirm_seconds", "From a message's sending to its confirm."
        )
        seconds.add_metric([], buckets, self._seconds)
        return [events, confirmed, seconds]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
