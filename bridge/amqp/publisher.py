"""Events out: from the journal to the exchanges, in order, every one confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

from aio_pika.abc import AbstractConnection
from aiormq import Channel
from pamqp.commands import Basic

from bridge.amqp.connection import Health, keep_connected
from bridge.amqp.outbox import PERSISTENT, Outbox
from bridge.amqp.topology import Topology
from bridge.core.ports import Journal
from bridge.messages.envelope import APP_ID, CONTENT_TYPE, Sealed
from bridge.settings import AmqpSettings

CONNECTION = "events"
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
        replies = await connection.channel(on_return_raises=True)
        self._outbox.attach(await replies.get_underlay_channel())
        on_ready()
        try:
            while True:
                batch = await journal.read(journal.settled, WINDOW)
                async with asyncio.timeout(self._settings.confirm_timeout_seconds):
                    await self._send(events, batch)
                journal.settle(batch[-1].sequence)
        finally:
            self._outbox.attach(None)

    async def _send(self, channel: Channel, batch: Sequence[Sealed]) -> None:
        """Put a batch on the wire in order and wait until all of it is confirmed.

        The tasks start in the order in which they are made, and the channel's
        lock is fair, so that order is the wire's.
        """
        now = datetime.now(UTC)
        await asyncio.gather(
            *(
                channel.basic_publish(
                    message.body,
                    exchange=self._topology.exchanges[message.stream],
                    routing_key=message.routing_key,
                    properties=_properties(message, now),
                    wait=False,
                )
                for message in batch
            )
        )


def _properties(message: Sealed, now: datetime) -> Basic.Properties:
    return Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=PERSISTENT,
        message_id=message.id,
        headers={"late": True} if now - message.time > LATE_AFTER else None,
        timestamp=message.time,
        message_type=message.type,
        app_id=APP_ID,
    )
