"""Reading the properties of messages that other people wrote.

RabbitMQ carries a message's properties without looking at them. The library
ends the whole connection over one that it cannot read (text that is no UTF-8, a
time in the year 50000, a header of an unknown type), and since the message then
comes again and again, one careless commander could keep every other from being
heard. So what cannot be read is read as well as it can be.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pamqp import decode, encode

Reader = Callable[[bytes], tuple[int, Any]]
"""Returns how many bytes a value took, and the value."""

MOST_HEADER_BYTES = 32 * 1024
"""What is copied of somebody's headers; RabbitMQ takes 128 KiB in all, and cuts who sends more."""

MOST_TRACE_STATE_CHARACTERS = 512
_TRACE_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.{1,200})?"
)

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def read_leniently() -> None:
    """Let the library read any properties, for all connections of this process."""
    decode.METHODS["shortstr"] = _short_text
    decode.METHODS["timestamp"] = _or_else(decode.timestamp, lambda _: (8, NEVER))
    decode.METHODS["table"] = _or_else(decode.field_table, _unreadable_table)


def writable(headers: dict[str, Any]) -> dict[str, Any]:
    """Return somebody's headers where they can be written back, else none."""
    try:
        size = len(encode.field_table(headers))
    except (TypeError, ValueError, OverflowError, RecursionError, struct.error):
        return {}
    return headers if size <= MOST_HEADER_BYTES else {}


def trace_of(headers: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the headers of W3C Trace Context, where a message has them and they are sound."""
    given = headers or {}
    parent, state = given.get("traceparent"), given.get("tracestate")
    if not isinstance(parent, str) or not _TRACE_PARENT.fullmatch(parent):
        return {}
    if not isinstance(state, str) or not 0 < len(state) <= MOST_TRACE_STATE_CHARACTERS:
        return {"traceparent": parent}
    return {"traceparent": parent, "tracestate": state}


def _short_text(data: bytes) -> tuple[int, str]:
    """Read a short string; one that is no UTF-8 gets a `?` for each byte outside ASCII.

    It never grows by that, so it can be written back within the 255 bytes.
    """
    end = 1 + data[0]
    try:
        return end, data[1:end].decode()
    except UnicodeDecodeError:
        return end, data[1:end].decode("ascii", "replace").replace("\N{REPLACEMENT CHARACTER}", "?")


def _or_else(read: Reader, fallback: Reader) -> Reader:
    def lenient(data: bytes) -> tuple[int, Any]:
        try:
            return read(data)
        except Exception:  # noqa: BLE001 - pamqp lets out whatever a stranger's bytes make of it
            return fallback(data)

    return lenient


def _unreadable_table(data: bytes) -> tuple[int, dict[str, Any]]:
    return 4 + int.from_bytes(data[:4]), {}
