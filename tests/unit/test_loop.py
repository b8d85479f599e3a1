"""The loop that the bridge runs in, be it asyncio's or uvloop's."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
from typing import Any

import pytest
import trustme

from bridge.loop import Loop, fastest

LOOPS = [pytest.param(Loop, id="asyncio"), pytest.param(fastest(), id="uvloop")]
NAME = "tactium.example"

type_of_loop = pytest.mark.parametrize("loop", LOOPS)


def test_uvloop_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is here; and without it, asyncio's does."""
    assert "uvloop" in {base.__module__.split(".")[0] for base in fastest().__mro__}
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert fastest() is Loop


@type_of_loop
def test_a_name_is_resolved(loop: type[asyncio.AbstractEventLoop]) -> None:
    """As by any other loop, and what is wrong with it is raised."""

    async def resolve(name: str) -> Any:
        return await asyncio.get_running_loop().getaddrinfo(name, 80, type=socket.SOCK_STREAM)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert ("127.0.0.1", 80) in {found[4] for found in runner.run(resolve("127.0.0.1"))}
        with pytest.raises(OSError):  # noqa: PT011 - each system has its own words
            runner.run(resolve("no.such.host.invalid"))


@type_of_loop
def test_a_name_server_that_does_not_answer_holds_up_nobody(
    loop: type[asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gives up waiting for a connection can go, and so can the loop."""
    answer = threading.Event()
    asked: list[str] = []

    def ask(name: str, *_: object, **__: object) -> None:
        asked.append(name)
        answer.wait(60)

    monkeypatch.setattr(socket, "getaddrinfo", ask)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.open_connection(NAME, 34025)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(give_up())
    assert asked == [NAME]
    assert not answer.is_set()  # it is waited for still, and not by us
    answer.set()


@type_of_loop
def test_each_address_of_a_name_is_tried(
    loop: type[asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one answers; where none does, it says so."""
    addresses = ["127.0.0.2", "127.0.0.1"]

    def resolve(_: str, port: int, *__: object, **___: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    async def connect() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        reader, writer = await asyncio.open_connection(NAME, port)
        assert await reader.read() == b""
        writer.close()
        server.close()
        await server.wait_closed()
        with pytest.raises(OSError, match=r"refused|failed"):
            await asyncio.open_connection(NAME, port)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(connect())


@type_of_loop
def test_a_certificate_is_held_against_the_name(
    loop: type[asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the name that was asked for that counts, not the address that it has."""
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(ours)
    authority.issue_cert(NAME).configure_cert(theirs)

    def resolve(_: str, port: int, *__: object, **___: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def connect() -> None:
        server = await asyncio.start_server(
            lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=theirs
        )
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        _, writer = await asyncio.open_connection(NAME, port, ssl=ours)
        writer.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("another.example", port, ssl=ours)
        server.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(connect())
