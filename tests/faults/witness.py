"""Who counts: what Tactium said, what reached the broker, and what lies between."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aio_pika import connect
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError
from yarl import URL

from bridge.amqp.session import open_connection
from bridge.errors import BridgeError
from bridge.simulator import Simulator
from tests.integration.site import PATIENCE_SECONDS, until

NAMES = tuple(f"agent{n}" for n in range(50))
TURN_SECONDS = 0.1
QUIET_SECONDS = 0.7
QUEUE = "witness"
FIRST = 1_000
"""The first number: a lower one is the answer to a question of the bridge's own."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a run."""

    sent: int
    received: int
    repeated: int
    lost: list[tuple[str, int]]
    lost_outside_gaps: list[tuple[str, int]]
    disordered: list[str]
    doubled: list[str]
    changed: list[str]
    gaps: list[dict[str, Any]]


@dataclass
class Sender:
    """Lets Tactium say numbered events at a steady rate, whenever an administrator listens.

    `longest_pause_seconds` is how long it had to wait until they were taken in.
    """

    tactium: Simulator
    per_second: int = 500
    sent: dict[tuple[str, int], datetime] = field(default_factory=dict)
    longest_pause_seconds: float = 0.0

    async def run(self) -> None:
        """Send until cancelled."""
        number = FIRST
        per_turn = round(self.per_second * TURN_SECONDS)
        while True:
            turn = range(number, number + per_turn)
            if self.tactium.administrators:
                now = datetime.now(UTC)
                names = [(NAMES[n % len(NAMES)], n) for n in turn]
                self.sent.update(dict.fromkeys(names, now))
                begin = time.monotonic()
                await self.tactium.say("".join(f"<{agent}><S><{n}>$" for agent, n in names))
                pause = time.monotonic() - begin
                self.longest_pause_seconds = max(self.longest_pause_seconds, pause)
            number += per_turn
            await asyncio.sleep(TURN_SECONDS)


async def prepare(url: str, arguments: dict[str, Any] | None = None) -> None:
    """Declare the queue that takes everything."""
    async with await connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(QUEUE, durable=True, arguments=arguments)
        for stream in ("events", "bridge"):
            exchange = await channel.declare_exchange(f"tactium.{stream}", "topic", durable=True)
            await queue.bind(exchange, "#")


async def received(url: str) -> int | None:
    """Return how many messages lie in the queue, None while the broker is away."""
    try:
        async with asyncio.timeout(1), await open_connection(URL(url), "witness") as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(QUEUE, passive=True)
            return queue.declaration_result.message_count or 0
    except (BridgeError, AMQPError, OSError, TimeoutError):
        return None


async def wait_for(url: str, count: int, timeout_seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until so many messages lie in the queue."""

    async def are_there() -> bool:
        return (await received(url) or 0) >= count

    await until(are_there, timeout_seconds)


async def quiet(url: str) -> None:
    """Wait until nothing more arrives in the queue."""
    before = -1
    while (now := await received(url) or 0) > before:
        before = now
        await asyncio.sleep(QUIET_SECONDS)


async def judge(url: str, sender: Sender) -> Verdict:
    """Read the queue to its end and hold it to what was sent."""
    ids: dict[str, int] = {}  # each with a hash of its body
    seen: dict[str, list[int]] = {}
    gaps: list[dict[str, Any]] = []
    changed: list[str] = []
    total = 0
    async for message in _all(url):
        event = json.loads(message.body)
        total += 1
        if event["id"] in ids:
            if ids[event["id"]] != hash(message.body):
                changed.append(event["id"])
            continue
        ids[event["id"]] = hash(message.body)
        if event["type"] == "tactium.bridge.gap":
            gaps.append(event["data"])
        elif event["data"].get("code", 0) >= FIRST:
            seen.setdefault(event["subject"], []).append(event["data"]["code"])
    arrived = {(agent, number) for agent, numbers in seen.items() for number in numbers}
    lost = [key for key in sender.sent if key not in arrived]
    spans = [(gap["from"], gap["to"]) for gap in gaps]

    def covered(key: tuple[str, int]) -> bool:
        at = sender.sent[key].isoformat(timespec="microseconds").replace("+00:00", "Z")
        return any(begin <= at <= end for begin, end in spans)

    return Verdict(
        sent=len(sender.sent),
        received=total,
        repeated=total - len(ids),
        lost=lost,
        lost_outside_gaps=[key for key in lost if not covered(key)],
        disordered=[agent for agent, numbers in seen.items() if numbers != sorted(numbers)],
        doubled=[agent for agent, numbers in seen.items() if len({*numbers}) < len(numbers)],
        changed=changed,
        gaps=gaps,
    )


async def _all(url: str) -> AsyncIterator[AbstractIncomingMessage]:
    """Read all that lies in the queue now."""
    async with await connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(QUEUE, passive=True)
        left = queue.declaration_result.message_count or 0
        async with queue.iterator(no_ack=True, timeout=PATIENCE_SECONDS) as messages:
            while left:
                yield await anext(messages)
                left -= 1
