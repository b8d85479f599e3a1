"""Staying connected, for as long as somebody needs it."""

from __future__ import annotations

import asyncio

import structlog
from yarl import URL

from bridge.amqp.session import Use, use_connection
from bridge.backoff import delays
from bridge.errors import BrokerDown

log = structlog.get_logger(__name__)


async def keep_connected(url: URL, name: str, use: Use, todo: str) -> None:
    """Connect and `use` the connection, again after each loss, until cancelled.

    Each outage is told once, with what there is `todo`. Raises a `BrokerError`
    where trying again cannot help.
    """
    waits = delays()
    is_told = False

    def on_ready() -> None:
        nonlocal waits, is_told
        waits, is_told = delays(), False

    while True:
        try:
            await use_connection(url, name, use, on_ready)
        except BrokerDown as error:
            if not is_told:
                is_told = True
                log.warning("broker_down", connection=name, reason=str(error), todo=todo)
        await asyncio.sleep(next(waits))
