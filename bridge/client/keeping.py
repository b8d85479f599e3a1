"""Staying connected, for as long as somebody needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import cycle

import structlog
from yarl import URL

from bridge.amqp.session import Use, use_connection
from bridge.backoff import delays
from bridge.errors import BrokerDown

log = structlog.get_logger(__name__)


STABLE_SECONDS = 5.0
"""A connection that lasted shorter belongs to the outage before it."""


def _tell_nobody(reason: str) -> None:
    """Let nobody else know."""


async def keep_connected(
    nodes: Sequence[URL],
    name: str,
    use: Use,
    todo: str,
    on_down: Callable[[str], None] = _tell_nobody,
) -> None:
    """Connect and `use` the connection, again after each loss, until cancelled.

    Of several nodes each is tried in turn. Each outage is told once, with what there is
    `todo`; `on_down` hears the reason of each loss. Raises a `BrokerError` where trying
    again cannot help.
    """
    clock = asyncio.get_running_loop().time
    waits = delays()
    is_told = False
    ready_at: float | None = None

    def on_ready() -> None:
        nonlocal ready_at
        ready_at = clock()

    for url in cycle(nodes):
        try:
            await use_connection(url, name, use, on_ready)
        except BrokerDown as error:
            if ready_at is not None and clock() - ready_at > STABLE_SECONDS:
                waits, is_told = delays(), False
            ready_at = None
            on_down(str(error))
            if not is_told:
                is_told = True
                log.warning("broker_down", connection=name, reason=str(error), todo=todo)
        await asyncio.sleep(next(waits))
