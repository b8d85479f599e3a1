"""Messages as the bytes of AMQP 0-9-1: what the library would write, many times as fast.

Each message is a method frame (Basic.Publish), a header frame with its properties,
and as many body frames as its size takes. The tests hold the bytes to those that
the library writes.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from bridge.amqp.outbox import PERSISTENT
from bridge.messages.envelope import APP_ID, CONTENT_TYPE, Sealed, trace_headers

_FRAME = struct.Struct(">BHI")  # kind, channel, size
_METHOD, _HEADER, _BODY = 1, 2, 3
_END = b"\xce"
_FRAME_BYTES = _FRAME.size + len(_END)
_PUBLISH = struct.pack(">HHH", 60, 40, 0)  # Basic.Publish, and a field that is not used
_NOT_MANDATORY = b"\0"
_CONTENT = struct.Struct(">HHQH")  # class, weight, size of the body, which properties follow
_TIME = struct.Struct(">Q")

# Which properties are there: content type, delivery mode, message id, time, type, app id.
_PROPERTIES = 1 << 15 | 1 << 12 | 1 << 7 | 1 << 6 | 1 << 5 | 1 << 3
_AND_HEADERS = _PROPERTIES | 1 << 13


def publish(message: Sealed, exchange: str, channel: int, frame_max: int, *, late: bool) -> bytes:
    """Return the bytes that publish a message to an exchange, on a channel.

    `frame_max` is the size of the largest frame that the broker takes, as it said.
    """
    method = b"".join((_prefix(exchange), _short(message.routing_key), _NOT_MANDATORY))
    headers = _table(message, late=late)
    body = message.body
    content = b"".join(
        (
            _CONTENT.pack(60, 0, len(body), _AND_HEADERS if headers else _PROPERTIES),
            _CONTENT_TYPE,
            headers,
            _DELIVERY_MODE,
            _short(message.id),
            _TIME.pack(int(message.time.timestamp())),
            _short(message.type),
            _APP_ID,
        )
    )
    frames = [_frame(_METHOD, channel, method), _frame(_HEADER, channel, content)]
    most = frame_max - _FRAME_BYTES
    frames += [_frame(_BODY, channel, body[at : at + most]) for at in range(0, len(body), most)]
    return b"".join(frames)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME.pack(kind, channel, len(payload)) + payload + _END


def _short(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(1, "big") + data


def _table(message: Sealed, *, late: bool) -> bytes:
    """Return the headers, nothing where there are none."""
    if not late and message.trace is None:
        return b""
    fields = [_LATE] if late else []
    for name, value in trace_headers(message.trace).items():
        data = value.encode()
        fields.append(_short(name) + b"S" + struct.pack(">I", len(data)) + data)
    table = b"".join(fields)
    return struct.pack(">I", len(table)) + table


@lru_cache(maxsize=16)
def _prefix(exchange: str) -> bytes:
    return _PUBLISH + _short(exchange)


_CONTENT_TYPE = _short(CONTENT_TYPE)
_DELIVERY_MODE = bytes([PERSISTENT])
_APP_ID = _short(APP_ID)
_LATE = _short("late") + b"t\x01"
