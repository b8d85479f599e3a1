"""A TCP proxy that can do to a connection what networks do."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

READ_BYTES = 65_536


class FaultProxy:
    """Passes bytes between whoever connects and `to_port`, until told otherwise.

    `delay_seconds` holds back each piece; with `single_bytes` each byte goes out
    by itself; in a `black_hole` nothing passes either way and nobody is told.
    """

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self.delay_seconds = 0.0
        self.single_bytes = False
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server
        self._server.close()
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        if self._pumps:
            await asyncio.wait(self._pumps)

    def cut(self) -> None:
        """Cut every connection, on both sides."""
        for writer in list(self._writers):
            writer.transport.abort()

    def half_open(self) -> None:
        """Cut the far side only: who connected is not told, and talks to nobody."""
        self._passing.clear()
        for writer in list(self._writers):
            if writer.get_extra_info("peername")[1] == self._to_port:
                writer.transport.abort()

    def black_hole(self) -> None:
        """Let nothing pass any more, in connections old and new."""
        self._passing.clear()

    def heal(self) -> None:
        """Pass bytes again; what a black hole has held back stays lost with its connection."""
        if not self._passing.is_set():
            self.cut()
            self._passing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.transport.abort()
            return
        for pair in ((reader, far_writer), (far_reader, writer)):
            self._writers.add(pair[1])
            pump = asyncio.create_task(self._pump(*pair))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(READ_BYTES):
                await self._passing.wait()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                pieces = (
                    [data[n : n + 1] for n in range(len(data))] if self.single_bytes else [data]
                )
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
        await self._passing.wait()  # what is half open stays so
        self._writers.discard(writer)
        writer.transport.abort()
