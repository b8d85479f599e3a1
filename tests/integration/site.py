"""A whole site on one machine: a simulated Tactium, the bridge, and who uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

from aio_pika import Message, connect
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import DeliveryError
from aiormq import Connection
from ulid_transform import ulid_now

from bridge import app
from bridge.sandbox import RabbitMQNode
from bridge.settings import LinkSettings, Settings
from bridge.simulator import Simulator

PATIENCE_SECONDS = 20.0
SETTLE_SECONDS = 2.0
"""Before a broker is killed: it may lose a queue that was declared just now (see its `kill`)."""

LEADERSHIP = (".heartbeat", ".leader.gained", ".leader.lost")

OpenSite = Callable[..., AbstractAsyncContextManager["Site"]]


class Site:
    """One bridge between one simulated Tactium and one vhost, and a user of both."""

    def __init__(self, tactium: Simulator, settings: Settings, channel: AbstractChannel) -> None:
        self.tactium = tactium
        self.settings = settings
        self.channel = channel
        self.prefix = settings.amqp.prefix
        self.inbox: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self.replies: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self.reply_to = ""

    def use_link(self, link: LinkSettings) -> None:
        """Let the bridge reach Tactium another way."""
        self.settings = self.settings.model_copy(update={"link": link})

    async def subscribe(self) -> None:
        """Hear everything that the bridge publishes, whether the bridge is there yet or not."""
        queue = await self.channel.declare_queue(exclusive=True)
        for stream in ("events", "bridge"):
            exchange = await self.channel.declare_exchange(
                f"{self.prefix}.{stream}", "topic", durable=True
            )
            await queue.bind(exchange, "#")
        await queue.consume(self._take_in, no_ack=True)
        mailbox = await self.channel.declare_queue(exclusive=True)
        await mailbox.consume(self.replies.put, no_ack=True)
        self.reply_to = mailbox.name

    async def _take_in(self, message: AbstractIncomingMessage) -> None:
        """Keep what this site's tests are about: who leads is told all the time."""
        if not (message.routing_key or "").endswith(LEADERSHIP):
            await self.inbox.put(message)

    async def next_message(self) -> AbstractIncomingMessage:
        """Return the next message of either exchange."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.inbox.get()

    async def next_data(self, key: str) -> dict[str, Any]:
        """Return the data of the next message with this routing key; others are passed over."""
        while True:
            message = await self.next_message()
            if message.routing_key == key:
                data: dict[str, Any] = json.loads(message.body)["data"]
                return data

    async def broker_version(self) -> int:
        """Return the broker's major version."""
        channel = await self.channel.get_underlay_channel()
        properties = cast("Connection", channel.connection).server_properties
        return int(cast("str", properties["version"]).split(".")[0])

    @asynccontextmanager
    async def second_channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel of its own, for when the first one was lost with the broker."""
        async with await connect(self.settings.amqp.url.get_secret_value()) as connection:
            yield await connection.channel()

    async def say(self, text: str | bytes) -> None:
        """Let Tactium say exactly this."""
        await self.tactium.say(text)

    async def send(self, command: dict[str, Any] | bytes, **properties: Any) -> str:
        """Send one command; return its correlation id."""
        correlation_id = ulid_now()
        given = {
            "reply_to": self.reply_to,
            "correlation_id": correlation_id,
            "content_type": "application/json",
        } | properties
        body = command if isinstance(command, bytes) else json.dumps(command).encode()
        message = Message(body, **given)
        await until(lambda: self._is_routed(message))  # the bridge may not have declared yet
        return correlation_id

    async def _is_routed(self, message: Message) -> bool:
        try:
            await self.channel.default_exchange.publish(message, f"{self.prefix}.commands")
        except DeliveryError:
            return False
        return True

    async def next_reply(self) -> tuple[AbstractIncomingMessage, dict[str, Any]]:
        """Return the next reply, as a message and as JSON."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await self.replies.get()
        return message, json.loads(message.body)

    async def ask(self, command: dict[str, Any] | bytes, **properties: Any) -> dict[str, Any]:
        """Send one command and return its reply, the only one under way."""
        correlation_id = await self.send(command, **properties)
        message, reply = await self.next_reply()
        assert message.correlation_id == correlation_id
        return reply

    async def dead_letters(self) -> AbstractQueue:
        """Return the queue of the commands that were not run."""
        return await self.channel.get_queue(f"{self.prefix}.dead", ensure=False)

    @asynccontextmanager
    async def bridge(self) -> AsyncIterator[app.Program]:
        """Run the bridge inside."""
        stopping = asyncio.Event()
        program = app.compose(self.settings)
        running = asyncio.create_task(program.run(stopping))
        try:
            yield program
        finally:
            stopping.set()
            await running


async def until(
    holds: Callable[[], Awaitable[bool]] | Callable[[], bool],
    timeout_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Wait until something holds that nothing announces."""
    async with asyncio.timeout(timeout_seconds):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)


async def killed(node: RabbitMQNode) -> None:
    """Kill a broker whose queues are all declared."""
    await asyncio.sleep(SETTLE_SECONDS)
    await node.kill()


def troubles(logs: Sequence[MutableMapping[str, Any]]) -> list[str]:
    """Return the names of the log lines that tell of more than what is usual."""
    return [line["event"] for line in logs if line["log_level"] in ("warning", "error")]
