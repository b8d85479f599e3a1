"""With the rights in `deploy/rabbitmq/definitions.json` each does its work, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aio_pika import Message, connect
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused
from yarl import URL

from bridge.amqp.session import open_connection
from bridge.check import Verdict, broker
from bridge.errors import BrokerRefused
from bridge.sandbox import RabbitMQNode, private_rabbitmq
from bridge.settings import AmqpSettings
from tests.integration.conftest import make_site
from tests.integration.site import PATIENCE_SECONDS, Site

ROOT = Path(__file__).parents[2]
DEFINITIONS = ROOT / "deploy" / "rabbitmq" / "definitions.json"
USERS = ("bridge", "subscriber", "commander")
COMMANDS = "tactium.commands"
EVENTS = "tactium.events"
REPLY_TO = "amq.rabbitmq.reply-to"
PAUSE = {"command": "pause", "agent": "ana", "code": "1"}


@pytest.fixture(scope="module")
async def node() -> AsyncIterator[RabbitMQNode]:
    """A broker of its own, since the definitions are about the vhost `/`, and just these."""
    async with private_rabbitmq() as started:
        await started.ctl("import_definitions", str(DEFINITIONS))
        yield started


@pytest.fixture
async def site(node: RabbitMQNode, tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose bridge, which runs, is the user `bridge`; who looks on is guest."""
    for user in USERS:
        await node.ctl("change_password", user, user)
    async with make_site(node.url(), tmp_path / "bridge.db") as opened:
        amqp = AmqpSettings.model_validate({"url": url_of(node, "bridge")})
        opened.settings = opened.settings.model_copy(update={"amqp": amqp})
        async with opened.bridge():
            await opened.ask({"command": "get_agents"})
            yield opened


def url_of(node: RabbitMQNode, user: str) -> str:
    return node.url().replace("guest:guest", f"{user}:{user}")


@asynccontextmanager
async def channel_of(node: RabbitMQNode, user: str) -> AsyncIterator[AbstractChannel]:
    """A channel of a user with this name."""
    async with await connect(url_of(node, user)) as connection:
        yield await connection.channel()


async def rights_at(node: RabbitMQNode) -> dict[str, Any]:
    """Return the rights of the three users, as the broker has them."""
    found = {}
    for what in ("list_user_permissions", "list_user_topic_permissions"):
        for user in USERS:
            found[what, user] = json.loads(await node.ctl(what, user, "--formatter=json"))
    return {str(key): value for key, value in found.items()}


async def test_without_a_password_nobody_gets_in(node: RabbitMQNode) -> None:
    """The definitions open nothing by themselves, not even to who sends an empty password."""
    for user in USERS:
        await node.ctl("clear_password", user)
    await node.ctl("import_definitions", str(DEFINITIONS))
    for password in ("", "guest", *USERS):
        for user in USERS:
            with pytest.raises(BrokerRefused):
                await open_connection(
                    URL(node.url().replace("guest:guest", f"{user}:{password}")), "test"
                )


async def test_the_readme_gives_the_same_rights(node: RabbitMQNode) -> None:
    """Its first block of `rabbitmqctl` lines, and the file of definitions."""
    part = (ROOT / "README.md").read_text().partition("### Rights at the broker")[2]
    lines = re.findall(r"^\$ rabbitmqctl (.*)$", part.split("```")[1], re.MULTILINE)
    expected = await rights_at(node)
    for user in USERS:
        await node.ctl("delete_user", user)
    for line in lines:
        arguments = shlex.split(line, comments=True)
        password = ["a-password"] if arguments[0] == "add_user" else []
        await node.ctl(*arguments, *password)
    assert await rights_at(node) == expected


