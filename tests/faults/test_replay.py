"""Past events are read by a new service while others flow (README, "Standby and history")."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aio_pika import connect
from aio_pika.abc import AbstractIncomingMessage

from tests.faults import replayer
from tests.faults.conftest import Ledger
from tests.faults.test_faults import SOAK
from tests.faults.witness import FIRST, NAMES
from tests.integration.program import ended, environment_of, program
from tests.integration.site import OpenSite, Site, until

PAST = 1_000_000 if SOAK else 20_000
TOGETHER = 500
LIVE_PER_SECOND = 200
LIVE_SECONDS = 20.0 if SOAK else 3.0
MOST_AHEAD = 20_000

pytestmark = [pytest.mark.timeout(1800 if SOAK else 180), pytest.mark.socket_only]


class Live:
    """Lets Tactium say numbered events, and measures how long each takes to a subscriber."""

    def __init__(self, site: Site) -> None:
        self.next = FIRST
        self.received = 0
        self.latencies: list[float] = []
        self._site = site

    async def say(self, count: int) -> None:
        """Say so many at once."""
        turn = range(self.next, self.next + count)
        self.next += count
        await self._site.tactium.say("".join(f"<{NAMES[n % len(NAMES)]}><S><{n}>$" for n in turn))

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[None]:
        """Hear them, inside."""
        async with await connect(self._site.settings.amqp.url.get_secret_value()) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind("tactium.events", "#")
            await queue.consume(self._take, no_ack=True)
            yield

    async def flow(self) -> None:
        """Say some at a steady rate, until cancelled."""
        while True:
            await self.say(LIVE_PER_SECOND // 10)
            await asyncio.sleep(0.1)

    def p99_milliseconds(self) -> float:
        """Return the 99th percentile of all since the last time, and begin anew."""
        ordered, self.latencies = sorted(self.latencies), []
        return 1000 * ordered[round(0.99 * (len(ordered) - 1))]

    async def _take(self, message: AbstractIncomingMessage) -> None:
        self.received += 1
        read_at = datetime.fromisoformat(json.loads(message.body)["time"])
        self.latencies.append((datetime.now(UTC) - read_at).total_seconds())


async def test_the_past_is_read_while_events_flow(
    open_site: OpenSite, tmp_path: Path, ledger: Ledger
) -> None:
    """All of it, in order; and those who hear the present hardly notice."""
    since = datetime.now(UTC)
    async with open_site(amqp={"history": True}) as site:
        live = Live(site)
        url = site.settings.amqp.url.get_secret_value()
        environment = {**environment_of(site.settings), "BRIDGE_AMQP__HISTORY": "true"}
        async with program(
            "run", cwd=tmp_path, environment=environment, log=tmp_path / "log"
        ) as bridge:
            await site.next_data("main.link.up")
            async with live.heard():
                while live.next < FIRST + PAST:
                    await live.say(TOGETHER)
                    await until(lambda: live.next - FIRST - live.received < MOST_AHEAD, 60)
                await until(lambda: live.received >= PAST, 300)
                live.latencies.clear()
                flowing = asyncio.create_task(live.flow())
                await asyncio.sleep(LIVE_SECONDS)
                alone = live.p99_milliseconds()
                arguments = (url, since.isoformat(), str(PAST + LIVE_PER_SECOND))
                async with program(
                    *arguments,
                    cwd=tmp_path,
                    environment={"PYTHONPATH": str(Path.cwd())},
                    script=Path(replayer.__file__),
                ) as reading:
                    code, out, err = await ended(reading, 1500)
                beside = live.p99_milliseconds()
                flowing.cancel()
            assert bridge.returncode is None
    assert code == 0, err
    told = json.loads(out)
    ledger.remark(
        f"{told['count']:,} read at {told['count'] / told['seconds']:,.0f} a second; p99 of what "
        f"flows {alone:.1f} ms alone, {beside:.1f} ms beside it ({beside / alone:.2f} times)"
    )
    assert told["count"] == PAST + LIVE_PER_SECOND
    assert (told["missing"], told["disordered"]) == (0, 0)
