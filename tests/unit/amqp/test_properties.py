"""Reading and writing back the headers of other people's messages."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pamqp import decode

from bridge.amqp.properties import read_leniently, trace_of, writable

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def nested(depth: int) -> bytes:
    """Return a table within a table within a table."""
    table = b""
    for _ in range(depth):
        table = b"\x01hF" + struct.pack(">I", len(table)) + table
    return struct.pack(">I", len(table)) + table


def test_a_table_nested_without_end_is_read_as_none() -> None:
    """It takes all its bytes with it, so that what follows can be read."""
    read_leniently()
    deep = nested(600)
    assert decode.METHODS["table"](deep + b"rest") == (len(deep), {})
    shallow = nested(2)
    assert decode.METHODS["table"](shallow + b"rest") == (len(shallow), {"h": {"h": {}}})


def test_headers_that_cannot_be_written_back_are_left_out() -> None:
    """Too deep, too large, of no type that AMQP has."""
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"h": deep}
    assert writable(deep) == {}
    assert writable({"h": "x" * 100_000}) == {}
    assert writable({"h": object()}) == {}
    assert writable({"h": "x"}) == {"h": "x"}


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        (None, {}),
        ({}, {}),
        ({"traceparent": PARENT}, {"traceparent": PARENT}),
        (
            {"traceparent": PARENT, "tracestate": "a=1"},
            {"traceparent": PARENT, "tracestate": "a=1"},
        ),
        ({"traceparent": PARENT, "tracestate": 7}, {"traceparent": PARENT}),
        ({"traceparent": PARENT, "tracestate": "x" * 513}, {"traceparent": PARENT}),
        ({"traceparent": "<jose>"}, {}),
        ({"traceparent": PARENT + "\n"}, {}),
        ({"traceparent": 7}, {}),
        ({"tracestate": "a=1"}, {}),
    ],
)
def test_a_trace_is_taken_where_it_is_sound(
    headers: dict[str, Any] | None, trace: dict[str, str]
) -> None:
    """And nothing else of what somebody put there."""
    assert trace_of(headers) == trace
