"""Who comes in over HTTP, how fast, and for how long.

HTTP shares the event loop with the events, so it gets a small share of it and no
more: what comes faster waits in the kernel, a connection brings one request, in so
many bytes and seconds, and where too many are open the oldest makes way.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import cast

COMERS_PER_SECOND = 50.0
COMERS_AT_ONCE = 50
MOST_OPEN = 256
MOST_WAITING = 128
"""Connections that the kernel keeps until it is their turn."""

MOST_BYTES = 32 * 1024
"""Of one request, whatever it is: none that is meant well has more than a few headers."""

MOST_SECONDS = 10.0
"""For one request and its answer; a stream is asked to `stay`."""


class Door:
    """Accepts connections for a `factory` of protocols."""

    def __init__(self, factory: Callable[[], asyncio.Protocol]) -> None:
        self._factory = factory
        self._open: dict[Guest, None] = {}  # in the order in which they came
        self._may_come = float(COMERS_AT_ONCE)
        self._counted_at = time.monotonic()

    def __repr__(self) -> str:
        return f"<Door: {len(self._open)} inside>"

    async def accept(self, listening: socket.socket) -> None:
        """Let in who comes, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._turn()
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError:  # it is gone already, or there are no more file descriptors
                await asyncio.sleep(1 / COMERS_PER_SECOND)
                continue
            if len(self._open) >= MOST_OPEN:
                next(iter(self._open)).leave()
            with suppress(OSError):
                await loop.connect_accepted_socket(self._guest, connection)

    def stay(self, transport: asyncio.BaseTransport | None) -> None:
        """Let a connection stay as long as it likes: it is a stream."""
        for guest in self._open:
            if guest.transport is transport:
                guest.stay()
                del self._open[guest]
                return

    def _guest(self) -> Guest:
        guest = Guest(self._factory(), self._left)
        self._open[guest] = None
        return guest

    def _left(self, guest: Guest) -> None:
        self._open.pop(guest, None)

    async def _turn(self) -> None:
        """Wait until one more may come."""
        now = time.monotonic()
        earned = (now - self._counted_at) * COMERS_PER_SECOND
        self._may_come = min(COMERS_AT_ONCE, self._may_come + earned) - 1
        self._counted_at = now
        if self._may_come < 0:
            await asyncio.sleep(-self._may_come / COMERS_PER_SECOND)


class Guest(asyncio.Protocol):
    """One connection, in front of the protocol that serves it."""

    def __init__(self, inner: asyncio.Protocol, on_left: Callable[[Guest], None]) -> None:
        self._inner = inner
        self._on_left = on_left
        self._bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None

    def __repr__(self) -> str:
        return f"<Guest: {self._bytes} bytes>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count."""
        self.transport = transport = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(MOST_SECONDS, transport.abort)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Hand on what came, unless it is too much."""
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            self.leave()
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Hand on that nothing more comes."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Hand on that the other side does not read."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Hand on that it reads again."""
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Count no more."""
        self.stay()
        self._on_left(self)
        self._inner.connection_lost(error)

    def stay(self) -> None:
        """Have no deadline any more."""
        if self._deadline is not None:
            self._deadline.cancel()

    def leave(self) -> None:
        """Go at once."""
        if self.transport is not None:
            self.transport.abort()
