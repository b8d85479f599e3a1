"""The yardsticks in Python, each a process of its own: `python -m tests.bench.bare WHAT URL …`.

They do what anybody would do with the library, and nothing of what the bridge does.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractIncomingMessage
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader, ProtocolHeader

from tests.bench.rig import EXCHANGE
from tests.bench.tactium import stamp

KEY = "agent000001.call.started.outbound"
KIND = "application/cloudevents+json"
IN_FLIGHT = 500
WINDOW = 2_048
CHANNELS = 1  # RabbitMQ allows 2,047 by default, and refuses who asks for no limit
READ_BYTES = 65_536


async def rate(url: str, warm_up: int, count: int, size: int) -> None:
    """Publish with aio-pika, `IN_FLIGHT` at once, all confirmed; print how many in a second."""
    async with await connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(EXCHANGE)
        message = Message(b"x" * size, content_type=KIND, delivery_mode=DeliveryMode.PERSISTENT)

        async def publish(numbers: Iterator[int]) -> None:
            for _ in numbers:
                await exchange.publish(message, KEY)

        async def publish_all(total: int) -> float:
            begin, numbers = time.monotonic(), iter(range(total))
            await asyncio.gather(*(publish(numbers) for _ in range(IN_FLIGHT)))
            return time.monotonic() - begin

        await publish_all(warm_up)
        print(count / await publish_all(count))  # noqa: T201 - what it is for


async def latency(url: str, per_second: int, seconds: float, size: int) -> None:
    """Publish at a steady pace, each body with the moment at which it was made."""
    async with await connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(EXCHANGE)
        publishing: set[asyncio.Task[object]] = set()
        begin = time.monotonic()
        for number in range(round(per_second * seconds)):
            left = begin + number / per_second - time.monotonic()
            if left > 0:
                await asyncio.sleep(left)
            body = stamp().encode().ljust(size, b"x")
            message = Message(body, content_type=KIND, delivery_mode=DeliveryMode.PERSISTENT)
            task = asyncio.create_task(exchange.publish(message, KEY))
            publishing.add(task)
            task.add_done_callback(publishing.discard)
        await asyncio.wait(publishing)


async def echo(url: str, queue_name: str) -> None:
    """Send every request of a queue back to where it came from, until killed."""
    async with await connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(100)
        # Of the kind that the bridge takes its commands from by default.
        queue = await channel.declare_queue(
            queue_name, durable=True, arguments={"x-queue-type": "quorum"}
        )

        async def answer(request: AbstractIncomingMessage) -> None:
            reply = Message(request.body, correlation_id=request.correlation_id)
            await channel.default_exchange.publish(reply, request.reply_to or "")
            await request.ack()

        await queue.consume(answer)
        await asyncio.Event().wait()


def pamqp_rate(url: str, warm_up: int, count: int, size: int) -> None:
    """Publish over a plain socket what was marshalled once; print how many in a second."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as broker:
        broker.sendall(ProtocolHeader(0, 9, 1).marshal())
        answers = _frames(broker)
        _ask(
            broker,
            answers,
            commands.Connection.StartOk(mechanism="PLAIN", response="\0guest\0guest"),
        )
        broker.sendall(frame.marshal(commands.Connection.TuneOk(CHANNELS, 131_072, 0), 0))
        vhost = unquote((parts.path or "/")[1:]) or "/"
        _ask(broker, answers, commands.Connection.Open(virtual_host=vhost))
        _ask(broker, answers, commands.Channel.Open(), 1)
        _ask(broker, answers, commands.Confirm.Select(), 1)
        properties = commands.Basic.Properties(content_type=KIND, delivery_mode=2)
        message = b"".join(
            (
                frame.marshal(commands.Basic.Publish(exchange=EXCHANGE, routing_key=KEY), 1),
                frame.marshal(ContentHeader(body_size=size, properties=properties), 1),
                frame.marshal(ContentBody(b"x" * size), 1),
            )
        )
        sent = confirmed = first = 0
        begin = 0.0
        while confirmed < warm_up + count:
            room = min(WINDOW - (sent - confirmed), warm_up + count - sent)
            if room > 0:
                broker.sendall(message * room)
                sent += room
            ack = next(answers)
            if isinstance(ack, commands.Basic.Ack):
                confirmed = max(confirmed, ack.delivery_tag or 0)
            if not first and confirmed >= warm_up:
                first, begin = confirmed, time.monotonic()
        print((confirmed - first) / (time.monotonic() - begin))  # noqa: T201 - what it is for


def _ask(
    broker: socket.socket, answers: Iterator[object], command: object, channel: int = 0
) -> None:
    """Say what the broker has asked for, or ask it; take what it says to that."""
    if isinstance(command, commands.Connection.StartOk):
        next(answers)
    broker.sendall(frame.marshal(command, channel))  # type: ignore[arg-type]  # any command
    next(answers)


def _frames(broker: socket.socket) -> Iterator[object]:
    """Yield what the broker says, without end."""
    data = b""
    while True:
        size = int.from_bytes(data[3:7], "big") + 8 if len(data) >= 7 else 7
        if len(data) < max(size, 8):
            data += broker.recv(READ_BYTES)
            continue
        _, _, said = frame.unmarshal(data[:size])
        data = data[size:]
        yield said


def main(what: str, url: str, *given: str) -> None:
    """Be one of the yardsticks."""
    match what:
        case "rate":
            asyncio.run(rate(url, *map(int, given)))
        case "pamqp":
            pamqp_rate(url, *map(int, given))
        case "latency":
            asyncio.run(latency(url, int(given[0]), float(given[1]), int(given[2])))
        case "echo":
            asyncio.run(echo(url, *given))


if __name__ == "__main__":
    main(*sys.argv[1:])
