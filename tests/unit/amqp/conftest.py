"""The way to the broker as the fast lane has it, with a socket that keeps what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

import pytest
from aiormq.abc import ChannelFrame

from bridge.amqp.express import Shortcut


class Writer:
    """What is written to, and what of it the socket has not taken, up to 10 bytes."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_full = False
        self.closing = False
        self.transport = self

    def write(self, data: bytes) -> None:
        """Take all of it."""
        self.written.append(data)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return when it has room again, and until when it has."""
        return 0, 10

    def get_write_buffer_size(self) -> int:
        """Return how much the socket has not taken."""
        return sum(map(len, self.written)) if self.is_full else 0

    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self.closing


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
async def queue() -> asyncio.Queue[ChannelFrame]:
    """What waits for the library's task."""
    return asyncio.Queue(1)


@pytest.fixture
async def task() -> AsyncIterator[asyncio.Task[None]]:
    """That of the library; it takes nothing, and takes its time to end."""

    async def work() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(0)

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    yield working
    working.cancel()
    await asyncio.wait((working,))


@pytest.fixture
def shortcut(
    queue: asyncio.Queue[ChannelFrame], writer: Writer, task: asyncio.Task[None]
) -> Shortcut:
    return Shortcut(queue, cast("asyncio.StreamWriter", writer), task)
