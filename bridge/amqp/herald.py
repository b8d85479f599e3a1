"""What a leader says beside events and replies: that it lives, and what those who stand by need.

It goes over channels of its own, so that nobody's reply, and no queue that confirms
nothing, keeps a heartbeat or a note from going out.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic
from ulid_transform import ulid_now

from bridge.amqp.outbox import TRANSIENT
from bridge.amqp.session import FOREIGN, is_cancelled
from bridge.errors import BrokerDown
from bridge.messages.envelope import APP_ID, CONTENT_TYPE, Sealed

CONFIRM_SECONDS = 5.0


class Herald:
    """Speaks for as long as it is `attach`ed to the publishing connection."""

    def __init__(self) -> None:
        self._unconfirmed: AbstractChannel | None = None
        self._confirmed: AbstractChannel | None = None

    def __repr__(self) -> str:
        return f"<Herald: {'attached' if self._confirmed else 'not attached'}>"

    def attach(
        self, unconfirmed: AbstractChannel | None, confirmed: AbstractChannel | None
    ) -> None:
        """Speak through these channels from now on; None where there are none."""
        self._unconfirmed, self._confirmed = unconfirmed, confirmed

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
    ) -> None:
        """Tell those who stand by, or one `queue` of them, and have it confirmed.

        Raises `BrokerDown` where there is no connection, it is lost, or nothing is
        confirmed.
        """
        properties = _properties(kind, ulid_now(), "application/json", correlation_id)
        await _publish(self._confirmed, exchange, queue, body, properties)

    async def reaches_any(self, exchange: str, *, kind: str) -> bool:
        """Return whether any queue is bound there. Raises `BrokerDown` as `tell` does."""
        properties = _properties(kind, ulid_now(), "application/json")
        return await _publish(self._confirmed, exchange, "", b"", properties, mandatory=True)


def _properties(
    kind: str, message_id: str, content_type: str, correlation_id: str | None = None
) -> Basic.Properties:
    return Basic.Properties(
        content_type=content_type,
        correlation_id=correlation_id,
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
