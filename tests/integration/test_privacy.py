"""An hour of calls and commands, and every line and page searched for what nobody may see."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aio_pika import Message, connect
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError
from aiohttp import ClientError, ClientSession

from bridge.sandbox import RabbitMQNode
from bridge.simulator import SimulatorOptions, open_simulator
from tests.integration.conftest import TACTIUM
from tests.integration.program import program
from tests.integration.site import until

CALLS = 600
"""What eight agents do in an hour by the simulator's default of ten calls a minute."""

TOKEN = "a-token-nobody-may-see"
PASSWORD = "pass-word-nobody-may-see"
COMMANDED = "85987654321"
COMMANDS: tuple[dict[str, Any], ...] = (
    {"command": "make_call", "phone": COMMANDED, "context": {"phone": COMMANDED}},
    {"command": "schedule_callback", "phone": COMMANDED, "at": "2099-01-01T10:00:00-03:00"},
    {"command": "set_disposition", "disposition": "blocked_phone", "phone": COMMANDED},
    {"command": "pause", "code": "1"},
    {"command": "resume"},
    {"command": "get_current_call"},
    {"command": "make_call", "phone": f"{COMMANDED}x"},
)


@pytest.fixture
async def vhost_of_a_user(rabbitmq: RabbitMQNode, vhost_url: str) -> Any:
    """A vhost and a user whose password is a secret."""
    vhost = vhost_url.rpartition("/")[2]
    await rabbitmq.ctl("add_user", "private", PASSWORD)
    await rabbitmq.ctl("set_permissions", "-p", vhost, "private", ".*", ".*", ".*")
    yield vhost_url.replace("guest:guest", f"private:{PASSWORD}")
    await rabbitmq.ctl("delete_user", "private")


@pytest.mark.timeout(240)
async def test_nothing_personal_and_nothing_secret_is_shown(
    vhost_of_a_user: str, tmp_path: Path
) -> None:
    """The log at its most talkative, the page's stream, the metrics, `/readyz`, the audit trail.

    Of the events all phones are known, so each of them is searched for; a frame that
    is broken brings one too.
    """
    options: SimulatorOptions = replace(
        TACTIUM,
        agents=tuple(f"agent{n}" for n in range(CALLS)),
        calls_per_minute=3_600,
        attach_info=True,
        faults=replace(TACTIUM.faults, mangled=0.02, garbage=0.02),
    )
    async with open_simulator(options) as tactium, await connect(vhost_of_a_user) as connection:
        channel = await connection.channel(on_return_raises=True)
        events: list[dict[str, Any]] = []
        trail: list[bytes] = []
        for stream, taken in (("events", None), ("bridge", trail)):
            exchange = await channel.declare_exchange(f"tactium.{stream}", "topic", durable=True)
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(exchange, "#" if taken is None else "*.command.#")

            async def take(message: Any, taken: list[bytes] | None = taken) -> None:
                if taken is None:
                    events.append(json.loads(message.body))
                else:
                    taken.append(message.body)

            await queue.consume(take, no_ack=True)
        environment = {
            "BRIDGE_LINK__HOST": "127.0.0.1",
            "BRIDGE_LINK__PORT": str(tactium.port),
            "BRIDGE_AMQP__URL": vhost_of_a_user,
            "BRIDGE_COMMANDS__TIMEOUT": "0.5",
            "BRIDGE_COMMANDS__MAKE_CALL_WINDOW": "0.3",
            "BRIDGE_HTTP__PORT": "0",
            "BRIDGE_HTTP__TOKEN": TOKEN,
            "BRIDGE_LOG__LEVEL": "debug",
            "BRIDGE_LOG__FORMAT": "json",
        }
        async with program("run", cwd=tmp_path, environment=environment) as process:
            assert process.stderr is not None
            log = bytearray()
            reading = asyncio.create_task(_read_all(process.stderr, log))
            await until(lambda: b"http_up" in log)
            port = int(re.search(rb'"address": ?"127.0.0.1:(\d+)"', log)[1])  # type: ignore[index]
            shown = asyncio.create_task(_look(port))
            await until(lambda: b"link_up" in log and b"broker_up" in log)
            for number in range(8 * len(COMMANDS)):
                command = {**COMMANDS[number % len(COMMANDS)], "agent": f"agent{number % 40}"}
                await _send(channel, command)
            started = "tactium.call.started"
            await until(lambda: sum(each["type"] == started for each in events) >= CALLS, 120)
            pages = await _ask(port)
            process.terminate()
            await process.wait()
            await reading
            streamed = await shown
    everything = {"log": bytes(log), "stream": streamed, "pages": pages, "trail": b"".join(trail)}
    phones = {COMMANDED, *(each["data"].get("origin") for each in events)}
    phones |= {each["data"].get("destination") for each in events}
    long = {phone for phone in phones if phone and len(phone) > 5}
    assert len(long) > 100
    for where, text in everything.items():
        assert len(text) > 1_000, where
        assert PASSWORD.encode() not in text, where
        assert TOKEN.encode() not in text, where
        found = [phone for phone in long if phone.encode() in text]
        assert found == [], f"{where}: {found[:3]}"


async def _read_all(stream: asyncio.StreamReader, into: bytearray) -> None:
    while data := await stream.read(65_536):
        into += data


async def _send(channel: AbstractChannel, command: dict[str, Any]) -> None:
    message = Message(json.dumps(command).encode(), content_type="application/json")
    while True:
        try:
            await channel.default_exchange.publish(message, "tactium.commands")
        except DeliveryError:  # the bridge has not declared its queue yet
            await asyncio.sleep(0.05)
        else:
            return


async def _look(port: int) -> bytes:
    """Return all that the page's stream tells, until the bridge stops."""
    told = bytearray()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with suppress(ClientError):
        async with (
            ClientSession(headers=headers) as session,
            session.get(f"http://127.0.0.1:{port}/events") as response,
        ):
            async for chunk in response.content.iter_any():
                told += chunk
    return bytes(told)


async def _ask(port: int) -> bytes:
    """Return what the pages answer."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answers = []
    async with ClientSession(headers=headers) as session:
        for path in ("/metrics", "/readyz", "/"):
            async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                answers.append(await response.read())
    return b"".join(answers)
