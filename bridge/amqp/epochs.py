"""What the broker keeps of leaderships, over all bridges' lives.

The number of each, which grows, and the last heartbeat: whoever leads next knows from it
when the one before was last alive, also where it did not stand by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractConnection
from pamqp.commands import Basic

from bridge.amqp.following import maybe_leader
from bridge.amqp.outbox import PERSISTENT
from bridge.amqp.session import FOREIGN
from bridge.amqp.topology import Topology
from bridge.core.leadership import Candidate, Leader

log = structlog.get_logger(__name__)

EPOCH_SECONDS = 2.0
_TODO = "see RabbitMQ's alarms, and its queues of epochs and heartbeats: it keeps none for now"


class Epochs:
    """Counts in a queue of one message. To lead goes before: where it cannot, it says so."""

    def __init__(self, topology: Topology, source: str) -> None:
        self._topology = topology
        self._source = source
        self._is_counting = False

    def __repr__(self) -> str:
        return f"<Epochs: {self._topology.epochs}>"

    async def next(self, connection: AbstractConnection, candidate: Candidate) -> tuple[int, bool]:
        """Return the next one, and whether it was counted.

        Where the broker gives none it is the one behind what the `candidate` knows, who
        hears of the last one who led.
        """
        epoch = 0
        has_failed, self._is_counting = self._is_counting, True  # it took its connection with it
        try:
            if not has_failed:
                async with asyncio.timeout(EPOCH_SECONDS):
                    await self._recall(connection, candidate.hear)
                    epoch = await self._keep(connection, candidate.last_epoch + 1)
        except (TimeoutError, *FOREIGN) as error:
            has_failed = True
            log.debug("epoch_failed", reason=str(error))
        self._is_counting = False
        if has_failed:
            epoch = candidate.last_epoch + 1
            log.warning("epoch_not_kept", epoch=epoch, todo=_TODO)
        return epoch, not has_failed

    async def _recall(self, connection: AbstractConnection, hear: Callable[[Leader], None]) -> None:
        """Look at the last heartbeat, and leave it where it is."""
        channel = await connection.channel()
        message = await (await self._topology.declare_heartbeat(channel)).get(fail=False)
        leader = maybe_leader(message.body, self._source) if message is not None else None
        if leader is not None:
            hear(leader)
        await channel.close()  # by which it goes back

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
