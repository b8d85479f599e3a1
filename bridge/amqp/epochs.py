"""The number of each leadership, which grows; the broker keeps it, over all bridges' lives."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractConnection
from pamqp.commands import Basic

from bridge.amqp.outbox import PERSISTENT
from bridge.amqp.session import FOREIGN
from bridge.amqp.topology import Topology

log = structlog.get_logger(__name__)

EPOCH_SECONDS = 2.0
_TODO = "see RabbitMQ's alarms, and its queue of epochs: it keeps none for now"


class Epochs:
    """Counts in a queue of one message. To lead goes before: where it cannot, it says so."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._is_counting = False

    def __repr__(self) -> str:
        return f"<Epochs: {self._topology.epochs}>"

    async def next(self, connection: AbstractConnection, known: int) -> int:
        """Return the next one; where the broker gives none, the one behind what is `known`."""
        epoch = known + 1
        has_failed, self._is_counting = self._is_counting, True  # it took its connection with it
        try:
            if not has_failed:
                async with asyncio.timeout(EPOCH_SECONDS):
                    epoch = await self._keep(connection, epoch)
        except (TimeoutError, *FOREIGN) as error:
            has_failed = True
            log.debug("epoch_failed", reason=str(error))
        self._is_counting = False
        if has_failed:
            log.warning("epoch_not_kept", epoch=epoch, todo=_TODO)
        return epoch

    async def _keep(self, connection: AbstractConnection, least: int) -> int:
        """Let the queue hold the next one, and nothing else; return it."""
        epochs = await self._topology.declare_epochs(await connection.channel())
        kept = []
        while (message := await epochs.get(fail=False)) is not None:
            kept.append(message)
            with suppress(ValueError):
                least = max(least, int(message.body) + 1)
        channel = await epochs.channel.get_underlay_channel()
        properties = Basic.Properties(delivery_mode=PERSISTENT)
        await channel.basic_publish(
            str(least).encode(), routing_key=epochs.name, properties=properties
        )
        for message in kept:
            await message.ack()
        return least
