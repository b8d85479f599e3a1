"""What the fast lane relies on in the library, and does not find in its documentation."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import cast

import aio_pika
import pytest
from aiormq import Channel
from aiormq.abc import ChannelFrame
from aiormq.connection import Connection, FrameGenerator, TCPTransportFactory, TLSTransportFactory
from yarl import URL

from bridge.amqp.express import LONGEST_FRAME_BYTES, DirectTransport, Express, Shortcut
from tests.unit.amqp.conftest import Writer

CLOSING = ChannelFrame(payload=b"bye", should_close=True)


def test_the_library_is_as_the_fast_lane_knows_it() -> None:
    """Where one of these fails, `bridge/amqp/express.py` has to be read again."""
    channel = inspect.getsource(Channel)
    assert "await self._on_confirm_frame(frame)" in channel
    assert "self.write_queue = connector.write_queue" in channel
    assert "self.delivery_tag += 1" in channel
    assert list(inspect.signature(Channel._on_confirm_frame).parameters) == ["self", "frame"]
    assert list(ChannelFrame.__annotations__) == ["payload", "should_close", "drain_future"]
    connection = inspect.getsource(Connection)
    assert "writer.write(channel_frame.payload)" in connection
    assert "channel_frame.drain()" in connection
    assert "self.write_queue = asyncio.Queue(" in connection
    assert "connection_tune" in inspect.getsource(Channel)
    frame = ChannelFrame(payload=b"x", should_close=False, drain_future=None)
    assert (frame.payload, frame.should_drain) == (b"x", False)
    assert inspect.iscoroutinefunction(Channel._on_confirm_frame)


def test_the_library_is_as_the_shortcut_knows_it() -> None:
    """It makes its transport so, has its own queue read, and asks no queue for anything else."""
    connection = inspect.getsource(Connection)
    assert "reader, writer = await self._transport_factory.create(" in connection
    assert "frame_iterator = FrameGenerator(self.write_queue)" in connection
    assert 'elif self.url.scheme == "amqps"' in connection
    assert "self._writer_task = self.create_task(self.__writer(writer))" in connection
    assert "self._writer_task.cancel()" in inspect.getsource(Connection._on_close)
    assert "await self.queue.get()\n        self.queue.task_done()" in inspect.getsource(
        FrameGenerator
    )
    for whole in (connection, inspect.getsource(Channel)):
        used = [each.partition("(")[0] for each in whole.split("self.write_queue.")[1:]]
        assert set(used) <= {"put", "put_nowait"}


@pytest.mark.parametrize(
    ("scheme", "factory"), [("amqp", TCPTransportFactory), ("amqps", TLSTransportFactory)]
)
async def test_the_transport_is_the_one_of_the_library(scheme: str, factory: type) -> None:
    connection = aio_pika.Connection(URL(f"{scheme}://127.0.0.1/"))
    direct = DirectTransport(connection)
    assert type(direct._factory) is factory
    assert connection.kwargs["transport_factory"] is direct
    direct.shorten()  # which does nothing before it is connected
    await connection.close()


def frame(payload: bytes, drained: asyncio.Future[None] | None = None) -> ChannelFrame:
    return ChannelFrame(payload=payload, should_close=False, drain_future=drained)


async def test_a_frame_is_written_at_once(shortcut: Shortcut, writer: Writer) -> None:
    drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    shortcut.put_nowait(frame(b"1"))
    await shortcut.put(frame(b"2", drained))
    assert writer.written == [b"1", b"2"]
    assert drained.done()


async def test_who_wants_to_know_hears_when_there_is_room(
    shortcut: Shortcut, queue: asyncio.Queue[ChannelFrame], writer: Writer
) -> None:
    """From the library's task, which waits for it: nobody waits who could be cancelled."""
    writer.is_full = True
    drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    putting = shortcut.put(frame(b"more than ten", drained))
    with pytest.raises(StopIteration):
        putting.send(None)
    assert writer.written == [b"more than ten"]
    assert not drained.done()
    left = await queue.get()
    assert (left.payload, left.drain_future) == (b"", drained)


async def test_nothing_overtakes_what_waits(
    shortcut: Shortcut, queue: asyncio.Queue[ChannelFrame], writer: Writer
) -> None:
    queue.put_nowait(frame(b"1"))
    assert not shortcut.is_free
    with pytest.raises(asyncio.QueueFull):
        shortcut.put_nowait(frame(b"2"))
    putting = asyncio.create_task(shortcut.put(frame(b"2")))
    await asyncio.sleep(0)
    assert [(await queue.get()).payload for _ in range(2)] == [b"1", b"2"]
    await putting
    assert writer.written == []
    shortcut.put_nowait(frame(b"3"))
    assert writer.written == [b"3"]


