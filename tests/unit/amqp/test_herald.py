"""What a leader says is confirmed, or it is known that it was not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from pamqp.commands import Basic

from bridge.amqp.herald import Herald
from bridge.errors import BrokerDown
from bridge.settings import AmqpSettings


def herald(publish: Any) -> Herald:
    channel: Any = SimpleNamespace(basic_publish=publish, is_closed=False)
    nothing: Any = None  # it needs none of these, being attached
    speaking = Herald(AmqpSettings(), nothing, nothing)
    speaking.attach(channel, channel)
    return speaking


async def test_a_lost_connection_is_no_cancellation() -> None:
    """The library cancels whoever waits for a confirm: an agent's commands wait behind that."""

    async def publish(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(BrokerDown):
        await herald(publish).tell("standbys", "", b"", kind="note")


async def test_who_is_cancelled_is() -> None:
    begun = asyncio.Event()

    async def publish(*_: Any, **__: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    telling = asyncio.create_task(herald(publish).tell("standbys", "", b"", kind="note"))
    await begun.wait()
    telling.cancel()
    await asyncio.wait((telling,))
    assert telling.cancelled()


async def test_each_message_has_an_id_of_its_own() -> None:
    """By that the library finds out which of them came back."""
    ids: list[str | None] = []

    async def publish(*_: Any, properties: Basic.Properties, **__: Any) -> None:
        ids.append(properties.message_id)

    speaking = herald(publish)
    await speaking.tell("standbys", "", b"", kind="note")
    await speaking.tell("standbys", "", b"", kind="note")
    assert await speaking.reaches_any("standbys", kind="look")
    assert len({*ids} - {None}) == 3
