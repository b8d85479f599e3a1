"""What the fast lane relies on in the library, and does not find in its documentation."""

from __future__ import annotations

import inspect

from aiormq import Channel
from aiormq.abc import ChannelFrame
from aiormq.connection import Connection


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
