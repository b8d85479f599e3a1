"""Networks of our own on this machine (Linux namespaces), which can be cut from one another."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
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

    def __repr__(self) -> str:
        return f"<Network {self.name}: {self.address}>"

    @property
    def inside(self) -> tuple[str, ...]:
        """What a program is run with to be in it."""
        return ("ip", "netns", "exec", self.name)

    async def cut(self, *others: Network) -> None:
        """Let nothing more through to the others, nor back, and nobody know."""
        for other in others:
            await _ip("-n", self.name, "route", "add", "blackhole", f"{other.address}/32")
            await _ip("-n", other.name, "route", "add", "blackhole", f"{self.address}/32")

    async def heal(self, *others: Network) -> None:
        """Let all through again."""
        for other in others:
            await _ip("-n", self.name, "route", "del", "blackhole", f"{other.address}/32")
            await _ip("-n", other.name, "route", "del", "blackhole", f"{self.address}/32")


@asynccontextmanager
async def open_networks(count: int) -> AsyncIterator[tuple[list[Network], str]]:
    """Make so many, with the address at which this machine is reached from all of them."""
    if os.geteuid() != 0 or which("ip") is None:
        pytest.skip("networks of one's own need root, and the command ip")
    number = os.getpid() % 10_000
    subnet = f"10.77.{number % 250}"
    bridge = f"tb{number}"
    made: list[Network] = []
    try:
        await _ip("link", "add", bridge, "type", "bridge")
        await _ip("addr", "add", f"{subnet}.254/24", "dev", bridge)
        await _ip("link", "set", bridge, "up")
        for index in range(1, count + 1):
            network = Network(f"{bridge}n{index}", f"{subnet}.{index}")
            made.append(network)
            await _ip("netns", "add", network.name)
            ours, theirs = f"{bridge}v{index}", "eth0"
            await _ip("link", "add", ours, "type", "veth", "peer", theirs, "netns", network.name)
            await _ip("link", "set", ours, "master", bridge, "up")
            await _ip("-n", network.name, "addr", "add", f"{network.address}/24", "dev", theirs)
            await _ip("-n", network.name, "link", "set", theirs, "up")
            await _ip("-n", network.name, "link", "set", "lo", "up")
        yield made, f"{subnet}.254"
    finally:
        for network in made:
            with suppress(SandboxError):
                await _ip("netns", "del", network.name)
        with suppress(SandboxError):
            await _ip("link", "del", bridge)


async def _ip(*arguments: str) -> str:
    return await run_command(["ip", *arguments], timeout_seconds=COMMAND_SECONDS)
