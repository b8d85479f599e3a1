"""Three brokers, of which one is killed or cut off, and two bridges of one site."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.simulator import SimulatorOptions
from tests.faults.cluster import Cluster, open_cluster
from tests.faults.conftest import Ledger
from tests.faults.networks import open_networks
from tests.faults.pair import open_pair
from tests.faults.test_faults import CALM_SECONDS, SOAK, flowing
from tests.faults.test_takeover import (
    Commander,
    listen_to_notices,
    notices_until,
    stop_in_order,
)
from tests.faults.witness import Sender, judge, prepare, quiet, received
from tests.integration.conftest import make_site
from tests.integration.site import Site, until

pytestmark = [pytest.mark.timeout(600 if SOAK else 300), pytest.mark.socket_only]

PARTED_SECONDS = 60.0 if SOAK else 30.0
UNCONFIRMED_SECONDS = 60.0
"""In which one gives up a connection that confirms nothing: RabbitMQ 4.2 keeps it."""


async def seconds_until_more(url: str, begin: float) -> float:
    """Return how long after `begin` the queue grew, seen through another node."""
    sizes: list[int] = []

    async def grows() -> bool:
        sizes.append(await received(url) or 0)
        return sizes[-1] > max(0, sizes[0])

    await until(grows)
    return time.monotonic() - begin


@asynccontextmanager
async def open_clustered(
    folder: Path, tactium: SimulatorOptions
) -> AsyncIterator[tuple[Cluster, Site]]:
    """Run a cluster inside, with a queue on all its nodes that takes everything, and a site."""
    async with (
        open_cluster() as cluster,
        make_site(cluster.url(0), folder / "journal", tactium=tactium) as site,
    ):
        await prepare(cluster.url(0), arguments={"x-queue-type": "quorum"})
        yield cluster, site


async def test_a_broker_of_three_killed(
    tmp_path: Path, default_tactium: SimulatorOptions, ledger: Ledger
) -> None:
    """Nothing is lost, and soon events arrive again."""
    async with open_clustered(tmp_path, default_tactium) as (cluster, site):
        url = cluster.url(0)
        sender = Sender(site.tactium)
        nodes = cluster.url(2, 0, 1)
        async with open_pair(site, tmp_path, brokers=(nodes, nodes)) as pair:
            async with flowing(sender):
                await cluster.kill(2)
                begin = time.monotonic()
                again = await seconds_until_more(url, begin)
                await asyncio.sleep(CALM_SECONDS)
            await stop_in_order(*pair)
        await quiet(url)
        verdict = await judge(url, sender)
    ledger.note(verdict, recovery_seconds=again)
    assert not verdict.lost
    assert not verdict.changed
    if not verdict.gaps:  # the leader went on; else its last events come beside the next one's
        assert not verdict.disordered
        assert not verdict.doubled


async def test_the_node_of_who_stands_by_killed(
    tmp_path: Path, default_tactium: SimulatorOptions, ledger: Ledger
) -> None:
    """The one who leads goes on as if nothing was: no command waits for the dead node."""
    async with open_clustered(tmp_path, default_tactium) as (cluster, site):
        url = cluster.url(0)
        commander, sender = Commander(), Sender(site.tactium)
        brokers = (cluster.url(0, 1), cluster.url(2, 1))
        async with open_pair(site, tmp_path, brokers=brokers) as (first, second):
            async with commander.commanding(url), flowing(sender):
                await cluster.kill(2)
                begin = time.monotonic()
                asked = len(commander.replies)
                await until(lambda: bool(commander.replies.get(str(asked + 1))))
                answered = time.monotonic() - begin
                await until(lambda: second.is_ready_as("standby"))
            await stop_in_order(first, second)
        await quiet(url)
        verdict = await judge(url, sender)
    ledger.note(verdict, recovery_seconds=answered)
    assert commander.outcomes().keys() == {"ok"}
    assert not verdict.lost
    assert not verdict.gaps
    assert not verdict.changed
    assert not verdict.disordered
    assert not verdict.doubled


async def test_the_leader_on_the_smaller_side_of_a_partition(
    tmp_path: Path, default_tactium: SimulatorOptions, ledger: Ledger
) -> None:
    """The other one leads; once it heals, one leads, and all that was heard is there."""
    async with open_networks(3) as (networks, here), open_cluster(networks) as cluster:
        tactium = replace(default_tactium, host=here)
        async with make_site(cluster.url(0), tmp_path / "journal", tactium=tactium) as site:
            url = cluster.url(0)
            await prepare(url, arguments={"x-queue-type": "quorum"})
            trail = await listen_to_notices(url)
            sender = Sender(site.tactium, per_second=100)
            pair = open_pair(
                site,
                tmp_path,
                networks=(networks[2], networks[0]),
                brokers=(cluster.url(2, 0, 1), cluster.url(0, 1, 2)),
                BRIDGE_AMQP__HEARTBEAT="4",
            )
            async with pair as (first, second):
                async with flowing(sender):
                    await networks[2].cut(networks[0], networks[1])
                    begin = time.monotonic()
                    await until(lambda: second.is_ready_as("leader"), PARTED_SECONDS * 2)
                    taken_over = time.monotonic() - begin
                    await asyncio.sleep(CALM_SECONDS)
                    await networks[2].heal(networks[0], networks[1])
                    await until(lambda: first.is_ready_as("standby"), PARTED_SECONDS * 2)
                    await site.tactium.wait_for(lambda: site.tactium.administrators == 1)
                told = await notices_until(url, trail, "leader.lost", UNCONFIRMED_SECONDS)
            await quiet(url)
            verdict = await judge(url, sender)
    ledger.note(verdict, noticed_seconds=taken_over)
    assert not verdict.lost_outside_gaps
    assert not verdict.changed
    beats = [each for each in told if each["type"].endswith("heartbeat")]
    epochs = [each["epoch"] for each in beats]
    assert epochs == sorted(epochs)  # none of the old one once the new one speaks
    assert {each["type"].rpartition(".")[2] for each in told} >= {"gained", "lost", "gap"}
