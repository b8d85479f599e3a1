"""One connection to RabbitMQ, used until it is lost.

Plain connections, because a robust one hides when it reconnects and forgets what
failed meanwhile. A loss is learnt from the connection's close callback, the one
sign that is always given; whatever was being done is cancelled then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aio_pika import Connection
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
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

from bridge.amqp.express import DirectTransport
from bridge.errors import BrokerDown, BrokerError, BrokerRefused

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 5.0
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

BLOCKED_SECONDS = 0.05
"""What is not ready at once is blocked: the library says it in no other way."""

KHEPRI = [4, 2]
"""The version of RabbitMQ that has it, unless it was upgraded and told not to."""

Use = Callable[[AbstractConnection, Callable[[], None]], Coroutine[Any, Any, None]]
"""Uses a connection until it is lost; calls its second argument once all is set up."""


async def use_connection(
    url: URL,
    name: str,
    use: Use,
    on_ready: Callable[[], None],
    *,
    timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
) -> None:
    """Make one connection and use it until it is lost. Raises a `BrokerError`.

    `name` is shown in RabbitMQ's own lists; `on_ready` is called once all is set up.
    """
    connection = await open_connection(url, name, timeout_seconds=timeout_seconds)
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
        await close_connection(connection)
    _raise_why(using, lost)


async def open_connection(
    url: URL, name: str, *, timeout_seconds: float = CONNECT_TIMEOUT_SECONDS
) -> AbstractConnection:
    """Return a connection that is shown under the name. Raises a `BrokerError`."""
    connection = Connection(url, client_properties={"connection_name": f"tactium-bridge {name}"})
    direct = DirectTransport(connection)
    try:
        await connection.connect(timeout=timeout_seconds)
        direct.shorten()
    except BaseException as error:  # whoever answers there need not speak AMQP
        await close_connection(connection)  # or it would close itself, at no time anyone chose
        if isinstance(error, Exception):
            raise translated(error) from error
        raise
    if is_cancelled():  # Python 3.11 loses what comes as it connects
        await close_connection(connection)
        raise asyncio.CancelledError
    return connection


def keeps_lost_queues(connection: AbstractConnection) -> bool:
    """Return whether the broker keeps the exclusive queues of a node that is lost.

    RabbitMQ does from 4.2 on, where it has its metadata in Khepri, until the node is back.
    """
    transport = connection.transport
    said = transport.connection.server_properties if transport is not None else {}
    version = said.get("version", b"")
    words = version.decode() if isinstance(version, bytes) else str(version)
    numbers = [int(each) for each in words.split(".")[:2] if each.isdecimal()]
    return numbers >= KHEPRI


async def is_blocked(channel: AbstractChannel) -> bool:
    """Return whether the broker takes nothing for now, for want of memory or disk."""
    try:
        async with asyncio.timeout(BLOCKED_SECONDS):
            await channel.connection.ready()
    except TimeoutError:
        return True
    return False


def is_cancelled() -> bool:
    """Return whether somebody cancels the present task.

    Where nobody does, a `CancelledError` is the library's, which lost its connection.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def close_connection(connection: AbstractConnection) -> None:
    """Close politely, but not for long: a half-open peer never answers."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await connection.close()
    except Exception as error:  # noqa: BLE001 - it is given up, whatever the library makes of that
        log.debug("broker_close_failed", reason=str(error))
    finally:
        await connection.close()  # marks closed what was given up half-way, and does nothing else


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


def translated(error: BaseException | None) -> BrokerError:
    """Return what the library raised, in the bridge's own terms."""
    if isinstance(error, InvalidFrameError) and "OpenOk" in str(error):  # a Close came instead
        return BrokerRefused("its vhost is not there, or this user may not use it")
    words = str(error) or type(error).__name__ if error else "the connection was lost"
    return BrokerRefused(words) if isinstance(error, _REFUSALS) else BrokerDown(words)
