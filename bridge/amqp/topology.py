"""The exchanges and queues: their names, and their declaration (contract.md §1)."""

from __future__ import annotations

from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue, ExchangeType
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from bridge.errors import TopologyConflict
from bridge.messages.envelope import Stream
from bridge.settings import AmqpSettings

DELIVERY_LIMIT = 20
"""How often a command may come back undone before the broker gives it up.

With a prefetch over one, a bridge that crashes counts against every command
that it held, so the limit is well above one.
"""

MOST_DEAD = 100_000
MOST_DEAD_BYTES = 1024**3
DEAD_FOR_MILLISECONDS = 7 * 24 * 3600 * 1000
MOST_UNANSWERED = 100_000


class Topology:
    """The names under one prefix, and how to make sure that they are there."""

    def __init__(self, settings: AmqpSettings, command_ttl_seconds: float) -> None:
        prefix = settings.prefix
        self._quorum = settings.queue_type == "quorum"
        self._ttl_milliseconds = round(command_ttl_seconds * 1000)
        self.exchanges: dict[Stream, str] = {
            "events": f"{prefix}.events",
            "bridge": f"{prefix}.bridge",
        }
        self.commands = f"{prefix}.commands"
        self.given_up = f"{prefix}.commands.dead"
        self.dead = f"{prefix}.dead"

    @property
    def own_queues(self) -> frozenset[str]:
        """The bridge's own queues, which nobody's reply may reach."""
        return frozenset((self.commands, self.given_up, self.dead))

    async def declare_exchanges(self, channel: AbstractChannel) -> None:
        """Declare what events go to. They have no arguments: a subscriber may come first.

        Raises `TopologyConflict` where one exists with another type.
        """
        for name in self.exchanges.values():
            await self._exchange(channel, name, ExchangeType.TOPIC)

    async def has_commands(self, connection: AbstractConnection) -> bool:
        """Return whether the queue of commands is there already."""
        channel = await connection.channel()
        try:
            await channel.declare_queue(self.commands, passive=True)
        except ChannelNotFoundEntity:
            return False
        await channel.close()
        return True

    async def declare_dead(self, channel: AbstractChannel) -> None:
        """Declare where commands are kept that were not run.

        Raises `TopologyConflict` where it exists with other arguments.
        """
        await self._exchange(channel, self.dead, ExchangeType.FANOUT)
        dead = await self._queue(
            channel,
            self.dead,
            {
                "x-max-length": MOST_DEAD,
                "x-max-length-bytes": MOST_DEAD_BYTES,
                "x-message-ttl": DEAD_FOR_MILLISECONDS,
            },
        )
        await dead.bind(self.dead)

    async def declare_queues(self, channel: AbstractChannel) -> tuple[AbstractQueue, AbstractQueue]:
        """Declare where commands come from; return that queue and the one of those given up.

        Raises `TopologyConflict` where one exists with other arguments.
        """
        await self._exchange(channel, self.commands, ExchangeType.TOPIC)
        await self.declare_dead(channel)
        given_up = await self._queue(
            channel,
            self.given_up,
            {"x-dead-letter-exchange": self.dead, "x-max-length": MOST_UNANSWERED},
        )
        commands = await self._queue(
            channel,
            self.commands,
            {
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": self.given_up,
                "x-message-ttl": self._ttl_milliseconds,
            }
            | (
                {
                    "x-delivery-limit": DELIVERY_LIMIT,
                    "x-dead-letter-strategy": "at-least-once",
                    "x-overflow": "reject-publish",  # the strategy above asks for it
                }
                if self._quorum
                else {}
            ),
        )
        await commands.bind(self.commands, routing_key="#")
        return commands, given_up

    async def _exchange(self, channel: AbstractChannel, name: str, kind: ExchangeType) -> None:
        try:
            await channel.declare_exchange(name, kind, durable=True)
        except ChannelPreconditionFailed as error:
            raise _conflict("exchange", name, error) from error

    async def _queue(
        self, channel: AbstractChannel, name: str, arguments: dict[str, Any]
    ) -> AbstractQueue:
        kind = {"x-queue-type": "quorum"} if self._quorum else {}
        try:
            return await channel.declare_queue(name, durable=True, arguments=arguments | kind)
        except ChannelPreconditionFailed as error:
            raise _conflict("queue", name, error) from error


def _conflict(what: str, name: str, error: ChannelPreconditionFailed) -> TopologyConflict:
    """Translate RabbitMQ's refusal, which names the argument and both values."""
    return TopologyConflict(
        f"{what} {name!r} exists already and differs: {error}. "
        f"Delete it once it is empty, give the bridge another amqp.prefix, "
        f"or set its settings to match; the bridge deletes nothing"
    )