async def test_each_does_its_work(node: RabbitMQNode, site: Site) -> None:
    """Events reach a subscriber's own queue; a commander's command is answered, either way."""
    async with channel_of(node, "subscriber") as subscriber:
        queues = [
            await subscriber.declare_queue("subscriber.calls", durable=True),
            await subscriber.declare_queue(exclusive=True),
        ]
        for queue in queues:
            await queue.bind(EVENTS, "ana.#")
            await queue.bind("tactium.bridge", "#")
        await site.say("<ana><S><1>$")
        for queue in queues:
            async with asyncio.timeout(PATIENCE_SECONDS), queue.iterator() as messages:
                async for message in messages:
                    await message.ack()
                    if message.routing_key == "ana.agent.status":
                        break
    async with channel_of(node, "commander") as commander:
        for queue, is_direct in (
            (await commander.declare_queue(exclusive=True), False),
            (await commander.declare_queue("commander.replies", exclusive=True), False),
            (await commander.get_queue(REPLY_TO, ensure=False), True),
        ):
            replies: asyncio.Queue[Any] = asyncio.Queue()
            await queue.consume(replies.put, no_ack=True)
            exchange = await commander.get_exchange(COMMANDS, ensure=False)
            body = json.dumps(PAUSE).encode()
            message_out = Message(body, reply_to=queue.name, user_id="commander")
            await exchange.publish(message_out, "ana.pause")
            async with asyncio.timeout(PATIENCE_SECONDS):
                reply = await replies.get()
            assert json.loads(reply.body)["outcome"] == "ok", is_direct


async def test_the_check_finds_all_rights(site: Site) -> None:
    """`tactium-bridge check` says of the user `bridge` that nothing is missing."""
    found = [line async for line in broker.check(site.settings)]
    assert {line.verdict for line in found} == {Verdict.OK}
    assert {f"{right} permission" for right in ("configure", "write", "read")} <= {
        line.name for line in found
    }


async def publish(channel: AbstractChannel, exchange: str, key: str) -> None:
    found = await channel.get_exchange(exchange, ensure=False)
    await found.publish(Message(b"{}"), key)


async def take(channel: AbstractChannel, name: str) -> None:
    await (await channel.get_queue(name, ensure=False)).get(fail=False)


async def bind(channel: AbstractChannel, queue: str, exchange: str, key: str) -> None:
    await (await channel.get_queue(queue, ensure=False)).bind(exchange, key)


async def unbind(channel: AbstractChannel, queue: str, exchange: str) -> None:
    await (await channel.get_queue(queue, ensure=False)).unbind(exchange, "#")


async def default(channel: AbstractChannel, key: str) -> None:
    await channel.default_exchange.publish(Message(b"{}"), key)


async def declare(channel: AbstractChannel, name: str, dead_letters: str | None = None) -> None:
    arguments = {"x-dead-letter-exchange": dead_letters} if dead_letters else None
    await channel.declare_queue(name, durable=True, arguments=dict(arguments or {}))


