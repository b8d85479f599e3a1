"""The two who use the bridge: a subscriber and a commander, as any service could be one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import orjson
from aio_pika import Message, connect
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, ExchangeType
from aio_pika.exceptions import DeliveryError
from ulid_transform import ulid_now

from bridge.demo.screen import Screen
from bridge.errors import BridgeError

COMMANDS_QUEUE = "tactium.commands"
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
REPLY_TIMEOUT_SECONDS = 30.0
RETRY_SECONDS = 0.2
PAUSE_SECONDS = 0.7

_SCRIPT: tuple[dict[str, Any], ...] = (
    {"command": "get_status"},
    {"command": "make_call", "phone": "40050500", "campaign": "Campanha_Cobrança"},
    {"command": "get_current_call"},
    {"command": "hang_up"},
    {"command": "end_wrap_up"},
    {"command": "pause", "code": "1"},
    {"command": "resume"},
    {"command": "pause", "code": "1>$<jose><D"},  # tries to smuggle in a frame: refused
)


async def subscribe(url: str, screen: Screen) -> None:
    """Show all that the bridge publishes, until cancelled."""
    async with await connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        for name in ("tactium.events", "tactium.bridge"):
            exchange = await channel.declare_exchange(name, ExchangeType.TOPIC, durable=True)
            await queue.bind(exchange, routing_key="#")

        async def on_event(message: AbstractIncomingMessage) -> None:
            async with message.process():
                screen.event(message.routing_key or "", orjson.loads(message.body)["data"])

        await queue.consume(on_event)
        await asyncio.Event().wait()


async def command(url: str, agents: Sequence[str], screen: Screen) -> None:
    """Give one command after another, each when the last is answered, until cancelled.

    Raises `BridgeError` where a reply does not come.
    """
    async with await connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        replies: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        mailbox = await channel.get_queue(DIRECT_REPLY_TO, ensure=False)
        await mailbox.consume(replies.put, no_ack=True)
        for agent in cycle(agents):
            await _ask(channel, replies, {"command": "get_agents"}, screen)
            for asked in _SCRIPT:
                await _ask(channel, replies, {**asked, "agent": agent}, screen)


async def _ask(
    channel: AbstractChannel,
    replies: asyncio.Queue[AbstractIncomingMessage],
    asked: dict[str, Any],
    screen: Screen,
) -> None:
    request_id = ulid_now()
    message = Message(
        orjson.dumps(asked),
        content_type="application/json",
        reply_to=DIRECT_REPLY_TO,
        message_id=request_id,
    )
    screen.command(asked)
    try:
        async with asyncio.timeout(REPLY_TIMEOUT_SECONDS):
            await _publish(channel, message)
            answer = await replies.get()
    except TimeoutError:
        raise BridgeError(f"no reply to {asked['command']} came") from None
    if answer.correlation_id != request_id:
        raise BridgeError(f"the reply to {asked['command']} answers another request")
    screen.reply(orjson.loads(answer.body))
    await asyncio.sleep(PAUSE_SECONDS)


async def _publish(channel: AbstractChannel, message: Message) -> None:
    """Publish a command, again for as long as no bridge has declared the queue yet."""
    while True:
        try:
            await channel.default_exchange.publish(message, routing_key=COMMANDS_QUEUE)
        except DeliveryError:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return
