"""The fast lane: frames written at once, many in one write, and confirmed without a future each.

This is the one module that touches what the library does not offer: the queue of
what a connection writes and the task that empties it, the count of a channel's
messages, and who is told of their confirms. `tests/unit/amqp/test_express.py` fails
first when that changes.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Protocol, cast

from aio_pika import Connection
from aiormq import Channel, TransportFactory
from aiormq.abc import ChannelFrame, TaskType
from aiormq.connection import Connection as Underlay
from aiormq.connection import TCPTransportFactory, TLSTransportFactory
from pamqp.commands import Basic
from yarl import URL

LONGEST_FRAME_BYTES = 2**32 - 1
"""What AMQP can count, for a broker that sets no limit: its `frame_max` is 0 then."""


class DirectTransport(TransportFactory):
    """Makes the transport of a connection, as the library would, and `shorten`s the way to it."""

    def __init__(self, connection: Connection) -> None:
        is_encrypted = connection.url.scheme == "amqps"
        self._factory = TLSTransportFactory() if is_encrypted else TCPTransportFactory()
        self._connection = connection
        self._writer: asyncio.StreamWriter | None = None
        connection.kwargs["transport_factory"] = self

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return what the library reads from and writes to."""
        reader, self._writer = await self._factory.create(url, **kwargs)
        return reader, self._writer

    def shorten(self) -> None:
        """Have what is to be written written at once: when connected, before there are channels."""
        transport = self._connection.transport
        if transport is not None and self._writer is not None:
            underlay = cast("Underlay", transport.connection)
            task = underlay._writer_task  # noqa: SLF001 - it alone knows of the farewell
            shortcut = Shortcut(underlay.write_queue, self._writer, task)
            underlay.write_queue = cast("asyncio.Queue[ChannelFrame]", shortcut)


class Shortcut:
    """Stands for the queue of what a connection writes.

    The library has a task that takes each frame out of that queue, which an event in
    quiet times, or a reply, has to wait for. Here it is written at once, unless others
    are before it in the queue, or the socket takes no more. The last frame of all is
    left to the task, which closes behind it.
    """

    def __init__(
        self,
        queue: asyncio.Queue[ChannelFrame],
        writer: asyncio.StreamWriter,
        task: TaskType,
    ) -> None:
        self._queue = queue
        self._writer = writer
        self._task = task
        self._is_over = False
        _, self._most_bytes = writer.transport.get_write_buffer_limits()

    def __repr__(self) -> str:
        return f"<Shortcut: {self._queue.qsize()} frames wait>"

    @property
    def is_free(self) -> bool:
        """Whether what is written now goes out at once."""
        if self._is_over or self._task.cancelling():  # which says goodbye then
            return False
        return self._queue.empty() and self._has_room and not self._writer.is_closing()

    def write(self, payload: bytes) -> None:
        """Write the bytes of frames, where it `is_free`."""
        self._writer.write(payload)

    def put_nowait(self, frame: ChannelFrame) -> None:
        """Write a frame. Raises `asyncio.QueueFull` where too many are before it."""
        if self._may_write(frame):
            self._write(frame)
        else:
            self._queue.put_nowait(frame)

    async def put(self, frame: ChannelFrame) -> None:
        """Write a frame, when it is its turn.

        What was written was put: whoever is cancelled, or meets an error, in here has not
        written anything, and counts on it.
        """
        if self._may_write(frame):
            self._write(frame)
        else:
            await self._queue.put(frame)

    def _may_write(self, frame: ChannelFrame) -> bool:
        self._is_over |= frame.should_close
        return self.is_free

    @property
    def _has_room(self) -> bool:
        return self._writer.transport.get_write_buffer_size() <= self._most_bytes

    def _write(self, frame: ChannelFrame) -> None:
        """Write a frame; the task tells whoever wants to know when there is room for more."""
        self.write(frame.payload)
        if frame.should_drain and self._has_room:
            frame.drain()
        elif frame.should_drain:
            self._queue.put_nowait(replace(frame, payload=b""))


class Confirmed(Protocol):
    """Is told what the broker confirmed, or refused: one message, or all up to it."""

    def __call__(self, number: int, *, multiple: bool, taken: bool) -> None:
        """`multiple`: all up to this number are meant."""


class Express:
    """A channel on which nothing is published but through here.

    Messages are numbered from 1, as the broker numbers them. `number` is the channel's
    own, `frame_max` the size of the largest frame that the broker takes, in bytes.
    """

    def __init__(self, channel: Channel, on_confirm: Confirmed) -> None:
        self.number = channel.number
        self.frame_max = int(channel.connection.connection_tune.frame_max) or LONGEST_FRAME_BYTES
        self._channel = channel
        lane: object = channel.write_queue
        if not isinstance(lane, Shortcut):
            raise TypeError("no shortcut leads to this channel: its connection was not shortened")
        self._lane = lane
        self._on_confirm = on_confirm
        self._turn = asyncio.Lock()  # what has the lower number is written first
        self._in_line = 0  # that have their numbers and wait for their turn
        # The library would want a future for each message. Here alone one hears of all confirms:
        channel._on_confirm_frame = self._take  # type: ignore[method-assign] # noqa: SLF001 - no public way

    @property
    def next_number(self) -> int:
        """The number that the next message gets."""
        return self._channel.delivery_tag + 1

    @property
    def is_free(self) -> bool:
        """Whether something can be written at once."""
        return self._in_line == 0 and self._lane.is_free and not self._channel.is_closed

    def send_now(self, payload: bytes, count: int) -> None:
        """Write `count` messages, which must be few, where it `is_free`."""
        self._channel.delivery_tag += count
        self._lane.write(payload)

    async def send(self, payload: bytes, count: int) -> None:
        """Write `count` messages, and wait until the connection takes more.

        Raises what the library raises where the channel is closed.
        """
        self._channel.delivery_tag += count
        drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        frame = ChannelFrame(payload=payload, should_close=False, drain_future=drained)
        self._in_line += 1
        try:
            async with self._turn:
                await self._lane.put(frame)
        finally:
            self._in_line -= 1
        await drained

    async def _take(self, frame: Basic.Ack | Basic.Nack | Basic.Reject) -> None:
        multiple = bool(getattr(frame, "multiple", False))
        taken = isinstance(frame, Basic.Ack)
        self._on_confirm(frame.delivery_tag or 0, multiple=multiple, taken=taken)
