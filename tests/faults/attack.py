"""A program that does all that somebody could do to a bridge over HTTP, at once and without end.

Takes the port, and says when it is under way.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

VIEWERS = 1_000
SLOW = 200
LOUD = 20
SECONDS = 15.0
HEAD = b"HTTP/1.1\r\nHost: localhost\r\n"


async def _say(port: int, request: bytes, *, slowly: bool = False, read: bool = True) -> None:
    """Make one connection, say something, and stay as long as one may."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                if slowly:
                    for byte in request:
                        writer.write(bytes((byte,)))
                        await asyncio.sleep(0.5)
                writer.write(request)
                await writer.drain()
                if not read:
                    await asyncio.sleep(SECONDS)
                while await reader.read(65_536):
                    pass
            finally:
                writer.transport.abort()


async def _again(what: Callable[[], Awaitable[None]]) -> None:
    while True:
        await what()
        await asyncio.sleep(0.01)


async def attack(port: int) -> None:
    """Do all of it."""
    stream = b"GET /events " + HEAD + b"\r\n"
    bomb = gzip.compress(b"\0" * 25_000_000)
    packed = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    requests = (
        b"POST /healthz " + HEAD + packed + bomb,
        (b"GET /healthz " + HEAD + b"Expect: f\r\n\r\n") * 500,
        b"GET / " + HEAD + b"Authorization: Bearer \xff\r\n\r\n",
        b"GET /metrics " + HEAD + b"Authorization: Bearer wrong\r\n\r\n",
        b"GET /../../etc/passwd " + HEAD + b"\r\n",
        b"GET / " + HEAD + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET / " + HEAD + b"X: y\r\n" * 100_000 + b"\r\n",
        b"POST / " + HEAD + b"Content-Length: 1000000000\r\n\r\n" + b"a" * 1_000_000,
        b"\x16\x03\x01" * 1_000,
        b"GET /readyz " + HEAD + b"\r\n",
    )
    async with asyncio.TaskGroup() as group:
        for number in range(VIEWERS):
            reads = number % 2 == 0  # the others never take what they are told
            group.create_task(_again(lambda reads=reads: _say(port, stream, read=reads)))  # type: ignore[misc]
        for _ in range(SLOW):
            group.create_task(_again(lambda: _say(port, stream, slowly=True)))
        for request in requests:
            for _ in range(LOUD):
                group.create_task(_again(lambda said=request: _say(port, said)))  # type: ignore[misc]
        sys.stdout.write("under way\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(attack(int(sys.argv[1])))
