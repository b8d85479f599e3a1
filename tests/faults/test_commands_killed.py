"""The bridge or the broker dies at each step of a command's way (contract.md §5)."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aio_pika import Message, connect
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError

from bridge.amqp.consumer import _Delivered
from bridge.amqp.outbox import Outbox
from bridge.journal.durable import DurableJournal
from bridge.links.tcp import TcpLink
from bridge.sandbox import RabbitMQNode
from tests.databases import servers as databases
from tests.faults import dying_bridge
from tests.faults.test_faults import SETTLING_SECONDS, SOAK
from tests.integration.program import environment_of, program, stopped
from tests.integration.site import OpenSite, Site, until

DYING = Path(dying_bridge.__file__)
MAILBOX = "mailbox"
TRAIL = "trail"
PAUSE = {"command": "pause", "agent": "agent7", "code": "1"}
PAUSE_FRAME = b"<agent7><P><ON><1>$"
GET_STATUS = {"command": "get_status", "agent": "agent7"}

OUTCOMES = {
    "command delivered": "ok",
    "command looked up": "ok",
    "command begun": "uncertain",
    "command written": "uncertain",
    "command answered": "uncertain",
    "reply kept": "ok",
    "reply sent": "ok",
    "reply confirmed": "ok",
}
"""What the requester of a change is told after the restart, by the step at which it died."""


async def prepare(url: str) -> None:
    """Declare durable queues for the replies and for the audit trail."""
    async with await connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(MAILBOX, durable=True)
        trail = await channel.declare_queue(TRAIL, durable=True)
        bridge = await channel.declare_exchange("tactium.bridge", "topic", durable=True)
        await trail.bind(bridge, "main.command.*")


async def send(url: str, command: dict[str, Any]) -> None:
    """Send one command, as soon as its queue is there, from a connection of its own."""
    message = Message(
        json.dumps(command).encode(), message_id="7", correlation_id="c", reply_to=MAILBOX
    )
    async with await connect(url) as connection:
        channel = await connection.channel()
        await until(lambda: _is_there(url))
        for _ in range(20):  # a quorum queue that has only just begun may refuse at first
            with suppress(DeliveryError):
                await channel.default_exchange.publish(message, "tactium.commands")
                return
            await asyncio.sleep(0.1)
        pytest.fail("the queue of commands takes nothing")


async def _is_there(url: str) -> bool:
    async with await connect(url) as connection:
        try:
            await (await connection.channel()).get_queue("tactium.commands")
        except Exception:  # noqa: BLE001 - whatever it is, it is not there
            return False
    return True


async def take(url: str, queue: str) -> list[AbstractIncomingMessage]:
    """Return all that lies in a queue."""
    found: list[AbstractIncomingMessage] = []
    async with await connect(url) as connection:
        box = await (await connection.channel()).get_queue(queue)
        while (message := await box.get(no_ack=True, fail=False)) is not None:
            found.append(message)
    return found


def outcomes(messages: list[AbstractIncomingMessage]) -> list[str]:
    assert {message.correlation_id for message in messages} <= {"c"}
    return [json.loads(message.body)["outcome"] for message in messages]


async def settled(site: Site) -> None:
    """Wait until nobody owes anything: the command is acknowledged."""
    url = site.settings.amqp.url.get_secret_value()

    async def is_empty() -> bool:
        async with await connect(url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(MAILBOX, passive=True)
            return bool(queue.declaration_result.message_count)

    await until(is_empty)
    await asyncio.sleep(1)


WAYS = [("change", step) for step in dying_bridge.COMMAND_STEPS] + [
    ("query", step)
    for step in dying_bridge.COMMAND_STEPS
    if step != "command begun"  # a query may be asked again, so that is not noted
]


@pytest.mark.each_transport
@pytest.mark.parametrize(("kind", "step"), WAYS)
async def test_the_bridge_killed(open_site: OpenSite, tmp_path: Path, kind: str, step: str) -> None:
    """Tactium never sees a change twice; one true reply comes after the restart."""
    command = PAUSE if kind == "change" else GET_STATUS
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        environment = environment_of(site.settings)
        async with program(step, script=DYING, cwd=tmp_path, environment=environment) as dying:
            await send(url, command)
            async with asyncio.timeout(30):
                assert await dying.wait() == -signal.SIGKILL
        before = outcomes(await take(url, MAILBOX))
        async with program("run", cwd=tmp_path, environment=environment) as process:
            await settled(site)
            await stopped(process)
        after = await take(url, MAILBOX)
        trail = await take(url, TRAIL)
        frames = list(site.tactium.received)
    assert outcomes(after) == [OUTCOMES[step] if command is PAUSE else "ok"]
    assert before in ([], outcomes(after))
    assert bool(before) <= (step in ("reply sent", "reply confirmed"))
    assert len({message.message_id for message in trail}) == 1
    if command is PAUSE:
        assert frames.count(PAUSE_FRAME) <= 1
        assert (frames.count(PAUSE_FRAME) == 1) or OUTCOMES[step] == "uncertain"


@pytest.mark.each_database
async def test_a_row_that_nobody_took_is_taken_back_after_a_kill(
    open_site: OpenSite, tmp_path: Path, database_url: str
) -> None:
    """Tactium was away: it must not do, hours later, what nobody waits for any more."""

    async def rows() -> list[tuple[object, ...]]:
        quote = "`" if database_url.startswith("mariadb") else '"'
        question = f"SELECT {quote}DS_TTI{quote} FROM {quote}T_TTI{quote}"  # noqa: S608
        return await databases.run(database_url, question)

    async def is_written() -> bool:
        return await rows() == [(PAUSE_FRAME.decode(),)]

    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        await site.subscribe()
        environment = environment_of(site.settings) | {"BRIDGE_COMMANDS__TIMEOUT": "60"}
        async with program("run", cwd=tmp_path, environment=environment) as process:
            await site.next_data("main.link.up")
            await site.tactium.refuse()
            await send(url, PAUSE)
            await until(is_written)
            process.kill()
            await process.wait()
        environment["BRIDGE_COMMANDS__TIMEOUT"] = "1"
        async with program("run", cwd=tmp_path, environment=environment) as process:
            await site.next_data("main.gap")
            await settled(site)
            await stopped(process)
        assert await rows() == []
        assert outcomes(await take(url, MAILBOX))[0] in ("uncertain", "unavailable")
        assert PAUSE_FRAME not in site.tactium.received


Hook = tuple[type, str]
BROKER_STEPS: dict[str, Hook] = {
    "delivered": (DurableJournal, "recall"),
    "looked up": (DurableJournal, "begin"),
    "begun": (TcpLink, "send"),
    "answered": (DurableJournal, "end"),
    "kept": (Outbox, "reply"),
    "replied": (_Delivered, "_acknowledge"),
}
if not SOAK:
    BROKER_STEPS = {name: BROKER_STEPS[name] for name in ("begun", "kept", "replied")}


def once_before(owner: type, name: str, act: Callable[[], Awaitable[None]]) -> Callable[..., Any]:
    """Return a method like the one of this name that first acts, but only the first time."""
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)
    acted = False

    async def acting(*arguments: Any, **named: Any) -> Any:
        nonlocal acted
        if not acted:
            acted = True
            await act()
        return await original(*arguments, **named)

    return acting


@pytest.mark.parametrize("step", BROKER_STEPS)
async def test_the_broker_killed(
    open_site: OpenSite, rabbitmq: RabbitMQNode, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It comes back and brings the command again: run once, and answered with what came of it."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        restarting: list[asyncio.Task[None]] = []

        async def kill() -> None:
            await rabbitmq.kill()
            restarting.append(asyncio.create_task(rabbitmq.restart()))

        owner, name = BROKER_STEPS[step]
        monkeypatch.setattr(owner, name, once_before(owner, name, kill))
        async with site.bridge():
            await until(lambda: _is_there(url))
            await asyncio.sleep(SETTLING_SECONDS)
            await send(url, PAUSE)
            await until(lambda: bool(restarting))
            await restarting[0]
            await settled(site)
        replies = await take(url, MAILBOX)
        trail = await take(url, TRAIL)
        frames = list(site.tactium.received)
    assert set(outcomes(replies)) == {"ok"}
    assert len({message.body for message in replies}) == 1  # the same one, where it came again
    assert len(replies) == 1 or step in ("kept", "replied")
    assert frames.count(PAUSE_FRAME) == 1
    assert len({message.message_id for message in trail}) == 1


async def test_expired_while_the_bridge_was_down(open_site: OpenSite, tmp_path: Path) -> None:
    """It is answered after the start, and never runs."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        environment = environment_of(site.settings) | {"BRIDGE_COMMANDS__TTL": "1"}
        async with program("run", cwd=tmp_path, environment=environment) as process:
            await until(lambda: _is_there(url))
            await stopped(process)
        await send(url, PAUSE)
        await asyncio.sleep(1.5)
        async with program("run", cwd=tmp_path, environment=environment) as process:
            await settled(site)
            await stopped(process)
        assert outcomes(await take(url, MAILBOX)) == ["expired"]
        (dead,) = await take(url, "tactium.dead")
        assert dead.headers["outcome"] == "expired"
        assert "deadline" in str(dead.headers["reason"])
        assert PAUSE_FRAME not in site.tactium.received
