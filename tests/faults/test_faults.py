"""Numbered events at 500/s over 50 agents, while something breaks (and is mended).

Each fault is short here; `make soak` repeats and lengthens them (SOAK=1).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from yarl import URL

from bridge.sandbox import RabbitMQNode
from tests.faults.conftest import Ledger
from tests.faults.proxy import FaultProxy
from tests.faults.witness import QUEUE, Sender, Verdict, judge, prepare, received, wait_for
from tests.integration.program import environment_of, program, stopped
from tests.integration.site import OpenSite, Site, until

SOAK = bool(os.environ.get("SOAK"))
CALM_SECONDS = 3.0 if SOAK else 1.0
OUTAGE_SECONDS = 10.0 if SOAK else 3.0
SUSPENDED_SECONDS = 30.0 if SOAK else 10.0
ROUNDS = 5 if SOAK else 1
KILLS = 20 if SOAK else 3
DRAIN_SECONDS = 60.0
SETTLING_SECONDS = 3.0
"""A node that is killed sooner forgets queues that were just declared."""

pytestmark = pytest.mark.timeout(900 if SOAK else 120)

Logs = list[MutableMapping[str, Any]]
Act = Callable[[], Awaitable[None]]


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


async def seconds_until(holds: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> float:
    """Wait until something holds; return how long that took."""
    begin = time.monotonic()
    await until(holds)
    return time.monotonic() - begin


def assert_nothing_lost(verdict: Verdict) -> None:
    """Nothing is missing, nothing out of order, nothing under one id with two bodies."""
    assert verdict.sent > 0
    assert not verdict.lost
    assert_what_came_is_true(verdict)


def assert_what_came_is_true(verdict: Verdict) -> None:
    """What is missing lies in a gap, and the rest is in order and always the same."""
    assert not verdict.lost_outside_gaps
    assert not verdict.disordered
    assert not verdict.changed


def vhost(site: Site) -> str:
    return URL(site.settings.amqp.url.get_secret_value()).path.lstrip("/")


async def broker_fault(
    open_site: OpenSite,
    ledger: Ledger,
    hurt: Callable[[Site], Awaitable[None]],
    heal: Callable[[Site], Awaitable[None]],
    *,
    outage_seconds: float = OUTAGE_SECONDS,
) -> Logs:
    """Hurt the broker, wait, heal it: no event is lost, and there is no gap to tell of."""
    async with open_site(amqp={"heartbeat": 1}) as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        sender = Sender(site.tactium)
        took = 0.0
        with capture_logs() as logs:
            async with site.bridge(), flowing(sender):
                await until(lambda: count(logs, "broker_up") > 0)
                await asyncio.sleep(SETTLING_SECONDS)
                for _ in range(ROUNDS):
                    before = await received(url)
                    assert before is not None
                    await hurt(site)
                    await asyncio.sleep(outage_seconds)
                    await heal(site)
                    begin = time.monotonic()
                    await wait_for(url, before + sender.per_second)
                    took = max(took, time.monotonic() - begin)
                    await asyncio.sleep(CALM_SECONDS)
                await wait_for(url, len(sender.sent), DRAIN_SECONDS)
        verdict = await judge(url, sender)
    ledger.note(verdict, took)
    assert_nothing_lost(verdict)
    assert not verdict.gaps
    return logs


async def test_broker_killed_and_restarted(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger
) -> None:
    """SIGKILL to the broker; it comes back on its data."""
    await broker_fault(open_site, ledger, lambda _: rabbitmq.kill(), lambda _: rabbitmq.restart())


async def test_broker_stopped_and_started(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger
) -> None:
    """`stop_app`, as an administrator does it."""
    await broker_fault(
        open_site, ledger, lambda _: rabbitmq.stop_app(), lambda _: rabbitmq.start_app()
    )


async def test_broker_suspended(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger
) -> None:
    """SIGSTOP: connections stay open and nobody answers, for longer than the heartbeat bears."""

    async def suspend(_: Site) -> None:
        rabbitmq.suspend()

    async def resume(_: Site) -> None:
        rabbitmq.resume()

    await broker_fault(open_site, ledger, suspend, resume, outage_seconds=SUSPENDED_SECONDS)


async def test_broker_out_of_memory(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger
) -> None:
    """The memory alarm blocks who publishes, without closing anything."""

    async def alarm(_: Site) -> None:
        await rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")

    async def relief(_: Site) -> None:
        await rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1GB")

    await broker_fault(open_site, ledger, alarm, relief)


async def test_permissions_lost_and_regained(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger
) -> None:
    """The bridge's user may do nothing for a while: said as such, and nothing is lost.

    RabbitMQ asks for a permission when a channel first needs it and then
    remembers, so the connections are closed too.
    """

    async def forbid(site: Site) -> None:
        await rabbitmq.ctl("set_permissions", "-p", vhost(site), "guest", "^$", "^$", "^$")
        await rabbitmq.ctl("close_all_connections", "-p", vhost(site), "a test")

    async def allow(site: Site) -> None:
        await rabbitmq.ctl("set_permissions", "-p", vhost(site), "guest", ".*", ".*", ".*")

    logs = await broker_fault(open_site, ledger, forbid, allow)
    refusals = [line for line in logs if "ACCESS_REFUSED" in str(line.get("reason"))]
    assert refusals
    assert {line["log_level"] for line in refusals} == {"error"}


async def test_exchange_deleted(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger
) -> None:
    """What was published to an exchange that is gone is published again to the new one.

    The bindings go with the exchange, so what the bridge publishes before they are
    back would reach nobody: a policy of the broker's lets the witness have it.
    """
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        alternate = await site.channel.declare_exchange("unrouted", "fanout", durable=True)
        await (await site.channel.get_queue(QUEUE)).bind(alternate)
        rule = json.dumps({"alternate-exchange": "unrouted"})
        theirs = r"^tactium\.(events|bridge)$"
        await rabbitmq.ctl("set_policy", "-p", vhost(site), "unrouted", theirs, rule)
        sender = Sender(site.tactium)
        async with site.bridge(), flowing(sender):
            for _ in range(ROUNDS):
                await site.channel.exchange_delete("tactium.events")
                await prepare(url)
                await asyncio.sleep(CALM_SECONDS)
        verdict = await judge(url, sender)
    ledger.note(verdict)
    assert_nothing_lost(verdict)


@pytest.mark.parametrize("fault", ["cut", "black_hole", "half_open"])
async def test_tactium(open_site: OpenSite, ledger: Ledger, fault: str) -> None:
    """What is said while nobody can hear it lies in a gap; nothing else is missing."""
    link = {"idle_probe": 0.5, "probe_timeout": 0.5, "handshake_timeout": 0.3}
    async with open_site(link=link) as site, FaultProxy(site.tactium.port) as proxy:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        site.use_link(site.settings.link.model_copy(update={"port": proxy.port}))
        sender = Sender(site.tactium)
        noticed = took = 0.0
        with capture_logs() as logs:
            async with site.bridge(), flowing(sender):
                for number in range(1, ROUNDS + 1):
                    getattr(proxy, fault)()
                    told = lambda n=number: count(logs, "link_down") == n  # noqa: E731
                    noticed = max(noticed, await seconds_until(told))
                    proxy.heal()
                    back = lambda n=number: count(logs, "link_up") == n + 1  # noqa: E731
                    took = max(took, await seconds_until(back))
                    await asyncio.sleep(CALM_SECONDS)
        verdict = await judge(url, sender)
    ledger.note(verdict, took, noticed)
    assert_what_came_is_true(verdict)
    assert [gap["cause"] for gap in verdict.gaps] == ["link_down"] * ROUNDS


@pytest.mark.parametrize("network", [{"single_bytes": True}, {"delay_seconds": 0.2}])
async def test_a_slow_network(open_site: OpenSite, ledger: Ledger, network: dict[str, Any]) -> None:
    """Frames byte by byte, and late: everything arrives, and the link is not given up."""
    async with open_site() as site, FaultProxy(site.tactium.port) as proxy:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        site.use_link(site.settings.link.model_copy(update={"port": proxy.port}))
        for name, value in network.items():
            setattr(proxy, name, value)
        sender = Sender(site.tactium)
        async with site.bridge(), flowing(sender):
            await asyncio.sleep(OUTAGE_SECONDS)
        verdict = await judge(url, sender)
    ledger.note(verdict)
    assert_nothing_lost(verdict)
    assert not verdict.gaps


async def test_bridge_killed_again_and_again(
    open_site: OpenSite, ledger: Ledger, tmp_path: Path
) -> None:
    """SIGKILL to the bridge at random moments: what it had read is there, the rest is in a gap."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        sender = Sender(site.tactium)
        took = 0.0

        async def start(stack: AsyncExitStack) -> asyncio.subprocess.Process:
            running = program("run", cwd=tmp_path, environment=environment_of(site.settings))
            process = await stack.enter_async_context(running)
            await site.tactium.wait_for(lambda: site.tactium.administrators == 1)
            return process

        async with AsyncExitStack() as stack:
            process = await start(stack)
            async with flowing(sender):
                for _ in range(KILLS):
                    await asyncio.sleep(random.uniform(0.2, 1.5))
                    process.kill()
                    await process.wait()
                    begin = time.monotonic()
                    process = await start(stack)
                    took = max(took, time.monotonic() - begin)
            await stopped(process)
        verdict = await judge(url, sender)
    ledger.note(verdict, took)
    assert_what_came_is_true(verdict)
    assert [gap["cause"] for gap in verdict.gaps] == ["bridge_down"] * KILLS
