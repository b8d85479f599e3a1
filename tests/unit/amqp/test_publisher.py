"""The publisher's short way: what was just committed goes out at once, and what it looks like."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiormq import Channel
from aiormq.abc import ChannelFrame

from bridge.amqp import publisher
from bridge.amqp.express import Shortcut
from bridge.amqp.marshal import publish
from bridge.amqp.publisher import FEW, _Flow
from bridge.messages.envelope import Sealed
from bridge.settings import AmqpSettings
from tests.unit.amqp.conftest import Writer

FRAME_MAX = 131_072
CHANNEL = 3


def message(sequence: int, body: bytes = b"{}") -> Sealed:
    now = datetime.now(UTC)
    return Sealed(sequence, "events", "ana.x", f"J-{sequence}", "tactium.x", now, body)


def on_the_wire(*messages: Sealed, late: bool = False) -> bytes:
    exchange = "tactium.events"
    return b"".join(publish(m, exchange, CHANNEL, FRAME_MAX, late=late) for m in messages)


class Journal:
    """One that has nothing to read: all of it is offered."""

    settled = 0

    async def read(self, after: int, most: int) -> list[Sealed]:  # noqa: ARG002 - as the port has it
        """Wait for good."""
        await asyncio.Event().wait()
        return []


@pytest.fixture
async def flow(shortcut: Shortcut) -> Any:
    channel = SimpleNamespace(
        number=CHANNEL,
        delivery_tag=0,
        is_closed=False,
        write_queue=shortcut,
        connection=SimpleNamespace(connection_tune=SimpleNamespace(frame_max=FRAME_MAX)),
    )
    flow = _Flow(
        cast("Channel", channel),
        cast("Any", Journal()),
        cast("Any", SimpleNamespace(exchanges={"events": "tactium.events"})),
        AmqpSettings(),
        cast("Any", None),
        SimpleNamespace(may_publish=True),
        sent_before=0,
    )
    sending = asyncio.create_task(flow.send())
    await asyncio.sleep(0)  # it waits for the journal now
    yield flow
    sending.cancel()
    await asyncio.wait([sending])


async def test_what_was_expected_goes_out(flow: _Flow, writer: Writer) -> None:
    """And what was not expected as well, each once and in order."""
    for sequences, is_expected in (([1], True), ([2, 3], True), ([4], False), ([5], True)):
        messages = [message(sequence) for sequence in sequences]
        if is_expected:
            flow.expect(messages)
        assert flow.take(messages)
        assert writer.written.pop(0) == on_the_wire(*messages)
    assert flow.last_sent == 5
    assert writer.written == []


async def test_what_was_expected_and_is_numbered_anew_does_not(flow: _Flow, writer: Writer) -> None:
    """A commit that failed brings other messages at its next try, under the same numbers."""
    flow.expect([message(1, b'{"first":1}')])
    again = [message(1, b'{"second":1}')]
    assert flow.take(again)
    assert writer.written.pop(0) == on_the_wire(*again)


async def test_what_became_late_while_the_disk_was_waited_for_says_so(
    flow: _Flow, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [message(1)]
    flow.expect(messages)
    monkeypatch.setattr(publisher, "LATE_AFTER", timedelta(0))
    assert flow.take(messages)
    assert writer.written.pop(0) == on_the_wire(*messages, late=True)


async def test_what_is_not_next_or_too_much_is_left(flow: _Flow, writer: Writer) -> None:
    """`send` reads it from the journal."""
    ahead = [message(2)]
    many = [replace(message(n)) for n in range(1, FEW + 2)]
    for messages in (ahead, many):
        flow.expect(messages)
        assert not flow.take(messages)
    assert writer.written == []
    assert flow.last_sent == 0


@pytest.mark.parametrize("way", ["full", "behind another"])
async def test_what_cannot_be_written_at_once_is_left(
    flow: _Flow, queue: asyncio.Queue[ChannelFrame], writer: Writer, way: str
) -> None:
    """`send` reads it from the journal, and waits for its turn."""
    if way == "full":
        writer.is_full = True
        writer.write(b"more than ten")
    else:
        queue.put_nowait(ChannelFrame(payload=b"a heartbeat", should_close=False))
    written = list(writer.written)
    assert not flow.take([message(1)])
    assert (writer.written, flow.last_sent) == (written, 0)
