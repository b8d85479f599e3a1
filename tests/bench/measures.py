"""How each figure of the bridge is taken."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from itertools import islice
from statistics import quantiles
from typing import NamedTuple

from aio_pika import Message
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import DeliveryError

from bridge.wire.frame import Decoder
from tests.bench.rig import COMMANDS, NOWHERE, Bridge, Rig
from tests.bench.tactium import AGENTS, maybe_age_seconds, stamp, traffic
from tests.bench.yardsticks import bare
from tests.integration.site import until

AHEAD = 8_000
"""How many events Tactium says beyond those that have arrived: a burst, never a backlog."""

FEED_SECONDS = 0.05
NEARLY_ALL = 1_000
NEARLY_ALL_SECONDS = 0.005
"""How often it is looked whether the last of so many have arrived: then the clock stops."""

WARM_UP = 0.2
"""Which share of the events comes first and is left out."""

PER_SECOND = 500
ECHO = "bench.echo"
ANSWER_SECONDS = 10.0
DECODED_BYTES = 65_536

OLD_NEWS = "tactium.call.ended"
"""Tells of the call's recording once more, stamp and all."""

PROBE = "probe"
"""The agent of what is said while a backlog drains."""


class Rate(NamedTuple):
    """How fast events went through, and what one of them cost the bridge's process."""

    per_second: float
    cpu_microseconds: float


class Latency(NamedTuple):
    """Milliseconds that half of all took at most, and 99 of 100."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: list[float]) -> Latency:
        """Return what a sample shows."""
        hundredths = quantiles(seconds, n=100)
        return cls(hundredths[49] * 1e3, hundredths[98] * 1e3)


async def sustained(
    rig: Rig, bridge: Bridge, queue: AbstractQueue, count: int, agents: int = AGENTS
) -> Rate:
    """Say events as fast as they arrive, until `count` more than the warm-up are confirmed.

    They arrive in a durable queue, which must be empty. The clock runs until the last is there:
    that the journal notes its confirm, which it does within 50 ms, is waited for after it.
    """
    warm_up = round(count * WARM_UP)
    frames = list(islice(traffic(agents), warm_up + count))
    most_ahead = min(AHEAD, len(frames) // 4)
    said = depth = first = 0
    begin = cpu_seconds = 0.0
    while depth < len(frames):
        ahead = frames[said : depth + most_ahead]
        await bridge.tactium.say(b"".join(ahead))
        said += len(ahead)
        is_nearly_all = len(frames) - depth <= NEARLY_ALL
        await asyncio.sleep(NEARLY_ALL_SECONDS if is_nearly_all else FEED_SECONDS)
        depth = await rig.depth(queue)
        bridge.megabytes()
        if not first and depth >= warm_up:
            first, begin, cpu_seconds = depth, time.monotonic(), bridge.cpu_seconds()
    seconds = time.monotonic() - begin
    await bridge.settle()
    cost = (bridge.cpu_seconds() - cpu_seconds) / (len(frames) - first)
    return Rate((len(frames) - first) / seconds, cost * 1e6)


async def body_bytes(rig: Rig, bridge: Bridge) -> int:
    """Return how large the body of an event is, on average over some whole calls."""
    sizes: list[int] = []
    count = 90
    async with rig.queue() as queue:

        async def take(message: AbstractIncomingMessage) -> None:
            sizes.append(len(message.body))

        tag = await queue.consume(take, no_ack=True)
        await bridge.tactium.say(b"".join(islice(traffic(), count)))
        await until(lambda: len(sizes) == count)
        await queue.cancel(tag)
    return round(sum(sizes) / len(sizes))


async def latency(rig: Rig, bridge: Bridge, seconds: float) -> Latency:
    """Take the time from Tactium's socket to a consumer, at `PER_SECOND` events a second."""

    async def say() -> None:
        await bridge.tactium.say_steadily(traffic(), PER_SECOND, seconds)

    return await _latency(rig, say)


async def bare_latency(rig: Rig, seconds: float, size: int) -> Latency:
    """Take the time from an aio-pika publisher to the same consumer, at the same pace."""

    async def publish() -> None:
        async with bare("latency", rig.url, PER_SECOND, seconds, size) as process:
            await process.wait()

    return await _latency(rig, publish)


async def _latency(rig: Rig, say: Callable[[], Awaitable[None]]) -> Latency:
    took: list[float] = []
    async with rig.queue() as queue:

        async def take(message: AbstractIncomingMessage) -> None:
            seconds = maybe_age_seconds(message.body)
            if seconds is not None and message.type != OLD_NEWS:
                took.append(seconds)

        tag = await queue.consume(take, no_ack=True)
        await say()
        await asyncio.sleep(FEED_SECONDS)
        await queue.cancel(tag)
    return Latency.of(took[round(len(took) * WARM_UP) :])


