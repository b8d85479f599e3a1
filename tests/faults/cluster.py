"""A cluster of three RabbitMQ nodes on this machine; each in its own network, if need be."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from bridge.sandbox.broker import LOOPBACK
from bridge.sandbox.native import NativeBroker, Seat, find_native
from tests.faults.networks import Network

NODES = 3
START_SECONDS = 120.0
TICK_SECONDS = 4
"""How often the nodes ask each other whether they are there: four times this is too long."""

_CONFIGURATION = """
loopback_users = none
cluster_partition_handling = pause_minority
"""

_JOINING = """
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = {first}
cluster_formation.classic_config.nodes.2 = {node}
"""


class Cluster:
    """Its nodes, which are started one after the other."""

    def __init__(self, brokers: Sequence[NativeBroker]) -> None:
        self.brokers = brokers

    def __repr__(self) -> str:
        return f"<Cluster: {len(self.brokers)} nodes>"

    def url(self, *order: int) -> str:
        """Return the URL of its nodes, those of these numbers, in this order."""
        chosen = [self.brokers[number] for number in order or range(NODES)]
        return ",".join(f"amqp://guest:guest@{each.address}:{each.port}/" for each in chosen)

    async def kill(self, number: int) -> None:
        """Kill one node as a crash would."""
        await self.brokers[number].kill()

    async def restart(self, number: int) -> None:
        """Start a node again that was killed."""
        await self.brokers[number].start(START_SECONDS)


@asynccontextmanager
async def open_cluster(networks: Sequence[Network] = ()) -> AsyncIterator[Cluster]:
    """Run three nodes inside, each in its network where there are some."""
    installed = find_native()
    if installed is None:
        pytest.skip("a cluster needs RabbitMQ as a package of this machine")
    name, cookie = f"cluster-{secrets.token_hex(6)}", secrets.token_hex(20)
    hosts = [network.address for network in networks] or ["localhost"] * NODES
    names = [f"node{number}@{host}" for number, host in enumerate(hosts)]
    async with AsyncExitStack() as stack:
        brokers: list[NativeBroker] = []
        for number, node in enumerate(names):
            network = networks[number] if networks else None
            joining = _JOINING.format(first=names[0], node=node) if brokers else ""
            seat = Seat(
                node=node,
                name=name,
                cookie=cookie,
                configuration=_CONFIGURATION + joining,
                erlang=f"-kernel net_ticktime {TICK_SECONDS}",
                address=network.address if network else LOOPBACK,
                inside=network.inside if network else (),
                epmd_port=brokers[0].epmd_port if brokers else None,
                starts_epmd=not brokers or network is not None,
            )
            broker = NativeBroker(installed, short_library_path=True, seat=seat)
            stack.push_async_callback(broker.close)
            await broker.start(START_SECONDS)
            brokers.append(broker)
        yield Cluster(brokers)
