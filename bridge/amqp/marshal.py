"""Messages as the bytes of AMQP 0-9-1: what the library would write, many times as fast.

Each message is a method frame (Basic.Publish), a header frame with its properties,
and as many body frames as its size takes. The tests hold the bytes to those that
the library writes.
"""

from __future__ import annotations

import struct
from datetime import datetime
from functools import lru_cache

from bridge.amqp.outbox import PERSISTENT
from bridge.messages.envelope import APP_ID, CONTENT_TYPE, Sealed
from bridge.messages.trace import trace_headers

_FRAME = struct.Struct(">BHI")  # kind, channel, size
_METHOD, _HEADER, _BODY = 1, 2, 3
_END = b"\xce"
_FRAME_BYTES = _FRAME.size + len(_END)
_PUBLISH = struct.pack(">HHH", 60, 40, 0)  # Basic.Publish, and a field that is not used
_LENGTH = [bytes([size]) for size in range(256)]
_NOT_MANDATORY_END = b"\0" + _END
_CONTENT = struct.Struct(">BHIHHQH")  # a frame; class, weight, size of the body, properties
_CONTENT_BYTES = _CONTENT.size - _FRAME.size

# Which properties are there: content type, delivery mode, message id, time, type, app id.
_PROPERTIES = 1 << 15 | 1 << 12 | 1 << 7 | 1 << 6 | 1 << 5 | 1 << 3
_AND_HEADERS = _PROPERTIES | 1 << 13


def publish(message: Sealed, exchange: str, channel: int, frame_max: int, *, late: bool) -> bytes:
    """Return the bytes that publish a message to an exchange, on a channel.

    `frame_max` is the size of the largest frame that the broker takes, as it said.
    """
    prefix, key = _prefix(exchange), _short(message.routing_key)
    before = _CONTENT_TYPE
    if late or message.trace is not None:
        before += _table(message, late=late)
    after = _short(message.id) + _time(message.time) + _kind(message.type)
    flags = _PROPERTIES if before is _CONTENT_TYPE else _AND_HEADERS
    body, most = message.body, frame_max - _FRAME_BYTES
    content_bytes = _CONTENT_BYTES + len(before) + len(_DELIVERY_MODE) + len(after)
    frames = [
        _FRAME.pack(_METHOD, channel, len(prefix) + len(key) + 1),
        prefix,
        key,
        _NOT_MANDATORY_END,
        _CONTENT.pack(_HEADER, channel, content_bytes, 60, 0, len(body), flags),
        before,
        _DELIVERY_MODE,
        after,
        _END,
    ]
    if 0 < len(body) <= most:
        return b"".join((*frames, *_body(channel, body)))
    for at in range(0, len(body), most):
        frames += _body(channel, body[at : at + most])
    return b"".join(frames)


def _body(channel: int, part: bytes) -> tuple[bytes, bytes, bytes]:
    return _FRAME.pack(_BODY, channel, len(part)), part, _END


def _short(text: str) -> bytes:
    data = text.encode()
    return _LENGTH[len(data)] + data


def _table(message: Sealed, *, late: bool) -> bytes:
    """Return the headers."""
    fields = [_LATE] if late else []
    for name, value in trace_headers(message.trace).items():
        data = value.encode()
        fields.append(_short(name) + b"S" + struct.pack(">I", len(data)) + data)
    table = b"".join(fields)
    return struct.pack(">I", len(table)) + table


@lru_cache(maxsize=16)
def _prefix(exchange: str) -> bytes:
    return _PUBLISH + _short(exchange)


@lru_cache(maxsize=256)  # what one read brings has one time
def _time(at: datetime) -> bytes:
    return struct.pack(">Q", int(at.timestamp()))


@lru_cache(maxsize=64)
def _kind(name: str) -> bytes:
    return _short(name) + _APP_ID


_CONTENT_TYPE = _short(CONTENT_TYPE)
_DELIVERY_MODE = bytes([PERSISTENT])
_APP_ID = _short(APP_ID)
_LATE = _short("late") + b"t\x01"
