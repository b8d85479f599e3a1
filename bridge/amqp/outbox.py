"""Where single messages go out: replies, and commands to be buried.

They share the publishing connection but not the events' channel, so a reply
that fails disturbs no event. Each is confirmed before its sender goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelInvalidStateError, DeliveryError, PublishError
from pamqp.commands import Basic
from ulid_transform import ulid_now

from bridge.amqp.properties import writable
from bridge.amqp.session import FOREIGN, is_cancelled
from bridge.core.policy import DIRECT_REPLY_TO
from bridge.core.ports import Observer
from bridge.errors import BrokerDown, NeverConfirmed, Unconfirmed
from bridge.messages.envelope import APP_ID
from bridge.messages.replies import SealedReply

log = structlog.get_logger(__name__)

REPLY_TYPE = "tactium.reply"
MOST_REASON_CHARACTERS = 1024
TRANSIENT, PERSISTENT = 1, 2
LONGEST_ALARM_SECONDS = 600.0
"""How long the broker may hold back what is published. A reply that waits so long is on its
way already and is not sent a second time; a broker that hangs ends the connection sooner."""


class Outbox:
    """Sends what is not an event, for as long as it is `attach`ed to a channel.

    What failed once is sent `alone`: whatever goes wrong then is its own fault.
    """

    def __init__(self, dead_exchange: str, observer: Observer) -> None:
        self._dead_exchange = dead_exchange
        self._observer = observer
        self._channel: AbstractChannel | None = None
        self._under_way = 0
        self._want_alone = 0
        self._changed = asyncio.Condition()
        self._exclusive = False

    def attach(self, channel: AbstractChannel | None) -> None:
        """Send through this channel from now on; None where there is none."""
        self._channel = channel

    async def reply(
        self,
        reply_to: str,
        correlation_id: str | None,
        reply: SealedReply,
        trace: Mapping[str, str],
        *,
        alone: bool,
    ) -> None:
        """Send a reply and have it confirmed; `trace` are its headers of that name.

        A reply that is sent again has the same message id.

        A queue that is gone, or full and refusing, is its owner's own affair:
        logged, and no error. Direct reply-to never says so, and returns as
        unroutable even what it delivers. Raises `BrokerDown` where there is no
        connection or others may have brought it down, `Unconfirmed` where the
        reply itself did.
        """
        properties = Basic.Properties(
            content_type="application/json",
            correlation_id=correlation_id,
            delivery_mode=PERSISTENT,
            headers=dict(trace) or None,
            message_id=reply.id,
            timestamp=datetime.now(UTC),
            message_type=REPLY_TYPE,
            app_id=APP_ID,
        )
        mandatory = not reply_to.startswith(DIRECT_REPLY_TO)
        try:
            async with self._turn(alone=alone):
                await self._send("", reply_to, reply.body, properties, mandatory=mandatory)
        except PublishError:
            self._observer.returned()
            log.warning("reply_unroutable", command_id=reply.id, todo="its queue is gone")
        except DeliveryError:
            log.warning("reply_refused", command_id=reply.id, todo="its queue is full")

    async def bury(self, message: DeliveredMessage, reply: SealedReply, *, alone: bool) -> None:
        """Keep a command that was not run, as it came, with what became of it.

        A huge body was cut when it came; the header `body_bytes` says how long it was.

        Raises what `reply` does.
        """
        properties = message.header.properties
        sent_bytes = message.header.body_size
        buried = Basic.Properties(
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            headers={
                **writable(properties.headers or {}),
                "outcome": str(reply.outcome),
                "reason": reply.reason[:MOST_REASON_CHARACTERS],
                **({"body_bytes": sent_bytes} if sent_bytes > len(message.body) else {}),
                # only the user itself may send the property of that name
                **({"user_id": properties.user_id} if properties.user_id else {}),
            },
            correlation_id=properties.correlation_id,
            delivery_mode=PERSISTENT,
            priority=properties.priority,
            message_id=properties.message_id or ulid_now(),
            reply_to=properties.reply_to,
            timestamp=properties.timestamp,
            message_type=properties.message_type,
            app_id=properties.app_id,
        )
        try:
            async with self._turn(alone=alone):
                key = message.routing_key or ""
                await self._send(self._dead_exchange, key, message.body, buried)
        except DeliveryError as error:
            raise Unconfirmed(str(error)) from error

    @asynccontextmanager
    async def _turn(self, *, alone: bool) -> AsyncIterator[None]:
        """Send beside others, or, `alone`, when nobody else does."""
        self._want_alone += alone
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: self._is_free(alone=alone))
                self._exclusive = alone
                self._under_way += 1
        finally:
            self._want_alone -= alone
        try:
            yield
        except NeverConfirmed:
            raise
        except Unconfirmed as error:
            if alone:
                raise
            raise BrokerDown(str(error)) from error
        finally:
            self._under_way -= 1
            self._exclusive = False
            async with self._changed:
                self._changed.notify_all()

    def _is_free(self, *, alone: bool) -> bool:
        """Whether one may send now; who wants to be alone goes before those who come later."""
        in_the_way = self._under_way if alone else self._want_alone
        return not (self._exclusive or in_the_way)

    async def _send(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Basic.Properties,
        *,
        mandatory: bool = False,
    ) -> None:
        channel = self._channel
        if channel is None:
            raise BrokerDown("no connection to publish on")
        try:
            await channel.basic_publish(
                body,
                exchange=exchange,
                routing_key=routing_key,
                properties=properties,
                mandatory=mandatory,
                timeout=LONGEST_ALARM_SECONDS,
            )
        except DeliveryError:  # returned, or refused by its queue: nobody's connection is at fault
            raise
        except ChannelInvalidStateError as error:  # somebody else's mistake closed it
            raise BrokerDown(str(error)) from error
        except TimeoutError:
            raise NeverConfirmed(f"not confirmed within {LONGEST_ALARM_SECONDS:g} s") from None
        except FOREIGN as error:
            raise Unconfirmed(str(error)) from error
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise Unconfirmed("the connection was lost before the confirm") from None
