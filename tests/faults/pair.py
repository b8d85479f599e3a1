"""Two bridges of one site, each a process with a journal of its own."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from bridge.sandbox.broker import LOOPBACK, free_ports
from tests.faults.networks import Network
from tests.integration.program import STOP_SECONDS, environment_of, program
from tests.integration.site import Site, until

LOOK_SECONDS = 0.5


class Member:
    """One of them; `start` it again after it was killed."""

    def __init__(
        self, site: Site, folder: Path, name: str, network: Network | None, **more: str
    ) -> None:
        self.name = name
        self._folder = folder
        self._inside = network.inside if network else ()
        address = network.address if network else LOOPBACK
        (port,) = free_ports(1)
        self._url = f"http://{address}:{port}/readyz"
        self._environment = {
            **environment_of(site.settings),
            "BRIDGE_JOURNAL__PATH": str(folder / f"{name}.db"),
            "BRIDGE_HTTP__HOST": address,
            "BRIDGE_HTTP__PORT": str(port),
            **more,
        }
        self._stack = AsyncExitStack()
        self._process: Process | None = None
        self.log = folder / f"{name}.log"

    def __repr__(self) -> str:
        return f"<Member {self.name}>"

    @property
    def process(self) -> Process:
        """The process that runs."""
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        """Start it, and let its log gather in a file."""
        self._process = await self._stack.enter_async_context(
            program(
                "run",
                cwd=self._folder,
                environment=self._environment,
                log=self.log,
                inside=self._inside,
            )
        )

    async def close(self) -> None:
        """End it, whatever it does."""
        await self._stack.aclose()

    async def readiness(self) -> dict[str, Any]:
        """Return what `/readyz` answers, nothing where nobody does."""
        timeout = ClientTimeout(total=LOOK_SECONDS)
        with suppress(ClientError, TimeoutError, OSError):
            async with (
                ClientSession(timeout=timeout) as session,
                session.get(self._url) as response,
            ):
                said: dict[str, Any] = json.loads(await response.read())
                return said
        return {}

    async def is_ready(self) -> bool:
        """Return whether it is ready, in either role."""
        return bool((await self.readiness()).get("ready"))

    async def is_ready_as(self, role: str) -> bool:
        """Return whether it is ready, and in which role."""
        said = await self.readiness()
        return bool(said.get("ready")) and said.get("role") == role

    async def kill(self) -> None:
        """Kill it and wait until it is gone."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """Stop it as an operator does; it ends with 0 and in time."""
        self.process.terminate()
        async with asyncio.timeout(STOP_SECONDS):
            assert await self.process.wait() == 0


@asynccontextmanager
async def open_pair(
    site: Site,
    folder: Path,
    *,
    brokers: tuple[str, str] | None = None,
    networks: tuple[Network, Network] | None = None,
    **more: str,
) -> AsyncIterator[tuple[Member, Member]]:
    """Run two bridges inside: the first leads, the second stands by.

    Each has `brokers` of its own, and is in a network of its own, where there are such.
    """
    url = site.settings.amqp.url.get_secret_value()
    first, second = (
        Member(site, folder, name, network, **{"BRIDGE_AMQP__URL": broker, **more})
        for name, broker, network in zip(
            "ab", brokers or (url, url), networks or (None, None), strict=True
        )
    )
    try:
        await first.start()
        await until(lambda: first.is_ready_as("leader"))
        await second.start()
        await until(lambda: second.is_ready_as("standby"))
        yield first, second
    finally:
        await asyncio.gather(first.close(), second.close())
