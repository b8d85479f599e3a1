"""What a caller gives is looked at before anything is sent: each error names what was wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

import orjson
from yarl import URL

from bridge.errors import BridgeError, Flaw, InvalidCommand
from bridge.settings import broker_nodes

LONGEST_BYTES = 255
"""Of a name in AMQP: a queue's, a routing key, a message's id."""

MOST_PREFETCHED = 65_535
LONGEST_SECONDS = 4_294_967.0
"""What fits into an expiration, in milliseconds."""

_OPTIONS = {"context", "message_id", "timeout", "trace"}


def checked_nodes(text: Any) -> tuple[URL, ...]:
    """Return the URL of each of RabbitMQ's nodes. Raises `BridgeError` where one is none."""
    try:
        return broker_nodes(text)
    except (ValueError, TypeError, AttributeError):
        raise BridgeError(
            "the url must be amqp://user:password@host:port/vhost, or amqps://"
        ) from None


def checked_moment(since: Any, queue: Any) -> datetime | None:
    """Return from when on events are asked for. Raises `BridgeError` for what is no moment."""
    if since is None:
        return None
    if queue is not None:
        raise BridgeError("since reads the history, which is nobody's queue: give one of the two")
    if isinstance(since, timedelta):
        return datetime.now(UTC) - since
    if isinstance(since, datetime) and since.tzinfo is not None:
        return since
    raise BridgeError(f"since must be an aware datetime, or a timedelta, not {since!r}")


def check_subscription(patterns: tuple[Any, ...], queue: Any, prefetch: Any) -> None:
    """Raise `BridgeError` for what RabbitMQ cannot take."""
    for pattern in patterns:
        if not _is_name(pattern):
            raise BridgeError(f"a pattern must be text of 1 to 255 bytes, not {pattern!r}")
    if queue is not None and not _is_name(queue):
        raise BridgeError(f"a queue's name must be text of 1 to 255 bytes, not {queue!r}")
    if type(prefetch) is not int or not 1 <= prefetch <= MOST_PREFETCHED:
        raise BridgeError(f"prefetch must be from 1 to {MOST_PREFETCHED}, not {prefetch!r}")


def check_options(options: Mapping[str, Any]) -> None:
    """Raise `InvalidCommand` for an option with a value that will not do."""
    unknown = options.keys() - _OPTIONS
    if unknown:
        raise InvalidCommand([Flaw(name, "there is no such option") for name in sorted(unknown)])
    timeout, message_id = options.get("timeout", 1.0), options.get("message_id")
    if (
        not isinstance(timeout, int | float)
        or not isfinite(timeout)
        or not 0 < timeout <= LONGEST_SECONDS
    ):
        raise InvalidCommand([Flaw("timeout", "must be a number of seconds over 0")])
    if message_id is not None and not _is_name(message_id):
        raise InvalidCommand([Flaw("message_id", "must be text of 1 to 255 bytes")])


def as_json(command: Mapping[str, Any]) -> bytes:
    """Return a command as it is sent. Raises `InvalidCommand` where JSON cannot say it."""
    try:
        return orjson.dumps(command)
    except TypeError as error:
        raise InvalidCommand([Flaw("", f"cannot be written as JSON: {error}")]) from None


def _is_name(given: Any) -> bool:
    try:
        return isinstance(given, str) and 1 <= len(given.encode()) <= LONGEST_BYTES
    except UnicodeEncodeError:
        return False
