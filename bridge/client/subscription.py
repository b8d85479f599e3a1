"""Events in, one after the other, each acknowledged when it has been dealt with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import structlog
from aio_pika import ExchangeType
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractIncomingMessage,
    AbstractQueue,
)
from aiormq import Channel
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from yarl import URL

from bridge.amqp.session import FOREIGN
from bridge.client.event import Event, read
from bridge.client.keeping import keep_connected
from bridge.client.memory import Memory
from bridge.client.patterns import matcher
from bridge.errors import BridgeError, BrokerDown, InvalidEvent, TopologyConflict

log = structlog.get_logger(__name__)

OFFSET = "x-stream-offset"
CLOCKS_APART = timedelta(minutes=1)
"""The broker knows when it got an event, by its own clock; the event, when it happened."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to subscribe to: an exchange, keys by pattern, and the queue to gather them in.

    Without a queue, an exclusive one lives as long as the connection does. At most
    `prefetch` events are on their way at a time. `since` a moment, they are read from
    the `history`, a stream, and filtered here.
    """

    exchange: str
    patterns: Sequence[str]
    queue: str | None
    arguments: dict[str, Any]
    prefetch: int
    since: datetime | None = None
    history: str = ""


@dataclass(frozen=True, slots=True)
class _Given:
    """An event, and the message that is acknowledged for it."""

    message: AbstractIncomingMessage
    event: Event


_BROKER_AWAY = "see that RabbitMQ runs; it is tried again, and nothing is lost from a named queue"
_FOREIGN_PUBLISHER = "somebody else publishes to the bridge's exchange: take that right away"


class Subscription(AsyncIterator[Event]):
    """Events without end, over as many connections as it takes.

    An event is acknowledged when the loop asks for the next one. Where the body of
    the loop is left by `break`, `return` or an exception it is not, and comes again:
    to the next loop over the same subscription, or to whoever takes over the queue.
    What comes twice is given once, by its `source` and `id`.
    """

    def __init__(self, nodes: Sequence[URL], wish: Wish) -> None:
        self._nodes = nodes
        self._wish = wish
        self._arrived: asyncio.Queue[AbstractIncomingMessage | BridgeError] = asyncio.Queue()
        self._given: _Given | None = None  # to the body of the loop
        self._again: _Given | None = None  # what the body did not get through
        self._done = Memory()
        self._offset: int | None = None  # in the history, of what was dealt with last
        self._wants = matcher(wish.patterns)
        self._keeping: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def wish(self) -> Wish:
        """What it subscribes to."""
        return self._wish

    @property
    def is_closed(self) -> bool:
        """Whether it was ended."""
        return self._is_closed

    def __repr__(self) -> str:
        return f"<Subscription: {', '.join(self._wish.patterns)} of {self._wish.exchange}>"

    def __aiter__(self) -> Subscription:
        self._again, self._given = self._given or self._again, None
        return self

    async def __anext__(self) -> Event:
        """Acknowledge the event before, and wait for the next one.

        Raises `BrokerRefused` where the user may not subscribe, and
        `TopologyConflict` where the queue is there with other arguments.
        """
        if self._is_closed:
            raise StopAsyncIteration
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())
        if self._given is not None:
            given, self._given = self._given, None
            self._remember(given)
            await _acknowledge(given.message)
        given, self._again = self._again or await self._next(), None
        self._given = given
        return given.event

    async def aclose(self) -> None:
        """End it. What is not acknowledged comes again, to whoever takes over the queue."""
        self._is_closed = True
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))
        self._arrived.put_nowait(BridgeError("closed"))  # wakes who waits

    async def _next(self) -> _Given:
        """Return the next event that was not given before."""
        while True:
            message = await self._arrived.get()
            if isinstance(message, BridgeError):
                if self._is_closed:
                    raise StopAsyncIteration
                self._keeping = None
                raise message
            try:
                event = read(message.body, message.routing_key or "", message.headers)
            except InvalidEvent as error:
                log.warning("event_unreadable", reason=str(error), todo=_FOREIGN_PUBLISHER)
                await _refuse(message)
                continue
            if not self._is_wanted(event):
                self._note_offset(message)
                await _acknowledge(message)
                continue
            return _Given(message, event)

    def _is_wanted(self, event: Event) -> bool:
        """Whether an event was asked for, and not given before."""
        if event in self._done:
            return False
        since = self._wish.since
        return since is None or (event.time >= since and self._wants(event.key))

    def _note_offset(self, message: AbstractIncomingMessage) -> None:
        """Note how far the history is read; after a connection is lost it goes on there."""
        offset = message.headers.get(OFFSET)
        if isinstance(offset, int):
            self._offset = offset

    def _remember(self, given: _Given) -> None:
        self._note_offset(given.message)
        self._done.add(given.event)

    async def _keep(self) -> None:
        """Stay subscribed until cancelled, or until that can never be."""
        try:
            await keep_connected(self._nodes, "subscriber", self._use, _BROKER_AWAY)
        except BridgeError as error:
            self._arrived.put_nowait(error)

    async def _use(self, connection: AbstractConnection, on_ready: Callable[[], None]) -> None:
        """Let events arrive, for as long as the connection lasts."""
        wish = self._wish
        await _find(connection, wish.exchange)
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=wish.prefetch)
        queue, arguments = await self._source(channel)
        underlay = cast("Channel", await channel.get_underlay_channel())
        cancelled = asyncio.create_task(_cancelled(underlay))
        try:
            try:
                await queue.consume(self._arrived.put, arguments=arguments)
            except ChannelPreconditionFailed as error:
                raise TopologyConflict(f"queue {queue.name!r} cannot be read so: {error}") from None
            on_ready()
            await asyncio.wait((cancelled, underlay.closing), return_when=asyncio.FIRST_COMPLETED)
            is_cancelled = cancelled.done()
        finally:
            cancelled.cancel()
            self._forget_what_arrived()
        if is_cancelled:
            raise BrokerDown("the broker ended the consumer: was its queue deleted?")
        raise BrokerDown("the connection was lost")

    async def _source(self, channel: AbstractChannel) -> tuple[AbstractQueue, dict[str, Any]]:
        """Return the queue to read, and how: from which place of the history.

        Raises `TopologyConflict` where there is no history, or the queue is another's.
        """
        wish = self._wish
        if wish.since is None:
            queue = await _queue(channel, wish)
            for pattern in wish.patterns:
                await queue.bind(wish.exchange, pattern)
            return queue, {}
        try:
            history = await channel.get_queue(wish.history)
        except ChannelNotFoundEntity:
            raise TopologyConflict(
                f"there is no {wish.history}: set amqp.history (BRIDGE_AMQP__HISTORY) at the bridge"
            ) from None
        place: int | datetime = wish.since - CLOCKS_APART
        return history, {OFFSET: place if self._offset is None else self._offset + 1}

    def _forget_what_arrived(self) -> None:
        """Drop what was not given yet: the broker brings it again."""
        while not self._arrived.empty():
            self._arrived.get_nowait()


async def _cancelled(channel: Channel) -> None:
    """Wait until the broker cancels a consumer, as it does where it deletes the queue."""
    happened = asyncio.Event()
    channel.on_consumer_cancel_callbacks.add(lambda _frame: happened.set())
    await happened.wait()


async def _find(connection: AbstractConnection, exchange: str) -> None:
    """Make sure that an exchange is there; whoever comes first declares it."""
    try:
        await (await connection.channel()).get_exchange(exchange)
    except ChannelNotFoundEntity:
        channel = await connection.channel()
        try:
            await channel.declare_exchange(exchange, ExchangeType.TOPIC, durable=True)
        except ChannelAccessRefused:
            reason = f"exchange {exchange!r} is not there, and this user may not declare it"
            raise BrokerDown(f"{reason}: start the bridge") from None


async def _queue(channel: AbstractChannel, wish: Wish) -> AbstractQueue:
    """Declare the queue. Raises `TopologyConflict` where it is there with other arguments."""
    if wish.queue is None:
        return await channel.declare_queue(exclusive=True)
    try:
        return await channel.declare_queue(wish.queue, durable=True, arguments=wish.arguments)
    except ChannelPreconditionFailed as error:
        way_out = "take another name, or give its `arguments`"
        raise TopologyConflict(
            f"queue {wish.queue!r} is there already, or cannot be so: {error}; {way_out}"
        ) from None


async def _acknowledge(message: AbstractIncomingMessage) -> None:
    """Acknowledge where the channel is still there; else the broker brings it once more."""
    with suppress(*FOREIGN):
        await message.ack()


async def _refuse(message: AbstractIncomingMessage) -> None:
    """Hand a message to the queue's dead-letter exchange, if it has one."""
    with suppress(*FOREIGN):
        await message.reject(requeue=False)
