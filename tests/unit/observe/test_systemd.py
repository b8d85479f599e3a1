"""What systemd hears."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.observe.systemd import Systemd


@pytest.fixture
def told(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


async def test_it_is_ready_and_then_lives(told: socket.socket) -> None:
    """READY once, a watchdog in less than half of its time, and the end."""
    systemd = Systemd({"NOTIFY_SOCKET": told.getsockname(), "WATCHDOG_USEC": "300000"})
    running = asyncio.create_task(systemd.run(lambda: "all well"))
    heard = [await asyncio.to_thread(told.recv, 1_000) for _ in range(3)]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    systemd.stopping()
    assert heard == [b"READY=1\nSTATUS=all well", *[b"WATCHDOG=1\nSTATUS=all well"] * 2]
    assert told.recv(1_000) == b"STOPPING=1"


async def test_where_nobody_listens_nothing_fails(tmp_path: Path) -> None:
    """Neither without systemd nor with one that is gone; nor for another process' watchdog."""
    await Systemd({}).run(lambda: "")
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).stopping()
    mine = {"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}
    assert Systemd(mine)._watchdog_seconds == 1
    assert Systemd({**mine, "WATCHDOG_PID": "1"})._watchdog_seconds == float("inf")
