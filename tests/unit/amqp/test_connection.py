"""A broker of several nodes is away when none of them can be used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from yarl import URL

from bridge.amqp import connection
from bridge.amqp.connection import Health, keep_connected
from bridge.errors import BrokerDown, BrokerError
from bridge.observe.watch import Watch
from bridge.settings import AmqpSettings


@pytest.fixture
def health() -> Health:
    agents: Any = None
    return Health(
        Watch(site="main", mask=True, max_bytes=1, agents=agents, clock=lambda: datetime.now(UTC)),
        "test",
    )


async def test_one_dead_node_is_no_dead_broker(
    monkeypatch: pytest.MonkeyPatch, health: Health
) -> None:
    """Who goes on alone where RabbitMQ is away must not do so for the first node in the list."""
    tried: list[str] = []
    down: list[int] = []
    usable = {"c"}

    async def use(_connection: AbstractConnection, _on_ready: Callable[[], None]) -> None:
        pytest.fail("nothing is connected")

    async def use_connection(
        url: URL, _name: str, _use: Any, on_ready: Callable[[], None], **_: Any
    ) -> None:
        tried.append(url.host or "")
        if url.host in usable:
            usable.clear()
            on_ready()
        if len(tried) == 9:
            raise asyncio.CancelledError
        raise BrokerDown("it is not there")

    async def on_down(_: BrokerError) -> None:
        down.append(len(tried))

    monkeypatch.setattr(connection, "use_connection", use_connection)
    settings = AmqpSettings(url="amqp://a,amqp://b,amqp://c")  # type: ignore[arg-type]
    with suppress(asyncio.CancelledError):
        await keep_connected("test", settings, health, use, on_down, first_seconds=0.01)
    assert tried == ["a", "b", "c"] * 3
    assert down == [6]
