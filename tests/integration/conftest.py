"""Fixtures: a fresh vhost for each test, and a whole site in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aio_pika import connect
from ulid_transform import ulid_now

from bridge.errors import SandboxError
from bridge.sandbox import RabbitMQNode
from bridge.settings import Settings
from bridge.simulator import Answers, Simulator, SimulatorOptions, open_simulator
from tests.integration.site import OpenSite, Site

CLOSE_SECONDS = 5.0
TACTIUM = SimulatorOptions(
    port=0, agents=("Jose", "ana", "bruno", "carla", "josé.silva"), calls_per_minute=0, seed=1
)


@pytest.fixture
async def vhost_url(rabbitmq: RabbitMQNode) -> AsyncIterator[str]:
    """A fresh vhost on the run's private node; hundreds of them would make it slow."""
    name = ulid_now().lower()
    await rabbitmq.add_vhost(name)
    yield rabbitmq.url(name)
    with suppress(SandboxError):
        await rabbitmq.remove_vhost(name)


@pytest.fixture
def default_tactium() -> SimulatorOptions:
    """The Tactium of a site that asks for no other."""
    return TACTIUM


@asynccontextmanager
async def make_site(
    url: str,
    path: Path,
    *,
    tactium: SimulatorOptions = TACTIUM,
    **given: Mapping[str, Any],
) -> AsyncIterator[Site]:
    """Open a site: Tactium and the broker are there, the bridge is not yet.

    `path` is the journal's; `given` are settings, by their section.
    """
    async with open_simulator(tactium) as simulator:
        sections: dict[str, dict[str, Any]] = {
            "link": _link_to(simulator),
            "amqp": {"url": url},
            "journal": {"path": path},
            "http": {"port": 0},
        }
        for name, section in given.items():
            sections[name] = {**sections.get(name, {}), **section}
        settings = Settings.model_validate(sections)
        connection = await connect(url)
        try:
            site = Site(simulator, settings, await connection.channel(on_return_raises=True))
            await site.subscribe()
            yield site
        finally:  # its broker may have been killed, and a connection then closes when it likes
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()


def _link_to(tactium: Simulator) -> dict[str, Any]:
    """Return the settings of a link to this Tactium."""
    if tactium.database_url is not None:
        return {"transport": "database", "database_url": tactium.database_url}
    return {"host": tactium.host, "port": tactium.port}


@pytest.fixture
def open_site(
    vhost_url: str, tmp_path: Path, default_tactium: SimulatorOptions, database_url: str | None
) -> OpenSite:
    """Return what opens a site on a fresh vhost."""

    def opened(**given: Any) -> AbstractAsyncContextManager[Site]:
        options = {"tactium": default_tactium} | given
        options["tactium"] = replace(options["tactium"], database_url=database_url)
        return make_site(vhost_url, tmp_path / "bridge.db", **options)

    return opened


@pytest.fixture
async def site(open_site: OpenSite) -> AsyncIterator[Site]:
    """A site whose bridge is up, its first messages out of the way."""
    async with (
        open_site(
            tactium=replace(TACTIUM, answers=Answers(impossible="error")),
            commands={"timeout": 1.0, "make_call_window": 1.0},
        ) as opened,
        opened.bridge(),
    ):
        await opened.ask({"command": "get_agents"})
        awaited = {"main.link.up", "main.command.ok"}
        while awaited:
            awaited.discard((await opened.next_message()).routing_key or "")
        yield opened
