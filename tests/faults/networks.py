"""Networks of our own on this machine (Linux namespaces), which can be cut from one another."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import combinations
from shutil import which

import pytest

from bridge.errors import SandboxError
from bridge.sandbox.command import run_command

COMMAND_SECONDS = 10.0


class Network:
    """One network; all can be reached from this machine's own, and from one another."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._devices: dict[str, str] = {}  # to each other one's address

    def __repr__(self) -> str:
        return f"<Network {self.name}: {self.address}>"

    @property
    def inside(self) -> tuple[str, ...]:
        """What a program is run with to be in it."""
        return ("ip", "netns", "exec", self.name)

    async def lead_to(self, address: str, device: str) -> None:
        """Reach another one through a device, which is there."""
        self._devices[address] = device
        await _ip(*self._at, "addr", "add", self.address, "peer", f"{address}/32", "dev", device)
        await _ip(*self._at, "link", "set", device, "up")

    async def cut(self, *others: Network) -> None:
        """Let nothing more through to the others, nor back, and nobody know."""
        for one, other in _both_ways(self, others):
            await _ip(*one._at, "route", "replace", "blackhole", f"{other.address}/32")

    async def heal(self, *others: Network) -> None:
        """Let all through again."""
        for one, other in _both_ways(self, others):
            await _ip(*one._at, "route", "del", "blackhole", f"{other.address}/32")
            device = one._devices[other.address]
            route = ("dev", device, "src", one.address)
            await _ip(*one._at, "route", "replace", f"{other.address}/32", *route)

    @property
    def _at(self) -> tuple[str, ...]:
        return ("-n", self.name)


def _both_ways(network: Network, others: tuple[Network, ...]) -> Iterator[tuple[Network, Network]]:
    for other in others:
        yield network, other
        yield other, network


@asynccontextmanager
async def open_networks(count: int) -> AsyncIterator[tuple[list[Network], str]]:
    """Make so many, with the address at which this machine is reached from all of them.

    Each two have a line of their own, which no firewall of this machine's is on.
    """
    if os.geteuid() != 0 or which("ip") is None:
        pytest.skip("networks of one's own need root, and the command ip")
    number = os.getpid() % 10_000
    subnet = f"10.77.{number % 250}"
    here = f"{subnet}.254"
    made: list[Network] = []
    try:
        for index in range(1, count + 1):
            network = Network(f"tb{number}n{index}", f"{subnet}.{index}")
            await _ip("netns", "add", network.name)
            made.append(network)
            await _ip("-n", network.name, "link", "set", "lo", "up")
            ours = f"tb{number}v{index}"
            await _ip("link", "add", ours, "type", "veth", "peer", "here", "netns", network.name)
            await _ip("addr", "add", here, "peer", f"{network.address}/32", "dev", ours)
            await _ip("link", "set", ours, "up")
            await network.lead_to(here, "here")
        for one, other in combinations(made, 2):
            ends = (f"to{other.address.rpartition('.')[2]}", f"to{one.address.rpartition('.')[2]}")
            line = ("type", "veth", "peer", ends[1], "netns", other.name)
            await _ip("link", "add", ends[0], "netns", one.name, *line)
            await one.lead_to(other.address, ends[0])
            await other.lead_to(one.address, ends[1])
        yield made, here
    finally:
        for network in made:  # its lines go with it
            with suppress(SandboxError):
                await _ip("netns", "del", network.name)


async def _ip(*arguments: str) -> str:
    return await run_command(["ip", *arguments], timeout_seconds=COMMAND_SECONDS)
