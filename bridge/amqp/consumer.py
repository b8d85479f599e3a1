"""Commands in: from the queue to the core, and what becomes of them back out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, ConsumerCallback, DeliveredMessage
from pamqp.commands import Basic

from bridge.amqp.connection import Health, keep_connected
from bridge.amqp.outbox import Outbox
from bridge.amqp.properties import read_leniently, trace_of
from bridge.amqp.session import FOREIGN
from bridge.amqp.topology import Topology
from bridge.backoff import delays
from bridge.core.ports import Delivery, Fence
from bridge.errors import BrokerDown, NeverConfirmed, Unconfirmed
from bridge.messages.replies import SealedReply
from bridge.settings import AmqpSettings

log = structlog.get_logger(__name__)

CONNECTION = "commands"
STOP_TIMEOUT_SECONDS = 1.0

MOST_HELD_BYTES = 128 * 1024
"""Of one command; the contract allows far less, and RabbitMQ far more."""

MOST_WAITING = 1_000
"""Commands that wait for their agent or for the link, beside those that need not wait."""

MOST_TRIES = 3
"""How often an answer is sent while the broker lives, and takes everything but it.

A broker that dies takes the delivery with it and brings it again, so only an
answer that the broker cannot bear is ever given up.
"""

_ADVICE = "RabbitMQ takes everything but this: see its own log, and who sent the command"

Accept = Callable[[Delivery], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Delivered(Delivery):
    """A delivery that knows its message, and where its answer goes out."""

    message: DeliveredMessage
    outbox: Outbox
    fence: Fence

    @property
    def is_lost(self) -> bool:
        """Whether the broker has given it, or may have given it, to another bridge."""
        return self.message.channel.is_closed or not self.fence.is_sure

    async def conclude(self, reply: SealedReply, *, unanswered: bool = False) -> None:
        """Send the reply, bury the command where its outcome asks for it, acknowledge.

        Waits for the publishing connection where that is down. A delivery whose
        channel is gone is left alone: the broker brings it again.
        """
        if reply.outcome.buried or self.failed is not None:
            await self._insist(reply, partial(self.outbox.bury, self.message, reply))
        if self.reply_to and not unanswered:
            correlation_id = self.correlation_id or self.message_id
            send = partial(self.outbox.reply, self.reply_to, correlation_id, reply, self.trace)
            await self._insist(reply, send)
        if not self.is_lost:
            await self._acknowledge()

    async def _insist(self, reply: SealedReply, send: Send) -> None:
        """Send until it is confirmed, or the delivery is lost, or nothing but it is at fault."""
        waits = delays()
        tries = 0
        alone = False
        while not self.is_lost:
            try:
                await send(alone=alone)
            except BrokerDown as error:
                log.debug("reply_unconfirmed", command_id=reply.id, reason=str(error))
            except Unconfirmed as error:
                tries += 1
                if tries == MOST_TRIES or isinstance(error, NeverConfirmed):
                    log.exception("reply_given_up", command_id=reply.id, todo=_ADVICE)
                    return
            else:
                return
            alone = True
            await asyncio.sleep(next(waits))

    async def _acknowledge(self) -> None:
        with suppress(*FOREIGN):
            await self.message.channel.basic_ack(self.message.delivery_tag or 0, wait=False)


class Send(Protocol):
    """Sends one thing, beside others or alone."""

    async def __call__(self, *, alone: bool) -> None:
        """Raise `BrokerDown` or `Unconfirmed`."""


class Consumer:
    """Owns the consuming connection; answers go out through the `outbox`.

    `on_new_queue` is called before the queue of commands is declared that was not
    there: nothing in it was ever delivered to anybody.
    """

    def __init__(
        self,
        settings: AmqpSettings,
        topology: Topology,
        outbox: Outbox,
        health: Health,
        *,
        prefetch: int,
        on_new_queue: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings.for_leading
        self._health = health
        self._topology = topology
        self._outbox = outbox
        self._prefetch = prefetch
        self._on_new_queue = on_new_queue
        self._channel: AbstractChannel | None = None
        self._tags: list[str] = []
        self._stopping = False
        read_leniently()

    async def stop(self) -> None:
        """Take no more. What was delivered can still be concluded."""
        self._stopping = True
        if self._channel is None:
            return
        with suppress(*FOREIGN):
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                for tag in self._tags:
                    await self._channel.basic_cancel(tag)

    async def run(self, accept: Accept, fence: Fence) -> None:
        """Consume, over as many connections as it takes, until cancelled.

        Once the `fence` is not sure, nothing that was delivered is answered any more: it
        is another bridge's.
        """

        async def use(connection: AbstractConnection, on_ready: Callable[[], None]) -> None:
            await self._consume(accept, fence, connection, on_ready)

        await keep_connected(CONNECTION, self._settings, self._health, use)

    async def _consume(
        self,
        accept: Accept,
        fence: Fence,
        connection: AbstractConnection,
        on_ready: Callable[[], None],
    ) -> None:
        """Declare and consume, for as long as the connection lasts."""
        opened = await connection.channel(publisher_confirms=False)
        await opened.set_qos(prefetch_count=self._prefetch + MOST_WAITING)
        if not await self._topology.has_commands(connection):
            await self._on_new_queue()
        commands, given_up = await self._topology.declare_queues(opened)
        channel = await opened.get_underlay_channel()
        cancelled = asyncio.Event()
        channel.on_consumer_cancel_callbacks.add(lambda _frame: cancelled.set())

        async def on_command(message: DeliveredMessage) -> None:
            accept(self._delivered(message, fence, failed=False))

        async def on_given_up(message: DeliveredMessage) -> None:
            accept(self._delivered(message, fence, failed=True))

        try:
            if not self._stopping:
                self._tags = [await _start(channel, commands.name, on_command)]
                self._tags.append(await _start(channel, given_up.name, on_given_up))
                self._channel = channel
                on_ready()
            await cancelled.wait()
        finally:
            self._channel = None
        raise BrokerDown("the broker ended the consumer: was its queue deleted?")

    def _delivered(self, message: DeliveredMessage, fence: Fence, *, failed: bool) -> _Delivered:
        properties = message.header.properties
        # What is too large is refused whatever it says: no need to hold all of it.
        message = replace(message, body=message.body[:MOST_HELD_BYTES])
        return _Delivered(
            body=message.body,
            content_type=properties.content_type,
            message_id=properties.message_id or None,
            correlation_id=properties.correlation_id or None,
            reply_to=properties.reply_to or None,
            user=properties.user_id or None,
            trace=trace_of(properties.headers),
            sent_at=properties.timestamp,
            expiration_seconds=_seconds(properties.expiration),
            redelivered=bool(message.redelivered),
            failed=_why_given_up(properties) if failed else None,
            received_at=datetime.now(UTC),
            message=message,
            outbox=self._outbox,
            fence=fence,
        )


async def _start(channel: AbstractChannel, queue: str, callback: ConsumerCallback) -> str:
    return (await channel.basic_consume(queue, callback)).consumer_tag or ""


def _seconds(expiration: str | None) -> float | None:
    """Return an expiration, which AMQP writes as text in milliseconds."""
    try:
        return int(expiration) / 1000 if expiration else None
    except ValueError:
        return None


def _why_given_up(properties: Basic.Properties) -> str:
    """Return the broker's word for why it dead-lettered a message."""
    match (properties.headers or {}).get("x-death"):
        case [{"reason": str(reason)}, *_]:
            return reason
    return "expired"
