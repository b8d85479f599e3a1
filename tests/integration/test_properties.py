"""Messages whose properties no library likes to read: answered, and in nobody's way."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import aiormq
import pytest
from aiormq.abc import ChannelFrame
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from tests.integration.site import Site

NOW = datetime(2026, 11, 22, tzinfo=UTC)
YEAR_54000 = struct.pack(">Q", int(NOW.timestamp() * 1_000_000))  # somebody wrote microseconds
NOT_UTF8 = b"\xff\xe9\xfe\xff"


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        pytest.param(b"\x04xxxx", b"\x04" + NOT_UTF8, id="a correlation id that is no UTF-8"),
        pytest.param(struct.pack(">Q", int(NOW.timestamp())), YEAR_54000, id="a time far off"),
        pytest.param(b"S\0\0\0\x04vvvv", b"T" + YEAR_54000, id="a time far off in a header"),
        pytest.param(b"\x04kkkk", b"\x04" + NOT_UTF8, id="a header's name that is no UTF-8"),
    ],
)
async def test_unreadable_properties_stop_nobody(
    site: Site, written: bytes, instead: bytes
) -> None:
    """Such a command is answered like any other, buried if it must be, and the next one too."""
    for body, outcome in ((b'{"command":"get_status","agent":"ana"}', "ok"), (b"{", "invalid")):
        properties = spec.Basic.Properties(
            correlation_id="xxxx",
            headers={"kkkk": "vvvv"},
            reply_to=site.reply_to,
            timestamp=NOW,
        )
        raw = b"".join(
            marshal(frame, 1)
            for frame in (
                spec.Basic.Publish(routing_key="tactium.commands"),
                ContentHeader(properties=properties, body_size=len(body)),
                ContentBody(body),
            )
        )
        assert raw.count(written) == 1
        connection = await aiormq.connect(site.settings.amqp.url.get_secret_value())
        await connection.channel()
        payload = raw.replace(written, instead)
        await connection.write_queue.put(
            ChannelFrame(payload=payload, should_close=False, drain_future=None)
        )
        _, reply = await site.next_reply()
        await connection.close()
        assert reply["outcome"] == outcome
    assert (await site.ask({"command": "get_status", "agent": "ana"}))["outcome"] == "ok"
