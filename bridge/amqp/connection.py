"""Keeping a connection to RabbitMQ: connect, use it, and connect again.

What was being done when a connection was lost is done again on the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import cycle

import structlog

from bridge.amqp.session import Use, use_connection
from bridge.backoff import FIRST_SECONDS, delays
from bridge.core.ports import Observer
from bridge.errors import BrokerDown, BrokerError, BrokerRefused, TopologyConflict
from bridge.settings import AmqpSettings

log = structlog.get_logger(__name__)


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
        if name not in self._missing:
            return
        self._missing.discard(name)
        if not self._missing:
            self._troubles.clear()
            log.info("broker_up")
            self._observer.changed("broker", ok=True, reason="connected")

    def expects(self, name: str) -> None:
        """Note that a connection is needed too from now on."""
        self._missing.add(name)

    def spares(self, name: str) -> None:
        """Note that a connection is not needed any more."""
        self._missing.discard(name)

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


async def _tell_nobody(error: BrokerError) -> None:
    """Let nobody else know."""


async def keep_connected(
    name: str,
    settings: AmqpSettings,
    health: Health,
    use: Use,
    on_down: Callable[[BrokerError], Awaitable[None]] = _tell_nobody,
    *,
    first_seconds: float = FIRST_SECONDS,
) -> None:
    """Connect and `use` the connection, again after each loss, until cancelled.

    `name` is the connection's, here and in RabbitMQ's own lists. Of several nodes each
    is tried in turn, and after all of them it is waited. `on_down` hears of each round
    in which none could be used. After a loss it is tried again within `first_seconds`.
    """
    nodes = [url.update_query(heartbeat=settings.heartbeat_seconds) for url in settings.nodes]
    timeout_seconds = settings.connect_timeout_seconds
    waits = delays()
    is_lost = False  # what was ready
    unusable = 0  # nodes in a row

    def on_ready() -> None:
        nonlocal waits, is_lost, unusable
        waits, is_lost, unusable = delays(first_seconds), True, 0
        health.works(name)

    for url in cycle(nodes):
        is_lost = False
        try:
            await use_connection(url, name, use, on_ready, timeout_seconds=timeout_seconds)
        except BrokerError as error:
            health.fails(name, error)
            unusable += not is_lost
            is_round_over = unusable == len(nodes)
            if is_round_over:
                unusable = 0
                await on_down(error)
            await asyncio.sleep(next(waits) if is_round_over or is_lost else 0.0)
