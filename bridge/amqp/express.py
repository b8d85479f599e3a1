"""The fast lane: many messages in one write, and their confirms without a future for each.

This is the one module that touches what the library does not offer: the queue of
what a connection writes, the count of a channel's messages, and who is told of
their confirms. `tests/unit/amqp/test_express.py` fails first when that changes.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiormq import Channel
from aiormq.abc import ChannelFrame
from pamqp.commands import Basic


class Confirmed(Protocol):
    """Is told what the broker confirmed, or refused: one message, or all up to it."""

    def __call__(self, number: int, *, multiple: bool, taken: bool) -> None:
        """`multiple`: all up to this number are meant."""


class Express:
    """A channel on which nothing is published but through here.

    Messages are numbered from 1, as the broker numbers them.
    """

    def __init__(self, channel: Channel, on_confirm: Confirmed) -> None:
        self._channel = channel
        self._on_confirm = on_confirm
        self._turn = asyncio.Lock()  # what has the lower number is written first
        # The library would want a future for each message. Here alone one hears of all confirms:
        channel._on_confirm_frame = self._take  # type: ignore[method-assign] # noqa: SLF001 - no public way

    @property
    def number(self) -> int:
        """The channel's own number."""
        return self._channel.number

    @property
    def frame_max(self) -> int:
        """The size of the largest frame that the broker takes."""
        return int(self._channel.connection.connection_tune.frame_max)

    @property
    def next_number(self) -> int:
        """The number that the next message gets."""
        return self._channel.delivery_tag + 1

    @property
    def is_free(self) -> bool:
        """Whether something can be written without waiting."""
        is_waited_for = self._turn.locked() or self._channel.write_queue.full()
        return not (self._channel.is_closed or is_waited_for)

    def send_now(self, payload: bytes, count: int) -> None:
        """Write `count` messages, which must be few, where it `is_free`."""
        self._channel.delivery_tag += count
        self._channel.write_queue.put_nowait(ChannelFrame(payload=payload, should_close=False))

    async def send(self, payload: bytes, count: int) -> None:
        """Write `count` messages, and wait until the connection takes more.

        Raises what the library raises where the channel is closed.
        """
        self._channel.delivery_tag += count
        drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        frame = ChannelFrame(payload=payload, should_close=False, drain_future=drained)
        async with self._turn:
            await self._channel.write_queue.put(frame)
        await drained

    async def _take(self, frame: Basic.Ack | Basic.Nack | Basic.Reject) -> None:
        multiple = bool(getattr(frame, "multiple", False))
        taken = isinstance(frame, Basic.Ack)
        self._on_confirm(frame.delivery_tag or 0, multiple=multiple, taken=taken)
