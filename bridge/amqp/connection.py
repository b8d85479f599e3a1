"""Keeping a connection to RabbitMQ: connect, use it, and connect again.

Plain connections and a loop of our own, because a robust connection hides when
it reconnects and forgets what failed meanwhile. The loop learns of a loss from
the connection's close callback, the one sign that is always given; whatever was
being done is cancelled then, and done again on the next connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from bridge.backoff import delays
from bridge.errors import BrokerDown, TopologyConflict
from bridge.settings import AmqpSettings

log = structlog.get_logger(__name__)

CLOSE_TIMEOUT_SECONDS = 2.0

FOREIGN = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)
"""All that the library raises where the broker, the network or a channel fails."""

Use = Callable[[AbstractConnection, Callable[[], None]], Coroutine[Any, Any, None]]
"""Uses a connection until it is lost; calls its second argument once all is set up."""


async def keep_connected(purpose: str, settings: AmqpSettings, use: Use) -> None:
    """Connect and `use` the connection, again after each loss, until cancelled.

    `purpose` names the connection, here and in RabbitMQ's own lists. What goes
    wrong is logged when it changes, not at each try.
    """
    waits = delays()
    complaint = ""

    def on_ready() -> None:
        nonlocal waits, complaint
        waits, complaint = delays(), ""
        log.info("broker_up", connection=purpose)

    while True:
        try:
            await _connect_and_use(purpose, settings, use, on_ready)
        except (BrokerDown, TopologyConflict) as error:
            if str(error) != complaint:
                complaint = str(error)
                conflict = isinstance(error, TopologyConflict)
                report = log.error if conflict else log.warning
                report("broker_down", connection=purpose, reason=complaint)
        await asyncio.sleep(next(waits))


async def _connect_and_use(
    purpose: str, settings: AmqpSettings, use: Use, on_ready: Callable[[], None]
) -> None:
    """Use one connection until it fails. Raises `BrokerDown` or `TopologyConflict`."""
    try:
        connection = await aio_pika.connect(
            settings.url.get_secret_value(),
            timeout=settings.connect_timeout_seconds,
            heartbeat=settings.heartbeat_seconds,
            client_properties={"connection_name": f"tactium-bridge {purpose}"},
        )
    except FOREIGN as error:
        raise BrokerDown(_words(error)) from error
    lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def on_close(_connection: object, error: BaseException | None) -> None:
        if not lost.done():
            lost.set_result(error)

    connection.close_callbacks.add(on_close)
    using = asyncio.create_task(use(connection, on_ready))
    try:
        await asyncio.wait((using, lost), return_when=asyncio.FIRST_COMPLETED)
    finally:
        using.cancel()
        await asyncio.wait((using,), timeout=CLOSE_TIMEOUT_SECONDS)
        await _close(connection)
    _raise_why(using, lost)


def _raise_why(using: asyncio.Task[None], lost: asyncio.Future[BaseException | None]) -> None:
    """Raise what ended the use of a connection, in the bridge's own terms.

    A library that loses its connection cancels whoever waits for it, so a task
    cancelled by itself says nothing but that.
    """
    cause = None if using.cancelled() or not using.done() else using.exception()
    if cause is not None and not isinstance(cause, FOREIGN):
        raise cause
    reason = cause or (lost.result() if lost.done() else None)
    raise BrokerDown(_words(reason)) from reason


async def _close(connection: AbstractConnection) -> None:
    """Close politely, but not for long: a half-open peer never answers."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await connection.close()
    except FOREIGN:
        log.debug("broker_close_failed")


def _words(error: BaseException | None) -> str:
    return str(error) or type(error).__name__ if error else "the connection was lost"