Attempt = Callable[[AbstractChannel], Awaitable[Any]]
FORBIDDEN: dict[str, tuple[str, Attempt]] = {
    "subscriber forges an event": ("subscriber", lambda c: publish(c, EVENTS, "ana.x")),
    "subscriber forges a notice": ("subscriber", lambda c: publish(c, "tactium.bridge", "x")),
    "subscriber commands": ("subscriber", lambda c: publish(c, COMMANDS, "ana.pause")),
    "subscriber commands the queue": ("subscriber", lambda c: default(c, COMMANDS)),
    "subscriber commands by dead letters": (
        "subscriber",
        lambda c: declare(c, "subscriber.trick", dead_letters=COMMANDS),
    ),
    "subscriber takes commands": ("subscriber", lambda c: take(c, COMMANDS)),
    "subscriber takes dead commands": ("subscriber", lambda c: take(c, "tactium.dead")),
    "subscriber overhears commands": (
        "subscriber",
        lambda c: bind(c, "subscriber.calls", COMMANDS, "#"),
    ),
    "subscriber takes a foreign name": ("subscriber", lambda c: declare(c, "crm.calls")),
    "subscriber deletes the events": ("subscriber", lambda c: c.exchange_delete(EVENTS)),
    "subscriber deletes the commands": ("subscriber", lambda c: c.queue_delete(COMMANDS)),
    "commander forges an event": ("commander", lambda c: publish(c, EVENTS, "ana.x")),
    "commander writes to any queue": ("commander", lambda c: default(c, "subscriber.calls")),
    "commander takes commands": ("commander", lambda c: take(c, COMMANDS)),
    "commander takes dead commands": ("commander", lambda c: take(c, "tactium.dead")),
    "commander reads events": ("commander", lambda c: take(c, "subscriber.calls")),
    "commander binds to events": ("commander", lambda c: bind(c, COMMANDS, EVENTS, "#")),
    "commander cuts commands off": ("commander", lambda c: unbind(c, COMMANDS, COMMANDS)),
    "commander deletes the commands": ("commander", lambda c: c.queue_delete(COMMANDS)),
    "bridge takes a foreign name": ("bridge", lambda c: declare(c, "crm.calls")),
    "bridge takes a name that begins alike": ("bridge", lambda c: declare(c, "tactium-x")),
    "bridge reads a subscriber's queue": ("bridge", lambda c: take(c, "subscriber.calls")),
    "bridge deletes a subscriber's queue": ("bridge", lambda c: c.queue_delete("subscriber.calls")),
    "bridge publishes elsewhere": ("bridge", lambda c: publish(c, "amq.topic", "x")),
}


async def test_what_is_forbidden_is_refused(node: RabbitMQNode, site: Site) -> None:
    """Each of these, by RabbitMQ itself, whether or not what it names is there."""
    await site.channel.declare_queue("subscriber.calls", durable=True)
    allowed = []
    for name, (user, attempt) in FORBIDDEN.items():
        async with channel_of(node, user) as channel:
            try:
                await attempt(channel)
            except ChannelAccessRefused:
                continue
        allowed.append(name)
    assert allowed == []


async def test_nobody_speaks_under_another_name(node: RabbitMQNode, site: Site) -> None:
    """A `user_id`, by which the bridge's policy goes, is the connection's own."""
    del site
    async with channel_of(node, "commander") as commander:
        exchange = await commander.get_exchange(COMMANDS, ensure=False)
        with pytest.raises(Exception, match="user_id property set to 'bridge'"):
            await exchange.publish(Message(b"{}", user_id="bridge"), "ana.pause")


async def test_a_subscriber_may_be_held_to_some_agents(node: RabbitMQNode, site: Site) -> None:
    """By the topic permission that the README names: other agents' keys, and wildcards, are not."""
    del site
    lines = [
        line.removeprefix("$ rabbitmqctl ")
        for line in (ROOT / "README.md").read_text().splitlines()
        if "set_topic_permissions" in line and ("jose" in line or "tactium.bridge" in line)
    ]
    assert len(lines) == 2
    for line in lines:
        await node.ctl(*shlex.split(line, comments=True))
    try:
        for key in ("jose.#", "ana.call.ended"):
            async with channel_of(node, "subscriber") as channel:
                await (await channel.declare_queue(exclusive=True)).bind(EVENTS, key)
        for key in ("#", "*.call.#", "bruno.#", "josefa.#"):
            async with channel_of(node, "subscriber") as channel:
                queue = await channel.declare_queue(exclusive=True)
                with pytest.raises(ChannelAccessRefused):
                    await queue.bind(EVENTS, key)
        async with channel_of(node, "subscriber") as channel:
            queue = await channel.declare_queue(exclusive=True)
            with pytest.raises(ChannelAccessRefused):  # the commands of all agents stand there
                await queue.bind("tactium.bridge", "main.command.ok")
    finally:
        await node.ctl("import_definitions", str(DEFINITIONS))
