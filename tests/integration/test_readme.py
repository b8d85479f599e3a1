"""The README's scripts, run as a reader would: each whole, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.integration.site import Site

README = Path(__file__).parents[2] / "README.md"
SCRIPT = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SUBSCRIBER, COMMANDER = SCRIPT.findall(README.read_text())


async def start(script: str, site: Site) -> asyncio.subprocess.Process:
    """Run one script against this site's broker."""
    url = site.settings.amqp.url.get_secret_value()
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env={**os.environ, "AMQP_URL": url}, stdout=PIPE
    )


async def test_the_subscriber_prints_calls(site: Site) -> None:
    """It hears an arriving call, as soon as its queue is bound."""
    process = await start(SUBSCRIBER, site)
    try:
        assert process.stdout
        line = asyncio.ensure_future(process.stdout.readline())
        async with asyncio.timeout(20):
            while not line.done():
                await site.say("<ana><R><0><85><988887777><0><3001><---><>$")
                await asyncio.wait((line,), timeout=0.3)
        assert b" ana inbound " in line.result()
    finally:
        process.kill()
        await process.wait()


async def test_the_commander_prints_its_reply(site: Site) -> None:
    """It asks for a call and prints what became of it."""
    process = await start(COMMANDER, site)
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.startswith(b"ok {'agent': 'ana'")
