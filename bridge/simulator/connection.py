"""One client of the simulator: a socket, who it may hear, and bounds on what waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast

from bridge.simulator.faults import Mischief
from bridge.wire.frame import MAX_FRAME_BYTES, Decoder, Frame

_FRAME_END = b">$"


class Owner(Protocol):
    """Who holds the connections, and is told what happens on each."""

    def connected(self, connection: Connection) -> None:
        """Take note of a new one."""

    def received_bytes(self, data: bytes) -> None:
        """Take note of the bytes of one frame, or of what took the place of one."""

    def received_frame(self, connection: Connection, frame: Frame) -> None:
        """Take one whole frame."""

    def disconnected(self, connection: Connection, reason: str) -> None:
        """Take note that one is gone."""


class Connection(asyncio.Protocol):
    """One client.

    `agents` are the canonical logins whose events it gets (§2.1, §4.1);
    `administrator`: it gets all of them (§4.12). Once more than
    `max_backlog_bytes` wait, written and unread or read and unanswered, it is
    cut off, so no client can fill the memory. `mischief` may hold its frames back.
    """

    def __init__(self, owner: Owner, mischief: Mischief, *, max_backlog_bytes: int) -> None:
        self._owner = owner
        self._mischief = mischief
        self._max_backlog_bytes = max_backlog_bytes
        self._transport: asyncio.Transport | None = None
        self._decoder = Decoder()
        self._begun = bytearray()
        self._held_back: deque[Frame] = deque()
        self._held_back_bytes = 0
        self._held_back_until = 0.0
        self._writable = asyncio.Event()
        self._reason = "closed by the client"
        self.administrator = False
        self.agents: set[str] = set()
        self.peer = "?"

    def __repr__(self) -> str:
        heard = "all" if self.administrator else ", ".join(sorted(self.agents))
        return f"<Connection: {self.peer}, hears {heard or 'nobody'}>"

    @property
    def is_open(self) -> bool:
        """Whether something can still be written."""
        return self._transport is not None and not self._transport.is_closing()

    def hears(self, agent: str) -> bool:
        """Whether the events of an agent (the canonical login) go to this client."""
        return self.administrator or agent in self.agents

    def write(self, data: bytes) -> None:
        """Send, or cut the client off that left too much unread; nothing once it is gone."""
        if self._transport is None or not self.is_open:
            return
        self._bound_backlog()
        self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has read nearly all, or is gone."""
        await self._writable.wait()

    def cut(self, reason: str) -> None:
        """End the connection at once; what it has not read yet is lost."""
        if self._transport is not None and self.is_open:
            self._reason = reason
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._writable.set()
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if peer else "gone already"
        self._owner.connected(self)

    def data_received(self, data: bytes) -> None:
        """Cut at each frame's end, so that each frame is known byte for byte."""
        self._begun += data
        *whole, begun = self._begun.split(_FRAME_END)
        self._begun = begun
        for piece in whole:
            self._take(bytes(piece) + _FRAME_END)
        if len(begun) > MAX_FRAME_BYTES:
            self._begun = bytearray()
            self._take(bytes(begun))

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._writable.set()
        self._held_back.clear()
        self._owner.disconnected(self, str(exc) if exc else self._reason)

    def _take(self, data: bytes) -> None:
        self._owner.received_bytes(data)
        for found in self._decoder.feed(data):
            if isinstance(found, Frame):
                self._hold_back(found, self._mischief.delay_seconds())

    def _hold_back(self, frame: Frame, seconds: float) -> None:
        """Let the owner have a frame, now or later; no frame overtakes another."""
        if not seconds and not self._held_back:
            self._owner.received_frame(self, frame)
            return
        loop = asyncio.get_running_loop()
        self._held_back.append(frame)
        self._held_back_bytes += len(frame.raw)
        self._held_back_until = max(self._held_back_until, loop.time() + seconds)
        loop.call_at(self._held_back_until, self._let_go)
        self._bound_backlog()

    def _let_go(self) -> None:
        if self._held_back:
            frame = self._held_back.popleft()
            self._held_back_bytes -= len(frame.raw)
            self._owner.received_frame(self, frame)

    def _bound_backlog(self) -> None:
        if self._transport is None:
            return
        waiting = self._transport.get_write_buffer_size() + self._held_back_bytes
        if waiting > self._max_backlog_bytes:
            self.cut("too much was left unread")
