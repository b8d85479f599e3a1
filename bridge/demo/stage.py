"""The demo: builds everything on one machine, lets it flow, and takes it down again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr
from rich.console import Console

from bridge import app
from bridge.demo.parties import command, subscribe
from bridge.demo.screen import Screen
from bridge.errors import BridgeError
from bridge.sandbox import private_rabbitmq
from bridge.settings import (
    AmqpSettings,
    CommandsSettings,
    HttpSettings,
    JournalSettings,
    LinkSettings,
    Settings,
)
from bridge.simulator import Answers, Habits, SimulatorOptions, open_simulator

AGENTS = ("ana", "bruno", "carla", "daniel", "elisa", "jose.silva")

_TACTIUM = SimulatorOptions(
    port=0,
    agents=AGENTS,
    calls_per_minute=40,
    attach_info=True,
    answers=Answers(impossible="error"),
    habits=Habits(call_seconds=(3, 10), wrap_up_seconds=(2, 5), away_share=0, pause_share=0),
)


async def play(seconds: float | None) -> bool:
    """Run the demo for `seconds`, None until SIGINT or SIGTERM, and sum it up.

    Returns whether events and replies arrived. Raises `SandboxError` where no
    RabbitMQ node can be run.
    """
    screen = Screen(Console())
    await app.until_stopped(_perform(screen, seconds))
    screen.summary()
    return bool(screen.events and screen.replies)


async def _perform(screen: Screen, seconds: float | None) -> None:
    screen.say("starting a private RabbitMQ node, which takes some seconds …")
    with TemporaryDirectory(prefix="tactium-bridge-demo-") as folder:
        await _perform_in(Path(folder), screen, seconds)


async def _perform_in(folder: Path, screen: Screen, seconds: float | None) -> None:
    async with private_rabbitmq() as node, open_simulator(_TACTIUM) as tactium:
        settings = Settings(
            link=LinkSettings(host=tactium.host, port=tactium.port),
            amqp=AmqpSettings(url=SecretStr(node.url())),
            commands=CommandsSettings(timeout=2.0),
            journal=JournalSettings(path=folder / "bridge.db"),
            http=HttpSettings(port=0),
        )
        async with _running(settings) as bridge:
            screen.say(f"Tactium (simulated) on port {tactium.port}, RabbitMQ at {node.url()}")
            screen.say(f"the live page is at {await bridge.face.url()}")
            screen.say(f"to join in: export AMQP_URL={node.url()} BRIDGE_AMQP__URL={node.url()}\n")
            with screen.flowing():
                await _flow(node.url(), screen, seconds)
        screen.say("\nthe bridge has ended; taking down Tactium and RabbitMQ")


async def _flow(url: str, screen: Screen, seconds: float | None) -> None:
    """Let the parties talk until the time is over. Raises the first party's `BridgeError`."""
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as parties:
                parties.create_task(subscribe(url, screen))
                parties.create_task(command(url, AGENTS[:3], screen))
                parties.create_task(command(url, AGENTS[3:], screen))
    except* BridgeError as failures:
        raise failures.exceptions[0] from None


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[app.Program]:
    """Run a bridge inside, and end it as SIGTERM would."""
    stopping = asyncio.Event()
    program = app.compose(settings)
    running = asyncio.create_task(program.run(stopping))
    try:
        yield program
    finally:
        stopping.set()
        await running
