"""One event, as a service receives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from bridge.errors import InvalidEvent
from bridge.messages import events, notices
from bridge.messages.kinds import CLASSES

EventData = events.Event | notices.Notice | dict[str, Any]
"""What happened. A dict where this version of the client does not know the type."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its envelope, and its `data` as an object of the class that its type names.

    `key` is its routing key, `body` the message as it came. `epoch` grows with each
    leadership; a heartbeat has no `sequence`: 0. `late` says that it was
    published over 5 s after it was read; `trace` is what the headers `traceparent`
    and `tracestate` hold.
    """

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    sequence: int
    epoch: int
    data: EventData
    key: str
    body: bytes
    late: bool
    trace: Mapping[str, str]


class _Envelope(BaseModel):
    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    sequence: int = 0
    epoch: int = 0
    data: dict[str, Any]


def read(body: bytes, key: str, headers: Mapping[str, Any]) -> Event:
    """Read an event from a message. Raises `InvalidEvent` for what the bridge never says."""
    try:
        envelope = _Envelope.model_validate_json(body)
        data = _data(envelope.type, envelope.data)
    except ValidationError as error:
        flaw = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in flaw["loc"]) or "the body"
        raise InvalidEvent(f"no event of the bridge, key {key!r}: {where}: {flaw['msg']}") from None
    said = {name: getattr(envelope, name) for name in _Envelope.model_fields if name != "data"}
    del said["specversion"]
    trace = {name: str(headers[name]) for name in ("traceparent", "tracestate") if name in headers}
    return Event(
        **said, data=data, key=key, body=body, late=headers.get("late") is True, trace=trace
    )


def _data(kind: str, data: dict[str, Any]) -> EventData:
    """Return the data of a message as an object; keys that are new are passed over."""
    known = CLASSES.get(kind)
    return data if known is None else _adapter(known).validate_python(data)


@cache
def _adapter(of: type) -> TypeAdapter[EventData]:
    return TypeAdapter(of)
