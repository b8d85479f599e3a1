"""A Tactium that says what it is told, as fast as it is read or at a steady pace."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

LISTENING_SECONDS = 30.0
AGENTS = 200

_STAMP = re.compile(rb"t=(\d+);")


class Tactium:
    """Serves one administrator; it answers status queries and registrations, and nothing else."""

    def __init__(self) -> None:
        self.port = 0
        self._administrator: asyncio.StreamWriter | None = None
        self._registered = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Tactium: port {self.port}>"

    async def wait(self) -> None:
        """Wait until an administrator is registered."""
        async with asyncio.timeout(LISTENING_SECONDS):
            await self._registered.wait()

    async def say(self, frames: bytes) -> None:
        """Say all of it, as fast as it is taken."""
        assert self._administrator is not None, "nobody listens"
        self._administrator.write(frames)
        await self._administrator.drain()

    async def say_steadily(self, frames: Iterator[bytes], per_second: int, seconds: float) -> None:
        """Say frames at a steady pace, each of them made when its moment has come."""
        begin = time.monotonic()
        for number in range(round(per_second * seconds)):
            left = begin + number / per_second - time.monotonic()
            if left > 0:
                await asyncio.sleep(left)
            await self.say(next(frames))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection and answer what it asks."""
        try:
            while True:
                frame = await reader.readuntil(b">$")
                if frame.startswith(b"<ADMSOCKET>"):
                    self._administrator = writer
                    writer.write(b"<ADMSOCKET><OK>$")
                    self._registered.set()
                elif frame.endswith(b"><S>$"):
                    writer.write(frame[:-1] + b"<1>$")
        except (asyncio.IncompleteReadError, OSError):
            self._registered.clear()
        finally:
            writer.close()


@asynccontextmanager
async def open_tactium() -> AsyncIterator[Tactium]:
    """Serve one on a port of its own."""
    tactium = Tactium()
    server = await asyncio.start_server(tactium.serve, "127.0.0.1", 0)
    tactium.port = server.sockets[0].getsockname()[1]
    try:
        yield tactium
    finally:
        server.close()


def traffic(agents: int = AGENTS) -> Iterator[bytes]:
    """Yield frames without end: a call for each agent in turn, its recording and its end.

    The first two carry the moment at which they were made (see `stamp`).
    """
    number = 0
    while True:
        number += 1
        agent = f"agent{number * 7919 % agents:06}"
        phone = f"4005{number % 10_000:04}"
        yield (
            f"<{agent}><A><{number}><0><99885500><85><{phone}><cobranca>"
            f"</gravacoes/2026/11/{number}.wav><dialer.ItemID={number};{stamp()}>$"
        ).encode()
        yield f"<{agent}><G></gravacoes/2026/11/{number}.wav?{stamp()}>$".encode()
        yield f"<{agent}><EndCall>$".encode()


def stamp() -> str:
    """Return the present moment, for whoever receives it to tell how long it took."""
    return f"t={time.monotonic_ns()};"


def maybe_age_seconds(body: bytes) -> float | None:
    """Return how long ago what is stamped in a message was said; None where nothing is."""
    found = _STAMP.search(body)
    return (time.monotonic_ns() - int(found[1])) / 1e9 if found is not None else None