async def test_what_a_full_socket_would_not_take_waits_in_the_queue(
    shortcut: Shortcut, queue: asyncio.Queue[ChannelFrame], writer: Writer
) -> None:
    """Which has a bound."""
    writer.is_full = True
    shortcut.put_nowait(frame(b"more than ten"))
    shortcut.put_nowait(frame(b"2"))
    assert writer.written == [b"more than ten"]
    assert queue.full()


async def test_nothing_comes_behind_the_end(
    shortcut: Shortcut, queue: asyncio.Queue[ChannelFrame], writer: Writer
) -> None:
    """Which the library's task writes, and closes behind it."""
    await shortcut.put(CLOSING)
    assert await queue.get() is CLOSING
    shortcut.put_nowait(frame(b"1"))
    assert (await queue.get()).payload == b"1"
    assert writer.written == []


async def test_nothing_comes_behind_the_farewell(
    shortcut: Shortcut,
    queue: asyncio.Queue[ChannelFrame],
    writer: Writer,
    task: asyncio.Task[None],
) -> None:
    """Which the library's task writes when it is cancelled, and waits for the answer."""
    task.cancel()
    shortcut.put_nowait(frame(b"1"))
    assert (await queue.get()).payload == b"1"
    assert writer.written == []


async def test_nothing_is_written_to_what_is_closing(
    shortcut: Shortcut, queue: asyncio.Queue[ChannelFrame], writer: Writer
) -> None:
    writer.closing = True
    shortcut.put_nowait(frame(b"1"))
    assert (await queue.get()).payload == b"1"
    assert writer.written == []


def express_on(lane: Shortcut, *, frame_max: int = 0) -> Express:
    channel = SimpleNamespace(
        number=1,
        delivery_tag=0,
        is_closed=False,
        write_queue=lane,
        connection=SimpleNamespace(connection_tune=SimpleNamespace(frame_max=frame_max)),
    )
    return Express(cast("Channel", channel), lambda *_, **__: None)


async def test_a_broker_without_a_limit_takes_frames_of_any_length(shortcut: Shortcut) -> None:
    assert express_on(shortcut, frame_max=4_096).frame_max == 4_096
    assert express_on(shortcut, frame_max=0).frame_max == LONGEST_FRAME_BYTES


async def test_what_has_its_number_is_not_overtaken(
    shortcut: Shortcut, queue: asyncio.Queue[ChannelFrame], writer: Writer
) -> None:
    """Nothing is written now while others are in line, whose numbers are lower."""
    express = express_on(shortcut)

    def is_free() -> bool:
        return express.is_free

    assert is_free()
    queue.put_nowait(frame(b"0"))
    sending = {asyncio.create_task(express.send(payload, 1)) for payload in (b"1", b"2")}
    queued: list[bytes] = []
    while len(queued) < 2:
        await asyncio.sleep(0)
        assert not is_free()
        queued += [queue.get_nowait().payload for _ in range(queue.qsize())]
        assert is_free() == (len(queued) == 2 and not express._in_line), "others are in line"
    await asyncio.wait(sending, timeout=1)
    assert queued == [b"0", b"1"]
    assert writer.written == [b"2"]
    assert is_free()
    express.send_now(b"3", 1)
    assert writer.written == [b"2", b"3"]
    assert express.next_number == 4
    for task in sending:
        task.cancel()
    await asyncio.wait(sending)


async def test_nothing_is_written_at_once_where_something_is_in_the_way(
    shortcut: Shortcut, queue: asyncio.Queue[ChannelFrame], writer: Writer
) -> None:
    express = express_on(shortcut)
    assert express.is_free
    writer.is_full, writer.written = True, [b"more than ten"]
    busy = express.is_free
    writer.is_full = False
    queue.put_nowait(frame(b"a heartbeat"))
    behind = express.is_free
    queue.get_nowait()
    cast("SimpleNamespace", express._channel).is_closed = True
    assert (busy, behind, express.is_free) == (False, False, False)


def test_a_channel_without_a_shortcut_is_refused() -> None:
    with pytest.raises(TypeError, match="shortcut"):
        express_on(cast("Shortcut", asyncio.Queue()))
