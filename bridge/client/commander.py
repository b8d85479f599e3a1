"""Commands out, each until it has its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError
from aiormq import Channel
from aiormq.exceptions import ChannelAccessRefused
from pydantic import TypeAdapter, ValidationError
from yarl import URL

from bridge.amqp.session import FOREIGN
from bridge.backoff import delays
from bridge.client.keeping import keep_connected
from bridge.errors import BridgeError, BrokerDown, BrokerRefused, NoReply
from bridge.messages.replies import Reply

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"

ANSWER_SECONDS = 10.0
"""How much longer than a command may wait its reply is waited for: Tactium has its time too."""

_BROKER_AWAY = "see that RabbitMQ runs; what is under way is asked again, under the same id"

_REPLY: TypeAdapter[Reply] = TypeAdapter(Reply)


@dataclass(slots=True)
class Asked:
    """A command as it goes out: the same bytes and the same id, however often.

    It may wait `patience_seconds` until it is run. `trouble` is what keeps its
    reply away, and `is_sent` whether the broker ever took it.
    """

    body: bytes
    key: str
    id: str
    patience_seconds: float
    headers: Mapping[str, str]
    trouble: str = "there is no connection"
    is_sent: bool = False
    answer: asyncio.Future[Reply] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Commander:
    """Owns the connection for commands, from the first one on.

    Replies come straight to the connection, so one that is lost takes them with it.
    The command is then asked again, under its id: the bridge runs it once, and
    gives whoever asks again the first answer again.
    """

    def __init__(self, nodes: Sequence[URL], exchange: str) -> None:
        self._nodes = nodes
        self._exchange = exchange
        self._waiting: dict[str, Asked] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[_Line] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Commander: {len(self._waiting)} commands without a reply>"

    async def ask(self, asked: Asked) -> Reply:
        """Send a command and return its reply.

        Raises `NoReply` where none comes in time, and `BrokerRefused` where the user
        may not give commands.
        """
        if asked.id in self._waiting:
            raise BridgeError(f"a command with the id {asked.id!r} is under way already")
        if self._keeping is None or self._keeping.done():
            keeping = keep_connected(
                self._nodes, "commander", self._use, _BROKER_AWAY, self._note_down
            )
            self._keeping = asyncio.create_task(keeping)
        self._waiting[asked.id] = asked
        try:
            async with asyncio.timeout(asked.patience_seconds + ANSWER_SECONDS):
                return await self._insist(asked, self._keeping)
        except TimeoutError:
            fate = "it may have run" if asked.is_sent else "it was not sent"
            raise NoReply(f"command {asked.id}: {asked.trouble}; {fate}") from None
        finally:
            del self._waiting[asked.id]

    async def aclose(self) -> None:
        """Close the connection."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))

    def _note_down(self, reason: str) -> None:
        """Let those who wait for a connection say at the end why there was none."""
        for asked in self._waiting.values():
            if not asked.is_sent:
                asked.trouble = reason

    async def _insist(self, asked: Asked, keeping: asyncio.Task[None]) -> Reply:
        """Send a command, on one connection after the other, until it is answered."""
        clock = asyncio.get_running_loop().time
        patient_until = clock() + asked.patience_seconds
        waits = delays()
        while not asked.answer.done():
            opened = self._opened
            await asyncio.wait((opened, keeping), return_when=asyncio.FIRST_COMPLETED)
            if not opened.done():
                keeping.result()  # raises why there will never be one
            line = opened.result()
            try:
                await line.send(asked, patient_until - clock())
                asked.is_sent, asked.trouble = True, "no reply came"
                await asyncio.wait((asked.answer, line.lost), return_when=asyncio.FIRST_COMPLETED)
            except ChannelAccessRefused as error:
                raise BrokerRefused(f"this user may give no commands: {error}") from None
            except DeliveryError:
                asked.trouble = "there is no queue for commands: has the bridge run?"
                await asyncio.sleep(next(waits))
            except FOREIGN as error:
                asked.trouble = str(error) or type(error).__name__
                await asyncio.sleep(next(waits))
        return asked.answer.result()

    async def _use(self, connection: AbstractConnection, on_ready: Callable[[], None]) -> None:
        """Let commands out and replies in, for as long as the connection lasts."""
        channel = await connection.channel(on_return_raises=True)
        mailbox = await channel.get_queue(DIRECT_REPLY_TO, ensure=False)
        await mailbox.consume(self._take, no_ack=True)
        lost = cast("Channel", await channel.get_underlay_channel()).closing
        self._opened.set_result(_Line(channel, self._exchange, self._nodes[0].user, lost))
        on_ready()
        try:
            await asyncio.wait((lost,))
        finally:
            self._opened = asyncio.get_running_loop().create_future()
        raise BrokerDown(f"the broker closed the channel: is exchange {self._exchange!r} there?")

    async def _take(self, message: AbstractIncomingMessage) -> None:
        asked = self._waiting.get(message.correlation_id or "")
        if asked is None or asked.answer.done():
            return  # it was given up, or answered twice
        try:
            asked.answer.set_result(_REPLY.validate_json(message.body))
        except ValidationError as error:
            asked.answer.set_exception(BridgeError(f"that is no reply of the bridge: {error}"))


@dataclass(frozen=True, slots=True)
class _Line:
    """A channel for commands; `lost` is done when it is closed."""

    channel: AbstractChannel
    exchange: str
    user: str | None
    lost: asyncio.Future[None]

    async def send(self, asked: Asked, patience_seconds: float) -> None:
        """Send a command and wait for the broker's confirm. Raises what the library raises."""
        message = Message(
            asked.body,
            headers=dict(asked.headers),
            content_type="application/json",
            delivery_mode=DeliveryMode.PERSISTENT,
            message_id=asked.id,
            correlation_id=asked.id,
            reply_to=DIRECT_REPLY_TO,
            expiration=max(0.0, patience_seconds),
            user_id=self.user,
        )
        exchange = await self.channel.get_exchange(self.exchange, ensure=False)
        await exchange.publish(message, asked.key)
