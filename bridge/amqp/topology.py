"""The exchanges and queues: their names, and their declaration (contract.md §1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue, ExchangeType
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from ulid_transform import ulid_now

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

LOST_MILLISECONDS = 1_000
"""For the consumer on a node that is lost; RabbitMQ 4.3 waits for a minute else."""

MOST_LETTERS = 100
"""To who leads, not read yet: it may be stopped in its tracks."""

SEGMENTS = 20
LEAST_SEGMENT_BYTES = 1024 * 1024
MOST_SEGMENT_BYTES = 500_000_000
"""Of the history: what is too old, or too much, goes a segment at a time."""

MOST_UNFOLLOWED = 100_000
MOST_UNFOLLOWED_BYTES = 128 * 1024 * 1024
"""What one who stands by has not read yet: where more comes, it asks for all anew."""

CHANCE_CHARACTERS = 6
UNFOLLOWED_MILLISECONDS = 10_000
"""After which the queue of one who stands by no more is gone."""


_AT_LEAST_ONCE = {
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",  # the strategy above asks for it
}
"""Quorum queues alone know these."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange of ours. They have no arguments: who uses one may come first and declare it."""

    name: str
    kind: ExchangeType

    async def find(self, channel: AbstractChannel) -> int:
        """Raise what the library does where it is not there; nobody consumes of an exchange."""
        await channel.declare_exchange(self.name, passive=True)
        return 0

    async def declare(self, channel: AbstractChannel) -> None:
        """Make sure that it is there. Raises `TopologyConflict` where it is of another type."""
        try:
            await channel.declare_exchange(self.name, self.kind, durable=True)
        except ChannelPreconditionFailed as error:
            raise _conflict("exchange", self.name, error) from error


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of ours."""

    name: str
    arguments: dict[str, Any]

    async def find(self, channel: AbstractChannel) -> int:
        """Raise what the library does where it is not there; return how many consume of it."""
        found = await channel.declare_queue(self.name, passive=True)
        return found.declaration_result.consumer_count or 0

    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        """Make sure that it is there.

        Raises `TopologyConflict` where it is there with other arguments.
        """
        try:
            return await channel.declare_queue(self.name, durable=True, arguments=self.arguments)
        except ChannelPreconditionFailed as error:
            raise _conflict("queue", self.name, error) from error


class Topology:
    """The names under one prefix, and how to make sure that they are there."""

    def __init__(self, settings: AmqpSettings, command_ttl_seconds: float) -> None:
        prefix = settings.prefix
        self.exchanges: dict[Stream, str] = {
            "events": f"{prefix}.events",
            "bridge": f"{prefix}.bridge",
        }
        self.commands = f"{prefix}.commands"
        self.given_up = f"{prefix}.commands.dead"
        self.dead = f"{prefix}.dead"
        self.leader = f"{prefix}.leader"
        self.epochs = f"{prefix}.leader.epochs"
        self.heartbeat = f"{prefix}.leader.heartbeat"
        self.standbys = f"{prefix}.standbys"
        self._topics = [Exchange(name, ExchangeType.TOPIC) for name in self.exchanges.values()]
        self._commands_topic = Exchange(self.commands, ExchangeType.TOPIC)
        self._dead_fanout = Exchange(self.dead, ExchangeType.FANOUT)
        kind = {"x-queue-type": "quorum"} if settings.queue_type == "quorum" else {}
        self.history = f"{prefix}.history"
        self._history_stream = _history(self.history, settings) if settings.history else None
        self._standbys_fanout = Exchange(self.standbys, ExchangeType.FANOUT)
        self._kind = kind
        self.lock = Queue(
            self.leader,
            {
                "x-single-active-consumer": True,
                "x-max-length": MOST_LETTERS,
                **kind,
                **({"x-consumer-disconnected-timeout": LOST_MILLISECONDS} if kind else {}),
            },
        )
        self._epochs_queue = Queue(self.epochs, kind)
        self._heartbeat_queue = Queue(self.heartbeat, {"x-max-length": 1, **kind})
        self._dead_queue = Queue(
            self.dead,
            {
                "x-max-length": MOST_DEAD,
                "x-max-length-bytes": MOST_DEAD_BYTES,
                "x-message-ttl": DEAD_FOR_MILLISECONDS,
                **kind,
            },
        )
        self._given_up_queue = Queue(
            self.given_up,
            {"x-dead-letter-exchange": self.dead, "x-max-length": MOST_UNANSWERED, **kind},
        )
        self._commands_queue = Queue(
            self.commands,
            {
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": self.given_up,
                "x-message-ttl": round(command_ttl_seconds * 1000),
                **kind,
                **(_AT_LEAST_ONCE if kind else {}),
            },
        )

    @property
    def own_queues(self) -> frozenset[str]:
        """The bridge's own queues, as globs, which nobody's reply may reach."""
        leading = (self.leader, self.epochs, self.heartbeat, self.standby("*"))
        return frozenset((self.commands, self.given_up, self.dead, self.history, *leading))

    @property
    def items(self) -> list[Exchange | Queue]:
        """Everything that the bridge declares."""
        exchanges = [
            *self._topics,
            self._commands_topic,
            self._dead_fanout,
            self._standbys_fanout,
        ]
        queues = [
            self._dead_queue,
            self._given_up_queue,
            self._commands_queue,
            self.lock,
            self._epochs_queue,
            self._heartbeat_queue,
        ]
        history = [self._history_stream] if self._history_stream is not None else []
        return [*exchanges, *queues, *history]

    def standby(self, instance: str) -> str:
        """Return the name of the queue through which a bridge follows the one that leads."""
        return f"{self.standbys}.{instance}"

    async def declare_exchanges(self, channel: AbstractChannel) -> None:
        """Declare what events go to. Raises `TopologyConflict`."""
        for exchange in self._topics:
            await exchange.declare(channel)

    async def declare_history(self, channel: AbstractChannel) -> None:
        """Declare where events are kept for who comes later, if they are to be.

        Raises `TopologyConflict`.
        """
        if self._history_stream is not None:
            stream = await self._history_stream.declare(channel)
            await stream.bind(self.exchanges["events"], "#")

    async def declare_leading(self, channel: AbstractChannel) -> None:
        """Declare what a leader says goes to. Raises `TopologyConflict`."""
        await self.declare_exchanges(channel)
        await self._standbys_fanout.declare(channel)

    async def declare_epochs(self, channel: AbstractChannel) -> AbstractQueue:
        """Declare the queue that keeps the epoch. Raises `TopologyConflict`."""
        return await self._epochs_queue.declare(channel)

    async def declare_heartbeat(self, channel: AbstractChannel) -> AbstractQueue:
        """Declare the queue that keeps the last heartbeat. Raises `TopologyConflict`."""
        queue = await self._heartbeat_queue.declare(channel)
        await queue.bind(self.exchanges["bridge"], "*.heartbeat")
        return queue

    async def declare_standby(
        self, channel: AbstractChannel, instance: str, *, survives: bool
    ) -> AbstractQueue:
        """Declare the queue of one who begins to stand by: all that the leader says gathers there.

        Each connection has one of its own. It is an exclusive one, or `survives` the loss
        of a node, and must be released then.
        """
        queue = await channel.declare_queue(
            f"{self.standby(instance)}-{ulid_now()[-CHANCE_CHARACTERS:]}",
            durable=survives,
            exclusive=not survives,
            arguments={
                "x-max-length": MOST_UNFOLLOWED,
                "x-max-length-bytes": MOST_UNFOLLOWED_BYTES,
                "x-expires": UNFOLLOWED_MILLISECONDS,
                **(self._kind if survives else {}),
            },
        )
        for exchange in self.exchanges.values():
            await queue.bind(exchange, "#")
        await queue.bind(self.standbys)
        return queue

    async def release_standby(self, channel: AbstractChannel, name: str) -> None:
        """Let nothing more gather in the queue of one who stood by; it expires.

        RabbitMQ up to 4.1 takes 5 s to delete one that survived the loss of a node, and
        lets down who publishes to it meanwhile.
        """
        queue = await channel.get_queue(name, ensure=False)
        for exchange in self.exchanges.values():
            await queue.unbind(exchange, "#")
        await queue.unbind(self.standbys)

    async def has_commands(self, connection: AbstractConnection) -> bool:
        """Return whether the queue of commands is there already."""
        channel = await connection.channel()
        try:
            await self._commands_queue.find(channel)
        except ChannelNotFoundEntity:
            return False
        await channel.close()
        return True

    async def declare_dead(self, channel: AbstractChannel) -> None:
        """Declare where commands are kept that were not run. Raises `TopologyConflict`."""
        await self._dead_fanout.declare(channel)
        dead = await self._dead_queue.declare(channel)
        await dead.bind(self.dead)

    async def declare_queues(self, channel: AbstractChannel) -> tuple[AbstractQueue, AbstractQueue]:
        """Declare where commands come from; return that queue and the one of those given up.

        Raises `TopologyConflict`.
        """
        await self._commands_topic.declare(channel)
        await self.declare_dead(channel)
        given_up = await self._given_up_queue.declare(channel)
        commands = await self._commands_queue.declare(channel)
        await commands.bind(self.commands, routing_key="#")
        return commands, given_up


def _history(name: str, settings: AmqpSettings) -> Queue:
    """Return the stream of all events; its oldest segments go, as a whole, when it is full."""
    segment = min(MOST_SEGMENT_BYTES, max(LEAST_SEGMENT_BYTES, settings.history_bytes // SEGMENTS))
    arguments = {
        "x-queue-type": "stream",
        "x-max-age": f"{settings.history_age_seconds}s",
        "x-max-length-bytes": settings.history_bytes,
        "x-stream-max-segment-size-bytes": segment,
    }
    return Queue(name, arguments)


def _conflict(what: str, name: str, error: ChannelPreconditionFailed) -> TopologyConflict:
    """Translate RabbitMQ's refusal, which names the argument and both values."""
    return TopologyConflict(
        f"{what} {name!r} exists already and differs: {error}. "
        f"Delete it once it is empty, give the bridge another amqp.prefix, "
        f"or set its settings to match; the bridge deletes nothing"
    )
