"""The README's scripts, run as a reader would: each whole, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.site import Site

ROOT = Path(__file__).parents[2]
LANGUAGES = ("README.md", "README.pt-BR.md")
MOST_LINES = 30
_BLOCK = re.compile(r"^```(python|javascript)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Script:
    """A script of a README."""

    readme: str
    language: str
    text: str

    def __str__(self) -> str:
        kind = "pika" if "import pika" in self.text else self.language
        return f"{self.readme.removesuffix('.md')}-{kind}"

    @property
    def command(self) -> list[str]:
        """How to run it."""
        if self.language == "python":
            return [sys.executable, "-c", self.text]
        return ["node", "-e", self.text]


def scripts(readme: str) -> list[Script]:
    """Return the scripts of a README, in order."""
    return [Script(readme, *found) for found in _BLOCK.findall((ROOT / readme).read_text("utf-8"))]


ALL = [each for readme in LANGUAGES for each in scripts(readme)]
SUBSCRIBERS = [each for each in ALL if "consume" in each.text and "reply" not in each.text]
SUBSCRIBERS += [each for each in ALL if "bridge.events(" in each.text]
COMMANDERS = [each for each in ALL if "make_call" in each.text]


@asynccontextmanager
async def started(script: Script, site: Site) -> AsyncIterator[Process]:
    """Run one script against this site's broker inside."""
    url = site.settings.amqp.url.get_secret_value()
    modules = str(ROOT / "tests" / "node" / "node_modules")
    process = await asyncio.create_subprocess_exec(
        *script.command, env={**os.environ, "AMQP_URL": url, "NODE_PATH": modules}, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_each_language_has_each_script() -> None:
    """Python with the client and with pika, and Node.js, to subscribe and to command; short."""
    assert len(ALL) == 6 * len(LANGUAGES)
    assert len(SUBSCRIBERS) == len(COMMANDERS) == 3 * len(LANGUAGES)
    assert [each for each in ALL if len(each.text.splitlines()) >= MOST_LINES] == []


@pytest.mark.parametrize("script", SUBSCRIBERS, ids=str)
async def test_the_subscriber_prints_calls(site: Site, script: Script) -> None:
    """It hears an arriving call, as soon as its queue is bound."""
    async with started(script, site) as process:
        assert process.stdout
        line = asyncio.ensure_future(process.stdout.readline())
        async with asyncio.timeout(20):
            while not line.done():
                await site.say("<ana><R><0><85><988887777><0><3001><---><>$")
                await asyncio.wait((line,), timeout=0.3)
        assert b" ana inbound " in line.result()


@pytest.mark.parametrize("script", COMMANDERS, ids=str)
async def test_the_commander_prints_its_reply(site: Site, script: Script) -> None:
    """It asks for a call and prints what became of it."""
    async with started(script, site) as process, asyncio.timeout(30):
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.startswith(b"ok ")
    assert b"ana" in out
