"""What bridges say to each other: that a leader lives, what it knows, and what is asked of it.

It goes over a connection of its own, which nobody's reply holds up, no queue that
confirms nothing, and no burst of events for which RabbitMQ slows down who publishes.
No other connection of those who lead or stand by publishes, so that all of them work
on through an alarm of the broker's, which keeps this one waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic
from ulid_transform import ulid_now

from bridge.amqp.connection import Health, keep_connected
from bridge.amqp.outbox import TRANSIENT
from bridge.amqp.session import FOREIGN, is_blocked, is_cancelled
from bridge.amqp.topology import Topology
from bridge.errors import BrokerDown
from bridge.messages.envelope import APP_ID, CONTENT_TYPE, Sealed
from bridge.settings import AmqpSettings

CONNECTION = "herald"
CONFIRM_SECONDS = 5.0
HURRY_SECONDS = 0.1
"""In which one that was lost is tried again, this or the lock's: another bridge may lead else."""


class Kind(StrEnum):
    """What bridges send each other beside heartbeats; each is a message's type."""

    NOTE = "tactium.note"
    ALL_WANTED = "tactium.all.wanted"  # by one who begins to stand by; what answers it:
    AGENTS = "tactium.agents"
    NOTES = "tactium.notes"
    ALL_TOLD = "tactium.all.told"
    LOOK = "tactium.look"  # it comes back where nobody stands by
    MARK = "tactium.mark"  # that one sends to itself
    EPOCH = "tactium.epoch"


class Herald:
    """Owns the connection over which a bridge speaks to others."""

    def __init__(self, settings: AmqpSettings, topology: Topology, health: Health) -> None:
        self._settings = settings.for_leading
        self._topology = topology
        self._health = health
        self._useless: asyncio.Future[str] | None = None  # why a connection is, once it is
        self._unconfirmed: AbstractChannel | None = None
        self._confirmed: AbstractChannel | None = None

    def __repr__(self) -> str:
        return f"<Herald: {'attached' if self._confirmed else 'not attached'}>"

    async def run(self) -> None:
        """Be able to speak, over as many connections as it takes, until cancelled."""
        await keep_connected(
            CONNECTION, self._settings, self._health, self._speak, first_seconds=HURRY_SECONDS
        )

    async def _speak(self, connection: AbstractConnection, on_ready: Callable[[], None]) -> None:
        """Be able to speak for as long as the connection lasts."""
        beats = await connection.channel(publisher_confirms=False)
        await self._topology.declare_leading(beats)
        unconfirmed = await beats.get_underlay_channel()
        notes = await connection.channel(on_return_raises=True)
        confirmed = await notes.get_underlay_channel()
        useless = self._useless = asyncio.get_running_loop().create_future()
        self.attach(unconfirmed, confirmed)
        on_ready()
        try:
            ended, _ = await asyncio.wait(
                {unconfirmed.closing, confirmed.closing, useless},
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._useless = None
            self.attach(None, None)
        for each in ended - {useless}:
            each.result()  # raises why
        raise BrokerDown(useless.result() if useless.done() else "the broker closed a channel")

    def renew(self, reason: str) -> None:
        """Speak over another connection, since this one is of no use."""
        if self._useless is not None and not self._useless.done():
            self._useless.set_result(reason)

    def attach(
        self, unconfirmed: AbstractChannel | None, confirmed: AbstractChannel | None
    ) -> None:
        """Speak through these channels from now on; None where there are none."""
        self._unconfirmed, self._confirmed = unconfirmed, confirmed

    async def is_blocked(self) -> bool:
        """Return whether the broker is there and takes nothing: an alarm of its is on."""
        return self._confirmed is not None and await is_blocked(self._confirmed)

    async def beat(self, exchange: str, sealed: Sealed) -> None:
        """Send a heartbeat, and wait for nobody to have it. Raises `BrokerDown`."""
        properties = _properties(sealed.type, sealed.id, CONTENT_TYPE)
        await _publish(self._unconfirmed, exchange, sealed.routing_key, sealed.body, properties)

    async def tell(
        self,
        exchange: str,
        queue: str,
        body: bytes,
        *,
        kind: str,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        delivery_mode: int = TRANSIENT,
    ) -> None:
        """Tell an exchange's queues, or one `queue`, and have it confirmed.

        Raises `BrokerDown` where there is no connection, it is lost, or nothing is
        confirmed.
        """
        properties = _properties(kind, ulid_now(), "application/json")
        properties.correlation_id = correlation_id
        properties.reply_to = reply_to
        properties.delivery_mode = delivery_mode
        await _publish(self._confirmed, exchange, queue, body, properties)

    async def reaches_any(self, exchange: str, *, kind: str) -> bool:
        """Return whether any queue is bound there. Raises `BrokerDown` as `tell` does."""
        properties = _properties(kind, ulid_now(), "application/json")
        return await _publish(self._confirmed, exchange, "", b"", properties, mandatory=True)


def _properties(kind: str, message_id: str, content_type: str) -> Basic.Properties:
    return Basic.Properties(
        content_type=content_type,
        delivery_mode=TRANSIENT,
        message_id=message_id,
        timestamp=datetime.now(UTC),
        message_type=kind,
        app_id=APP_ID,
    )


async def _publish(
    channel: AbstractChannel | None,
    exchange: str,
    routing_key: str,
    body: bytes,
    properties: Basic.Properties,
    *,
    mandatory: bool = False,
) -> bool:
    """Publish, confirmed where the channel does that. Raises `BrokerDown`.

    Returns whether it did not come back, as what is `mandatory` and reaches no queue does.
    """
    if channel is None or channel.is_closed:
        raise BrokerDown("no connection to publish on")
    try:
        await channel.basic_publish(
            body,
            exchange=exchange,
            routing_key=routing_key,
            properties=properties,
            mandatory=mandatory,
            timeout=CONFIRM_SECONDS,
        )
    except PublishError:
        return False
    except (DeliveryError, *FOREIGN) as error:
        raise BrokerDown(str(error)) from error
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        raise BrokerDown("the connection was lost before the confirm") from None
    return True
