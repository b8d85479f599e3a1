"""What the TCP link asks of the kernel, and hears from it."""

from __future__ import annotations

import asyncio
import errno
import socket
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge.links.tcp import TcpLink, _watch
from bridge.settings import LinkSettings


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux's socket options, read back"
)
def test_the_kernel_watches_the_connection() -> None:
    """Keepalive starts when a probe would, and unacknowledged data ends the connection."""
    settings = LinkSettings(idle_probe=12, probe_timeout=3)
    with socket.socket() as connection:
        _watch(connection, settings)
        option = connection.getsockopt
        assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 12
        assert option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 3
        assert option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 2
        assert option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 6000


async def test_a_peer_that_the_kernel_gave_up_is_not_asked_anything() -> None:
    """It is no silence of which one does not know what it means."""
    said: list[bytes] = []
    link = TcpLink(LinkSettings(), lambda: datetime.now(UTC), cast("Any", None), lambda: True)
    reader = asyncio.StreamReader()
    reader.set_exception(TimeoutError(errno.ETIMEDOUT, "the peer is gone"))
    writer = SimpleNamespace(write=said.append, close=lambda: None)
    with pytest.raises(TimeoutError, match="the peer is gone"):
        await link._listen(reader, cast("Any", writer), cast("Any", None))
    assert len(said) == 1, "the registration alone"
