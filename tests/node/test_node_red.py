"""The Node-RED flow, in a Node-RED that imports it as it is."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bridge.sandbox.broker import free_ports
from tests.integration.site import Site, until

HERE = Path(__file__).parent
FLOW = HERE.parents[1] / "deploy" / "node-red" / "flow.json"
MODULES = HERE / "node_modules"
START_SECONDS = 40.0
SETTINGS = """module.exports = {{
  uiPort: {port}, uiHost: "127.0.0.1", flowFile: "flow.json", functionExternalModules: true,
  externalModules: {{ autoInstall: false }}, telemetry: {{ enabled: false }},
}};"""


@asynccontextmanager
async def node_red(folder: Path, site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    """Run a Node-RED with the flow inside, and give what speaks to it."""
    [port] = free_ports(1)
    (folder / "flow.json").write_text(FLOW.read_text("utf-8"))
    (folder / "settings.js").write_text(SETTINGS.format(port=port))
    (folder / "package.json").write_text((HERE / "package.json").read_text("utf-8"))
    (folder / "node_modules").symlink_to(MODULES)
    process = await asyncio.create_subprocess_exec(
        *("node", str(MODULES / "node-red" / "red.js"), "--userDir", str(folder)),
        env={**os.environ, "AMQP_URL": site.settings.amqp.url.get_secret_value()},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            await until(lambda: _answers(session, process), START_SECONDS)
            yield session
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def _answers(session: aiohttp.ClientSession, process: Process) -> bool:
    assert process.returncode is None, "Node-RED has ended"
    try:
        async with session.get("/screen-pop") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def call_of(session: aiohttp.ClientSession, agent: str) -> dict[str, Any] | None:
    async with session.get("/screen-pop/call", params={"agent": agent}) as response:
        found: dict[str, Any] | None = json.loads(await response.read())
        return found


async def click(session: aiohttp.ClientSession, body: Any) -> tuple[int, dict[str, Any]]:
    async with session.post("/click-to-call", json=body) as response:
        return response.status, await response.json()


async def test_screen_pop_and_click_to_call(site: Site, tmp_path: Path) -> None:
    """A call shows for its agent and nobody else, until it ends; a click dials."""
    async with node_red(tmp_path, site) as session:

        async def pops() -> bool:
            await site.say("<ana><R><0><85><988887777><0><3001><---><>$")
            return await call_of(session, "Ana") is not None

        await until(pops, 20)
        call = await call_of(session, "ana")
        assert call is not None
        assert (call["direction"], call["origin"]) == ("inbound", "988887777")
        assert await call_of(session, "bruno") is None
        await site.say("<ana><EndCall>$")

        async def is_gone() -> bool:
            return await call_of(session, "ana") is None

        await until(is_gone, 20)
        status, reply = await click(session, {"agent": "bruno", "phone": "40050500"})
        assert (status, reply["outcome"], reply["agent"]) == (200, "ok", "bruno")
        status, reply = await click(session, {"agent": "bruno", "phone": "home"})
        assert (status, reply["outcome"]) == (409, "invalid")
        status, reply = await click(session, [])
        assert (status, reply["outcome"]) == (409, "invalid")