async def round_trip(rig: Rig, count: int) -> Latency:
    """Take the time of a command that asks Tactium for an agent's status."""
    command = json.dumps({"command": "get_status", "agent": "agent000001"}).encode()
    return await _round_trip(rig, COMMANDS, command, count)


async def bare_round_trip(rig: Rig, count: int) -> Latency:
    """Take the time of a request that an aio-pika program sends back as it is."""
    async with bare("echo", rig.url, ECHO):
        return await _round_trip(rig, ECHO, b"{}", count)


async def _round_trip(rig: Rig, where: str, body: bytes, count: int) -> Latency:
    took: list[float] = []
    replies: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    mailbox = await rig.channel.declare_queue(exclusive=True)
    tag = await mailbox.consume(replies.put, no_ack=True)
    for number in range(round(count * (1 + WARM_UP))):
        request = Message(body, reply_to=mailbox.name, correlation_id=str(number))
        begin = time.monotonic()
        async with asyncio.timeout(ANSWER_SECONDS):
            await _send(rig, where, request)
            while (await replies.get()).correlation_id != str(number):
                pass
        took.append(time.monotonic() - begin)
    await mailbox.cancel(tag)
    await mailbox.delete(if_unused=False, if_empty=False)
    return Latency.of(took[round(count * WARM_UP) :])


async def _send(rig: Rig, where: str, request: Message) -> None:
    """Send a request; whoever answers may not have its queue yet."""
    while True:
        with suppress(DeliveryError):
            await rig.channel.default_exchange.publish(request, where)
            return
        await asyncio.sleep(FEED_SECONDS)


class Drain(NamedTuple):
    """How a backlog went out, beside what was said meanwhile and after it.

    The warm-up is left out. `late_seconds` is the longest that an event took which was
    said while the rest drained, `seconds` the time of that; `megabytes` is the most memory.
    """

    per_second: float
    live_per_second: float
    seconds: float
    late_seconds: float
    megabytes: float


async def drain(rig: Rig, backlog: int, live: int) -> Drain:
    """Let a backlog gather while there is no broker; the next bridge finds it in the journal.

    That one is told a few events while the backlog drains, and after it `live` and the
    warm-up: as many as the backlog, for a queue that has grown long slows its broker.
    """
    journal = rig.folder / f"backlog-{backlog}.db"
    frames = traffic()
    async with rig.bridge(journal=journal, url=NOWHERE) as bridge:
        for _ in range(backlog // 1_000):
            await bridge.tactium.say(b"".join(islice(frames, 1_000)))
            bridge.megabytes()
        await bridge.keep(backlog)
    most = bridge.most_megabytes
    async with AsyncExitStack() as running:
        async with rig.queue() as queue, rig.heard_of(PROBE) as heard:
            warming_up = asyncio.create_task(rig.wait_for(queue, round(backlog * WARM_UP)))
            bridge = await running.enter_async_context(rig.bridge(journal=journal))
            begin, first = await warming_up
            probing = asyncio.create_task(_probe(bridge))
            end, depth = await rig.wait_for(queue, backlog)
            probing.cancel()
            await bridge.settle()
            await until(lambda: bool(heard))
            most = max(most, bridge.most_megabytes)
        async with rig.queue() as queue:
            rate = await sustained(rig, bridge, queue, live)
    journal.unlink()
    seconds = end - begin
    return Drain((depth - first) / seconds, rate.per_second, seconds, max(heard), most)


async def _probe(bridge: Bridge) -> None:
    """Say an event now and then, stamp and all, and look at the memory."""
    while True:
        bridge.megabytes()
        await bridge.tactium.say(f"<{PROBE}><G></late.wav?{stamp()}>$".encode())
        await asyncio.sleep(FEED_SECONDS)


async def idle(bridge: Bridge, agents: int, seconds: float) -> float:
    """Return which share of a core a bridge takes that knows so many agents and hears nothing."""
    await bridge.tactium.say(b"".join(b"<agent%06d><S><1>$" % n for n in range(agents)))
    await bridge.settle()
    await asyncio.sleep(1)
    before = bridge.cpu_seconds()
    await asyncio.sleep(seconds)
    return (bridge.cpu_seconds() - before) / seconds


def decoded(count: int) -> float:
    """Return how many frames the decoder cuts in a second, from reads of 64 KiB."""
    data = b"".join(islice(traffic(), count))
    decoder = Decoder()
    begin = time.perf_counter()
    for at in range(0, len(data), DECODED_BYTES):
        decoder.feed(data[at : at + DECODED_BYTES])
    return count / (time.perf_counter() - begin)
