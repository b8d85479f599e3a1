"""What goes out over a real connection goes out at once, whoever writes it."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from aio_pika import Message
from aiormq import Channel
from aiormq.abc import ChannelFrame
from yarl import URL

from bridge.amqp.express import Shortcut
from bridge.amqp.session import close_connection, open_connection


async def test_nothing_waits_for_the_library_s_task(
    vhost_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a declaration nor a message, its confirm with it, but the last frame of all."""
    waited: list[ChannelFrame] = []
    put, put_nowait = asyncio.Queue.put, asyncio.Queue.put_nowait

    async def note_put(queue: asyncio.Queue[object], item: object) -> None:
        if isinstance(item, ChannelFrame):
            waited.append(item)
        await put(queue, item)

    def note_put_nowait(queue: asyncio.Queue[object], item: object) -> None:
        if isinstance(item, ChannelFrame) and item not in waited:
            waited.append(item)
        put_nowait(queue, item)

    connection = await open_connection(URL(vhost_url), "test")
    monkeypatch.setattr(asyncio.Queue, "put", note_put)
    monkeypatch.setattr(asyncio.Queue, "put_nowait", note_put_nowait)
    try:
        channel = await connection.channel()
        underlay = cast("Channel", await channel.get_underlay_channel())
        assert isinstance(underlay.write_queue, Shortcut)
        queue = await channel.declare_queue(exclusive=True)
        for number in range(3):
            await channel.default_exchange.publish(Message(b"%d" % number), queue.name)
        found = [await queue.get(no_ack=True) for _ in range(3)]
        assert [each.body for each in found] == [b"0", b"1", b"2"]
        assert waited == []
    finally:
        await close_connection(connection)
    assert connection.is_closed
