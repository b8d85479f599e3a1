"""The composition root: the one place where adapters meet the core."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import structlog
from ulid import ULID

from bridge.amqp import consumer, publisher
from bridge.amqp.connection import Health
from bridge.amqp.consumer import Consumer
from bridge.amqp.outbox import Outbox
from bridge.amqp.publisher import Publisher
from bridge.amqp.topology import Topology
from bridge.core.bridge import Bridge
from bridge.journal.durable import DurableJournal
from bridge.links.tcp import TcpLink
from bridge.messages.envelope import Envelope
from bridge.settings import Settings

log = structlog.get_logger(__name__)


def now() -> datetime:
    """Return the present moment, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """Return a fresh id that sorts by time."""
    return str(ULID())


def compose(settings: Settings) -> Bridge:
    """Build a bridge from its settings; nothing is connected yet."""

    def envelope_of(journal_id: str) -> Envelope:
        base_url = settings.events.schema_base_url
        return Envelope(site=settings.site, journal_id=journal_id, schema_base_url=base_url)

    topology = Topology(settings.amqp, settings.commands.ttl_seconds)
    health = Health(publisher.CONNECTION, consumer.CONNECTION)
    outbox = Outbox(topology.dead, settings.amqp.confirm_timeout_seconds)
    return Bridge(
        link=TcpLink(settings.link, now),
        journal=DurableJournal(settings.journal, envelope_of=envelope_of, new_id=new_id, clock=now),
        publisher=Publisher(settings.amqp, topology, outbox, health),
        inbox=Consumer(
            settings.amqp, topology, outbox, health, prefetch=settings.commands.prefetch
        ),
        settings=settings.commands,
        clock=now,
        new_id=new_id,
    )


async def run(settings: Settings) -> None:
    """Run one bridge until SIGTERM or SIGINT, then end it in order."""
    bridge = compose(settings)
    with stopped_by_signals() as stopping:
        log.info("started", site=settings.site, prefix=settings.amqp.prefix)
        await bridge.run(stopping)
        log.info("stopped")


@contextmanager
def stopped_by_signals() -> Iterator[asyncio.Event]:
    """Yield an event that SIGTERM and SIGINT set.

    Once it is over the process is about to end, and further signals do nothing.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        yield stopping
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Do the work until it is done, or until SIGTERM or SIGINT cancel it."""
    with stopped_by_signals() as stopping:
        working = asyncio.create_task(work)
        signalled = asyncio.create_task(stopping.wait())
        await asyncio.wait((working, signalled), return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
