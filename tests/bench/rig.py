"""One private broker for everything that is measured, and the bridge as a process of its own."""

from __future__ import annotations

import sqlite3
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Literal, cast
from urllib.parse import unquote, urlsplit

import psutil
from aio_pika import connect
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aiormq.connection import Connection as Underlay

from bridge.sandbox import private_rabbitmq
from bridge.settings import AmqpSettings, HttpSettings, JournalSettings, LinkSettings, Settings
from tests.bench.tactium import Tactium, maybe_age_seconds, open_tactium
from tests.integration.program import environment_of, program, stopped
from tests.integration.site import until

Kind = Literal["classic", "quorum"]
Durability = Literal["process", "power"]
EXCHANGE = "tactium.events"
COMMANDS = "tactium.commands"
PATIENCE_SECONDS = 900.0
NOWHERE = "amqp://guest:guest@127.0.0.1:1/"
"""Where no broker is, so that a backlog gathers."""


class Bridge:
    """A bridge at work, and the Tactium that it listens to."""

    def __init__(self, process: Process, tactium: Tactium, journal: Path) -> None:
        self.tactium = tactium
        self.process = process
        self._usage = psutil.Process(process.pid)
        self._journal = journal
        self.most_megabytes = 0.0

    def __repr__(self) -> str:
        return f"<Bridge: process {self.process.pid}>"

    def cpu_seconds(self) -> float:
        """Return how much the process has computed so far."""
        times = self._usage.cpu_times()
        return float(times.user + times.system)

    def megabytes(self) -> float:
        """Return how much memory it holds now, and keep the most in `most_megabytes`."""
        resident = float(self._usage.memory_info().rss / 1e6)
        self.most_megabytes = max(self.most_megabytes, resident)
        return resident

    async def settle(self) -> float:
        """Wait until all in the journal is confirmed; return when (monotonic)."""
        unsettled = "SELECT * FROM batches WHERE last > sequence"
        query = f"SELECT first > sequence AND NOT EXISTS ({unsettled}) FROM state"  # noqa: S608 - ours
        await self._until(query)
        return time.monotonic()

    async def keep(self, count: int) -> None:
        """Wait until so many messages were written to the journal."""
        await self._until("SELECT coalesce(max(last), 0) >= ? FROM batches", count)

    async def _until(self, query: str, *values: int) -> None:
        uri = f"{self._journal.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as database:

            def holds() -> bool:
                return bool(database.execute(query, values).fetchone()[0])

            await until(holds, PATIENCE_SECONDS)


class Rig:
    """The broker, and a folder for journals."""

    def __init__(
        self, url: str, channel: AbstractChannel, folder: Path, broker_version: str
    ) -> None:
        self.url = url
        self.broker_version = broker_version
        parts = urlsplit(url)
        self.port = parts.port or 0
        self.vhost = unquote(parts.path[1:]) or "/"
        self.channel = channel
        self.folder = folder
        self._journals = 0

    def __repr__(self) -> str:
        return f"<Rig: {self.url}>"

    @asynccontextmanager
    async def queue(self, kind: Kind = "classic", count: int = 1) -> AsyncIterator[AbstractQueue]:
        """Bind so many durable queues to all events inside, and give one of them."""
        exchange = await self.channel.declare_exchange(EXCHANGE, "topic", durable=True)
        queues = []
        for number in range(count):
            queue = await self.channel.declare_queue(
                f"bench.{number}", durable=True, arguments={"x-queue-type": kind}
            )
            await queue.bind(exchange, "#")
            queues.append(queue)
        try:
            yield queues[0]
        finally:
            for queue in queues:
                await queue.delete(if_unused=False, if_empty=False)

    @asynccontextmanager
    async def heard_of(self, agent: str) -> AsyncIterator[list[float]]:
        """Consume what is said of one agent inside, and give how long each took, in seconds."""
        took: list[float] = []

        async def take(message: AbstractIncomingMessage) -> None:
            seconds = maybe_age_seconds(message.body)
            if seconds is not None:  # else the bridge asked for its status
                took.append(seconds)

        exchange = await self.channel.declare_exchange(EXCHANGE, "topic", durable=True)
        queue = await self.channel.declare_queue(exclusive=True)
        await queue.bind(exchange, f"{agent}.#")
        tag = await queue.consume(take, no_ack=True)
        try:
            yield took
        finally:
            await queue.cancel(tag)
            await queue.delete(if_unused=False, if_empty=False)

    @asynccontextmanager
    async def bridge(
        self,
        durability: Durability = "process",
        *,
        journal: Path | None = None,
        url: str | None = None,
        http_port: int = 0,
    ) -> AsyncIterator[Bridge]:
        """Run a bridge inside, by default with a fresh journal; it is stopped in order."""
        self._journals += 1
        path = journal or self.folder / f"{self._journals}.db"
        async with AsyncExitStack() as stack:
            tactium = await stack.enter_async_context(open_tactium())
            settings = Settings(
                link=LinkSettings(host="127.0.0.1", port=tactium.port),
                amqp=AmqpSettings.model_validate({"url": url or self.url}),
                journal=JournalSettings(path=path),
                http=HttpSettings(port=http_port),
            )
            environment = environment_of(settings) | {"BRIDGE_JOURNAL__DURABILITY": durability}
            process = await stack.enter_async_context(
                program("run", cwd=self.folder, environment=environment)
            )
            await tactium.wait()
            yield Bridge(process, tactium, path)
            await stopped(process)

    async def depth(self, queue: AbstractQueue) -> int:
        """Return how many messages lie in a queue."""
        found = await self.channel.declare_queue(queue.name, passive=True)
        return found.declaration_result.message_count or 0

    async def wait_for(self, queue: AbstractQueue, count: int) -> tuple[float, int]:
        """Wait until so many messages lie in a queue; return when (monotonic), and how many."""
        depth = 0

        async def are_there() -> bool:
            nonlocal depth
            depth = await self.depth(queue)
            return depth >= count

        await until(are_there, PATIENCE_SECONDS)
        return time.monotonic(), depth


@asynccontextmanager
async def open_rig(folder: Path) -> AsyncIterator[Rig]:
    """Start a private broker for what is measured inside."""
    async with private_rabbitmq() as node, rig_on(node.url(), folder) as rig:
        yield rig


@asynccontextmanager
async def rig_on(url: str, folder: Path) -> AsyncIterator[Rig]:
    """Use a broker that runs already."""
    async with await connect(url) as connection:
        assert connection.transport is not None, "it is connected"
        underlay = cast("Underlay", connection.transport.connection)
        version = str(underlay.server_properties.get("version"))
        yield Rig(url, await connection.channel(on_return_raises=True), folder, version)
