"""What the broker keeps of leaderships, over all bridges' lives.

The number of each, which grows, and the last heartbeat: whoever leads next knows from it
when the one before was last alive, also where it did not stand by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection

from bridge.amqp.following import maybe_leader
from bridge.amqp.herald import Herald, Kind
from bridge.amqp.outbox import PERSISTENT
from bridge.amqp.session import FOREIGN
from bridge.amqp.topology import Topology
from bridge.core.leadership import Candidate, Leader
from bridge.errors import BrokerDown

log = structlog.get_logger(__name__)

EPOCH_SECONDS = 3.0
VOTE_TRIES = 6
VOTE_SECONDS = 0.1
MOST_FAILED = 5
"""Tries, of which each may take its connection with it while the queues' nodes vote."""


class Epochs:
    """Counts in a queue of one message. To lead goes before: where it cannot, it says so."""

    def __init__(self, topology: Topology, herald: Herald, source: str) -> None:
        self._topology = topology
        self._herald = herald
        self._source = source
        self._failed = 0  # times, one after another

    def __repr__(self) -> str:
        return f"<Epochs: {self._topology.epochs}>"

    async def next(self, connection: AbstractConnection, candidate: Candidate) -> tuple[int, bool]:
        """Return the next one, and whether it was counted.

        Where the broker gives none it is the one behind what the `candidate` knows, who
        hears of the last one who led.
        """
        self._failed += 1  # also where it is cancelled, as its connection is lost
        counted = None
        if self._failed <= MOST_FAILED:
            counted = await self._maybe_counted(connection, candidate)
        if counted is not None or not connection.is_closed:
            self._failed = 0
        if counted is not None:
            return counted, True
        epoch = candidate.last_epoch + 1
        log.warning(
            "epoch_not_kept",
            epoch=epoch,
            todo="see RabbitMQ's alarms and its queues of epochs and heartbeats: it keeps none",
        )
        return epoch, False

    async def _maybe_counted(
        self, connection: AbstractConnection, candidate: Candidate
    ) -> int | None:
        """Return the next one once the broker has it, None where it does not take it in time."""
        try:
            async with asyncio.timeout(EPOCH_SECONDS):
                if candidate.last_epoch:
                    await self._let_vote(await connection.channel())
                await self._recall(connection, candidate.hear)
                return await self._keep(connection, candidate.last_epoch + 1)
        except (BrokerDown, *FOREIGN) as error:
            log.debug("epoch_failed", reason=str(error))
            return None

    async def _let_vote(self, channel: AbstractChannel) -> None:
        """Wait until both queues say that they hold something, unless they are new.

        While the nodes of a quorum queue vote on which of them answers, it says that it is
        empty, and to get what it holds takes the connection with it.
        """
        for declare in (self._topology.declare_epochs, self._topology.declare_heartbeat):
            for _ in range(VOTE_TRIES):
                if (await declare(channel)).declaration_result.message_count:
                    break
                await asyncio.sleep(VOTE_SECONDS)
        await channel.close()

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
        channel = await connection.channel()
        try:
            epochs = await self._topology.declare_epochs(channel)
            kept = []
            while (message := await epochs.get(fail=False)) is not None:
                kept.append(message)
                with suppress(ValueError):
                    least = max(least, int(message.body) + 1)
            body = str(least).encode()
            await self._herald.tell(
                "", epochs.name, body, kind=Kind.EPOCH, delivery_mode=PERSISTENT
            )
            for message in kept:
                await message.ack()
        finally:
            await channel.close()  # by which those go back that are still needed
        return least
