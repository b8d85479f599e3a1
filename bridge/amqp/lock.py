"""The lock that whoever leads has: of the consumers of `tactium.leader` one is active.

RabbitMQ tells no consumer whether it is that one. But letters to the queue come to it
alone: whoever hears its own has the lock, and has had it since it wrote. The queue has
members on all nodes, so the loss of one passes the lock on; and no letter comes back
from the smaller side of a network that fell apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage
from ulid_transform import ulid_now

from bridge.amqp.herald import Herald, Kind
from bridge.amqp.session import FOREIGN
from bridge.amqp.topology import Topology
from bridge.errors import BrokerDown

LETTER_SECONDS = 3.0
"""In which a letter to oneself comes back; else the lock is another's, or nobody's."""

WRITE_SECONDS = 1.0
RETRY_SECONDS = 0.1
ANSWER_SECONDS = 2.0
VOTE_SECONDS = 15.0
"""In which the nodes agree on which of them answers for the queue, where one is lost."""

_SILENT = "its queue of who leads does not answer: are most of its members' nodes up?"


class Lock:
    """The lock, as one connection sees it, which lets go of it when it ends.

    `on_letter` hears what others write to whoever has it.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        topology: Topology,
        herald: Herald,
        on_letter: Callable[[DeliveredMessage], None],
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._herald = herald
        self._on_letter = on_letter
        self._looking: AbstractChannel | None = None
        self._letter = ""  # the last to itself
        self._came_back = asyncio.Event()
        self._is_lost = False  # the queue was deleted

    def __repr__(self) -> str:
        return f"<Lock: {self._topology.leader}>"

    async def is_taken(self) -> bool:
        """Return whether anybody has it, or tries to. Raises `BrokerDown`."""
        return await self._count_consumers() > 0

    async def take(self) -> bool:
        """Take it if nobody has it; return whether this connection has. Raises `BrokerDown`."""
        if await self.is_taken():
            return False
        channel = await self._connection.channel()
        try:
            async with asyncio.timeout(VOTE_SECONDS):
                consuming = await channel.get_underlay_channel()
                consuming.on_consumer_cancel_callbacks.add(self._lose)
                await consuming.basic_consume(self._topology.leader, self._hear, no_ack=True)
        except TimeoutError:
            raise BrokerDown(_SILENT) from None
        if await self.is_held():
            return True
        await channel.close()  # it would be given the lock later, and not know it
        return False

    def _lose(self, *_: object) -> None:
        self._is_lost = True

    async def is_held(self) -> bool:
        """Return whether this connection had it all the time since this was asked.

        An alarm of RabbitMQ's memory or disk holds back letters; then whoever is the
        only consumer has it, as far as that node knows. Raises `BrokerDown` where it
        does not answer.
        """
        self._letter = ulid_now()
        self._came_back.clear()
        is_written = False
        with suppress(TimeoutError):
            async with asyncio.timeout(LETTER_SECONDS):
                while not self._is_lost:
                    if await self._herald.is_blocked():
                        if await self._count_consumers() == 1:
                            return True
                    else:
                        is_written |= await self._write(self._letter)
                        if is_written and await self._comes_back():
                            return True
                    await asyncio.sleep(RETRY_SECONDS)
        if not (is_written or await self._herald.is_blocked()):
            self._herald.renew("nothing that is said over it is confirmed")
        return False

    async def _write(self, letter: str) -> bool:
        """Return whether the broker has the letter."""
        queue = self._topology.leader
        with suppress(BrokerDown, TimeoutError):
            async with asyncio.timeout(WRITE_SECONDS):
                await self._herald.tell("", queue, b"", kind=Kind.MARK, correlation_id=letter)
                return True
        return False

    async def _comes_back(self) -> bool:
        """Return whether the letter does; one may be lost with whoever had the lock before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITE_SECONDS):
                return await self._came_back.wait()
        return False

    async def _hear(self, letter: DeliveredMessage) -> None:
        properties = letter.header.properties
        if properties.message_type != Kind.MARK:
            self._on_letter(letter)
        elif properties.correlation_id == self._letter:  # not that of one who tries
            self._came_back.set()

    async def _count_consumers(self) -> int:
        looking, self._looking = self._looking, None  # what fails closes its channel
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                looking = looking or await self._connection.channel()
                count = await self._topology.lock.find(looking)
        except FOREIGN as error:
            raise BrokerDown(str(error) or _SILENT) from error
        self._looking = looking
        return count
