"""A connection is closed however its use ends: one left open warns at a time of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from aio_pika import Connection
from aio_pika.abc import AbstractConnection
from yarl import URL

from bridge.amqp import session
from bridge.errors import BrokerDown


@pytest_asyncio.fixture
async def silent() -> AsyncIterator[URL]:
    """One that takes connections and says nothing."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield URL.build(scheme="amqp", host=host, port=port)
    server.close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """All connections that are made."""
    found: list[Connection] = []

    def make(*args: Any, **options: Any) -> Connection:
        found.append(Connection(*args, **options))
        return found[-1]

    monkeypatch.setattr(session, "Connection", make)
    return found


async def _use(_connection: AbstractConnection, _on_set_up: Callable[[], None]) -> None:
    pytest.fail("there is nothing to be used")


async def test_it_is_closed_when_nobody_answers(silent: URL, made: list[Connection]) -> None:
    with pytest.raises(BrokerDown):
        await session.use_connection(silent, "test", _use, print, timeout_seconds=0.1)
    assert [connection.is_closed for connection in made] == [True]


async def test_it_is_closed_when_whoever_waits_gives_up(
    silent: URL, made: list[Connection]
) -> None:
    waiting = asyncio.create_task(session.use_connection(silent, "test", _use, print))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [connection.is_closed for connection in made] == [True]


async def test_a_cancellation_as_it_connects_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a bridge that is stopped in that moment would never end."""

    async def connect(_self: Connection, timeout: float) -> None:  # noqa: ASYNC109 - as it has it
        del timeout
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    monkeypatch.setattr(Connection, "connect", connect)
    opening = asyncio.create_task(session.open_connection(URL("amqp://127.0.0.1:1/"), "test"))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
