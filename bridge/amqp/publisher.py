"""Events out: from the journal to the exchanges, in order, every one confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import structlog
from aio_pika.abc import AbstractConnection
from aiormq import Channel
from aiormq.exceptions import DeliveryError
from pamqp.commands import Basic
from pamqp.common import FieldTable

from bridge.amqp.connection import Health, keep_connected
from bridge.amqp.outbox import PERSISTENT, Outbox
from bridge.amqp.topology import Topology
from bridge.backoff import delays
from bridge.core.ports import Journal
from bridge.errors import BrokerDown
from bridge.messages.envelope import APP_ID, CONTENT_TYPE, Sealed, trace_headers
from bridge.settings import AmqpSettings

log = structlog.get_logger(__name__)

CONNECTION = "events"
MORE_TRIES = 3
LATE_AFTER = timedelta(seconds=5)
WINDOW = 512
"""Messages on their way to the broker at once: bounds memory, and what is sent again."""


class Publisher:
    """Owns the publishing connection; the `outbox` shares it."""

    def __init__(
        self, settings: AmqpSettings, topology: Topology, outbox: Outbox, health: Health
    ) -> None:
        self._settings = settings
        self._health = health
        self._topology = topology
        self._outbox = outbox

    async def run(self, journal: Journal) -> None:
        """Publish and settle, over as many connections as it takes, until cancelled."""

        async def use(connection: AbstractConnection, on_ready: Callable[[], None]) -> None:
            await self._publish(journal, connection, on_ready)

        await keep_connected(CONNECTION, self._settings, self._health, use)

    async def _publish(
        self, journal: Journal, connection: AbstractConnection, on_ready: Callable[[], None]
    ) -> None:
        """Publish from the lowest number not settled, for as long as the connection lasts."""
        channel = await connection.channel()
        await self._topology.declare_exchanges(channel)
        events = cast("Channel", await channel.get_underlay_channel())
        await self._topology.declare_dead(channel)
        replies = await (await connection.channel(on_return_raises=True)).get_underlay_channel()
        self._outbox.attach(replies)
        on_ready()
        publishing = asyncio.create_task(self._publish_all(journal, events))
        try:
            # A reply can bring its channel down; without one nobody would get any more.
            await asyncio.wait((publishing, replies.closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._outbox.attach(None)
            publishing.cancel()
            await asyncio.wait((publishing,))
        if not publishing.cancelled():
            await publishing
        raise BrokerDown("the channel for replies was closed")

    async def _publish_all(self, journal: Journal, channel: Channel) -> None:
        while True:
            batch = await journal.read(journal.settled, WINDOW)
            async with asyncio.timeout(self._settings.confirm_timeout_seconds):
                await self._send(channel, batch)
            journal.settle(batch[-1].sequence)

    async def _send(self, channel: Channel, batch: Sequence[Sealed]) -> None:
        """Have a batch confirmed.

        A message that is refused (nack) is refused by a queue that is full and
        says so to its publisher. It is sent again a few times for that queue's
        sake and no more: one subscriber must not keep events from all others.
        """
        refused = await self._send_once(channel, batch)
        waits = delays()
        for _ in range(MORE_TRIES):
            if not refused:
                return
            await asyncio.sleep(next(waits))
            refused = await self._send_once(channel, refused)
        if refused:
            log.error(
                "events_refused",
                count=len(refused),
                first=refused[0].id,
                todo="a queue that is bound refuses when it is full (x-overflow): see which",
            )

    async def _send_once(self, channel: Channel, batch: Sequence[Sealed]) -> list[Sealed]:
        """Put a batch on the wire in order, and return what a queue has refused of it.

        The tasks start in the order in which they are made, and the channel's
        lock is fair, so that order is the wire's.
        """
        now = datetime.now(UTC)
        outcomes = await asyncio.gather(
            *(
                channel.basic_publish(
                    message.body,
                    exchange=self._topology.exchanges[message.stream],
                    routing_key=message.routing_key,
                    properties=_properties(message, now),
                    wait=False,
                )
                for message in batch
            ),
            return_exceptions=True,
        )
        failures = [error for error in outcomes if isinstance(error, BaseException)]
        for error in failures:
            if not isinstance(error, DeliveryError):
                raise error
        return [
            message
            for message, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, DeliveryError)
        ]


def _headers(message: Sealed, now: datetime) -> FieldTable:
    headers: FieldTable = {**trace_headers(message.trace)}
    if now - message.time > LATE_AFTER:
        headers["late"] = True
    return headers


def _properties(message: Sealed, now: datetime) -> Basic.Properties:
    return Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=PERSISTENT,
        message_id=message.id,
        headers=_headers(message, now) or None,
        timestamp=message.time,
        message_type=message.type,
        app_id=APP_ID,
    )
