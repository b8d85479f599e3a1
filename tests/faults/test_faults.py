"""Numbered events at 500/s over 50 agents, while something breaks (and is mended).

Each fault is short here; `make soak` repeats and lengthens them (SOAK=1).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.sandbox import RabbitMQNode
from tests.faults.conftest import Ledger
from tests.faults.proxy import FaultProxy
from tests.faults.witness import Sender, Verdict, judge, prepare
from tests.integration.site import OpenSite, until

SOAK = bool(os.environ.get("SOAK"))
CALM_SECONDS = 3.0 if SOAK else 1.0
OUTAGE_SECONDS = 30.0 if SOAK else 3.0
ROUNDS = 5 if SOAK else 1
KILLS = 20 if SOAK else 3

pytestmark = pytest.mark.timeout(900 if SOAK else 120)

Logs = list[MutableMapping[str, Any]]


@asynccontextmanager
async def flowing(sender: Sender) -> AsyncIterator[None]:
    """Let events flow inside; at the end wait until the bridge has passed on what it heard."""
    sending = asyncio.create_task(sender.run())
    try:
        await asyncio.sleep(CALM_SECONDS)
        yield
        await asyncio.sleep(CALM_SECONDS)
    finally:
        sending.cancel()
        await asyncio.wait((sending,))
    await asyncio.sleep(CALM_SECONDS)


def count(logs: Logs, event: str) -> int:
    return sum(line["event"] == event for line in logs)


async def recovery(logs: Logs, event: str, heal: Callable[[], Awaitable[None]]) -> float:
    """Heal, and return how many seconds later the log first says so."""
    before = count(logs, event)
    await heal()
    begin = time.monotonic()
    await until(lambda: count(logs, event) > before)
    return time.monotonic() - begin


def assert_nothing_lost(verdict: Verdict) -> None:
    """Nothing is missing, nothing out of order, nothing under one id with two bodies."""
    assert verdict.sent > 0
    assert not verdict.lost
    assert not verdict.disordered
    assert not verdict.changed


async def broker_fault(
    open_site: OpenSite,
    ledger: Ledger,
    hurt: Callable[[], Awaitable[None]],
    heal: Callable[[], Awaitable[None]],
    *,
    reconnects: bool = True,
) -> None:
    """Hurt the broker, wait, heal it: no event is lost, and there is no gap to tell of."""
    async with open_site(amqp={"heartbeat": 1}) as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        sender = Sender(site.tactium)
        took = 0.0
        with capture_logs() as logs:
            async with site.bridge(), flowing(sender):
                await until(lambda: count(logs, "broker_up") > 0)
                await asyncio.sleep(3)  # a node killed sooner forgets queues just declared
                for _ in range(ROUNDS):
                    await hurt()
                    await asyncio.sleep(OUTAGE_SECONDS)
                    if reconnects:
                        took = max(took, await recovery(logs, "broker_up", heal))
                    else:
                        await heal()
                    await asyncio.sleep(CALM_SECONDS)
        verdict = await judge(url, sender)
    ledger.note(verdict, took)
    assert_nothing_lost(verdict)
    assert not verdict.gaps


async def test_broker_killed_and_restarted(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger
) -> None:
    """SIGKILL to the broker; it comes back on its data."""
    await broker_fault(open_site, ledger, rabbitmq.kill, rabbitmq.restart)


async def test_broker_stopped_and_started(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger
) -> None:
    """`stop_app`, as an administrator does it."""
    await broker_fault(open_site, ledger, rabbitmq.stop_app, rabbitmq.start_app)


async def test_broker_suspended(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger
) -> None:
    """SIGSTOP: connections stay open and nobody answers, for longer than the heartbeat bears."""

    async def suspend() -> None:
        rabbitmq.suspend()
        await asyncio.sleep(7)

    async def resume() -> None:
        rabbitmq.resume()

    await broker_fault(open_site, ledger, suspend, resume)


async def test_broker_out_of_memory(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger
) -> None:
    """The memory alarm blocks who publishes, without closing anything."""

    async def alarm() -> None:
        await rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")

    async def relief() -> None:
        await rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1GB")

    await broker_fault(open_site, ledger, alarm, relief, reconnects=False)


async def test_exchange_deleted(open_site: OpenSite, ledger: Ledger) -> None:
    """What was published to an exchange that is gone is published again to the new one."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        sender = Sender(site.tactium)
        async with site.bridge(), flowing(sender):
            for _ in range(ROUNDS):
                await site.channel.exchange_delete("tactium.events")
                await prepare(url)  # the bindings went with the exchange
                await asyncio.sleep(CALM_SECONDS)
        verdict = await judge(url, sender)
    ledger.note(verdict)
    assert_nothing_lost(verdict)


async def test_tactium_cut_black_holed_and_half_open(open_site: OpenSite, ledger: Ledger) -> None:
    """What is said while nobody can hear it lies in a gap; nothing else is missing."""
    link = {"idle_probe": 0.5, "probe_timeout": 0.5, "handshake_timeout": 0.3}
    async with open_site(link=link) as site, FaultProxy(site.tactium.port) as proxy:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        site.use_link(site.settings.link.model_copy(update={"port": proxy.port}))
        sender = Sender(site.tactium)
        took = 0.0
        with capture_logs() as logs:
            async with site.bridge(), flowing(sender):
                for _ in range(ROUNDS):
                    for fault in (proxy.cut, proxy.black_hole, proxy.half_open):
                        downs = count(logs, "link_down")
                        fault()
                        await until(lambda downs=downs: count(logs, "link_down") > downs)

                        async def heal() -> None:
                            proxy.heal()

                        took = max(took, await recovery(logs, "link_up", heal))
                        await asyncio.sleep(CALM_SECONDS)
        verdict = await judge(url, sender)
    ledger.note(verdict, took)
    assert not verdict.lost_outside_gaps
    assert not verdict.disordered
    assert not verdict.changed
    assert {gap["cause"] for gap in verdict.gaps} == {"link_down"}
    assert len(verdict.gaps) >= 3 * ROUNDS


async def test_bridge_killed_again_and_again(
    open_site: OpenSite, ledger: Ledger, tmp_path: Path
) -> None:
    """SIGKILL to the bridge at random moments: what it had read is there, the rest is in a gap."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        sender = Sender(site.tactium)
        environment = {
            **os.environ,
            "BRIDGE_LINK__HOST": "127.0.0.1",
            "BRIDGE_LINK__PORT": str(site.tactium.port),
            "BRIDGE_AMQP__URL": url,
            "BRIDGE_JOURNAL__PATH": str(tmp_path / "killed.db"),
            "BRIDGE_LOG__LEVEL": "error",
        }

        async def start() -> asyncio.subprocess.Process:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bridge", "run", env=environment
            )
            await site.tactium.wait_for(lambda: site.tactium.administrators == 1)
            return process

        process = await start()
        async with flowing(sender):
            for round_number in range(KILLS):
                await asyncio.sleep(CALM_SECONDS * (0.3 + 0.37 * round_number % 1))
                process.kill()
                await process.wait()
                process = await start()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == 0
        verdict = await judge(url, sender)
    ledger.note(verdict)
    assert not verdict.lost_outside_gaps
    assert not verdict.disordered
    assert not verdict.changed
    assert [gap["cause"] for gap in verdict.gaps] == ["bridge_down"] * KILLS
