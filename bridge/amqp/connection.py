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

import structlog
from aio_pika import Connection
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from bridge.backoff import delays
from bridge.core.ports import Observer
from bridge.errors import BrokerDown, BrokerError, BrokerRefused, TopologyConflict
from bridge.settings import AmqpSettings

log = structlog.get_logger(__name__)

CLOSE_TIMEOUT_SECONDS = 0.5
SET_UP_TIMEOUT_SECONDS = 10.0
"""A node that is just recovering takes connections and then does not answer for a while."""

FOREIGN = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)
"""All that the library raises where the broker, the network or a channel fails."""

_REFUSALS = (
    AuthenticationError,
    ProbableAuthenticationError,
    ConnectionNotAllowed,
    ChannelAccessRefused,
)

Use = Callable[[AbstractConnection, Callable[[], None]], Coroutine[Any, Any, None]]
"""Uses a connection until it is lost; calls its second argument once all is set up."""


class Health:
    """Whether the connections under these names work; says so when that changes.

    A line for each new kind of trouble, not for each try and not for each of
    the connections that one dead broker takes away.
    """

    def __init__(self, observer: Observer, *names: str) -> None:
        self._observer = observer
        self._missing = set(names)
        self._troubles: set[type[BrokerError]] = set()

    def works(self, name: str) -> None:
        """Note that a connection is set up."""
        self._missing.discard(name)
        if not self._missing:
            self._troubles.clear()
            log.info("broker_up")
            self._observer.changed("broker", ok=True, reason="connected")

    def fails(self, name: str, error: BrokerError) -> None:
        """Note that a connection is lost, or could not be made."""
        self._missing.add(name)
        self._observer.changed("broker", ok=False, reason=str(error))
        if type(error) not in self._troubles:
            self._troubles.add(type(error))
            report = log.warning if isinstance(error, BrokerDown) else log.error
            report("broker_down", connection=name, reason=str(error), todo=_ADVICE[type(error)])


_ADVICE: dict[type[BrokerError], str] = {
    BrokerDown: "see that RabbitMQ runs and that amqp.url leads to it; it is tried again",
    BrokerRefused: "give the user in amqp.url its password and its permissions",
    TopologyConflict: "delete what differs once it is empty, or set another amqp.prefix",
}


async def keep_connected(name: str, settings: AmqpSettings, health: Health, use: Use) -> None:
    """Connect and `use` the connection, again after each loss, until cancelled.

    `name` is the connection's, here and in RabbitMQ's own lists.
    """
    waits = delays()

    def on_ready() -> None:
        nonlocal waits
        waits = delays()
        health.works(name)

    while True:
        try:
            await _connect_and_use(name, settings, use, on_ready)
        except BrokerError as error:
            health.fails(name, error)
        await asyncio.sleep(next(waits))


async def _connect_and_use(
    name: str, settings: AmqpSettings, use: Use, on_ready: Callable[[], None]
) -> None:
    """Use one connection until it fails. Raises a `BrokerError`."""
    connection = Connection(
        URL(settings.url.get_secret_value()).update_query(heartbeat=settings.heartbeat_seconds),
        client_properties={"connection_name": f"tactium-bridge {name}"},
    )
    try:
        await connection.connect(timeout=settings.connect_timeout_seconds)
    except Exception as error:  # whoever answers there need not speak AMQP
        await _close(connection)  # or it would close itself, at no time that anyone chose
        raise translated(error) from error
    lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def on_close(_connection: object, error: BaseException | None) -> None:
        if not lost.done():
            lost.set_result(error)

    connection.close_callbacks.add(on_close)
    ready = asyncio.Event()

    def on_set_up() -> None:
        ready.set()
        on_ready()

    using = asyncio.create_task(use(connection, on_set_up))
    try:
        await asyncio.wait(
            (using, lost),
            timeout=SET_UP_TIMEOUT_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not (ready.is_set() or using.done() or lost.done()):
            raise BrokerDown(f"no channel or queue was set up within {SET_UP_TIMEOUT_SECONDS:g} s")
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
    if isinstance(cause, BrokerError):
        raise cause
    if cause is not None and not isinstance(cause, FOREIGN):
        log.error("broker_use_failed", exc_info=cause, todo="report this as a bug")
    reason = cause or (lost.result() if lost.done() else None)
    raise translated(reason) from reason


async def _close(connection: AbstractConnection) -> None:
    """Close politely, but not for long: a half-open peer never answers."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await connection.close()
    except Exception as error:  # noqa: BLE001 - it is gone all the same
        log.debug("broker_close_failed", reason=str(error))


def translated(error: BaseException | None) -> BrokerError:
    """Return what the library raised, in the bridge's own terms."""
    if isinstance(error, InvalidFrameError) and "OpenOk" in str(error):  # a Close came instead
        return BrokerRefused("its vhost is not there, or this user may not use it")
    words = str(error) or type(error).__name__ if error else "the connection was lost"
    return BrokerRefused(words) if isinstance(error, _REFUSALS) else BrokerDown(words)
