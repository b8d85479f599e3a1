"""What the TCP link asks of the kernel."""

from __future__ import annotations

import socket

import pytest

from bridge.links.tcp import _watch
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
