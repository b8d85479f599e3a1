"""`send` and `tail`, as a user types them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.program import ended, program, stopped
from tests.integration.site import Site

ARRIVES = "<ana><R><0><85><988887777><0><3001><---><>$"


def environment(site: Site) -> dict[str, str]:
    return {"BRIDGE_AMQP__URL": site.settings.amqp.url.get_secret_value()}


async def sent(site: Site, cwd: Path, *arguments: str) -> tuple[int, str, str]:
    """Send a command; return the exit code, and what was printed."""
    async with program("send", *arguments, cwd=cwd, environment=environment(site)) as process:
        return await ended(process, 30)


@asynccontextmanager
async def tailing(site: Site, cwd: Path, *arguments: str) -> AsyncIterator[Process]:
    """Run `tail` inside."""
    async with program("tail", *arguments, cwd=cwd, environment=environment(site)) as process:
        yield process


async def first_line(process: Process, site: Site) -> str:
    """Return the first line that is printed, with calls arriving until then."""
    assert process.stdout
    line = asyncio.ensure_future(process.stdout.readline())
    async with asyncio.timeout(30):
        while not line.done():
            await site.say(ARRIVES)
            await asyncio.wait((line,), timeout=0.3)
    return line.result().decode()


async def test_send_prints_the_reply(site: Site, tmp_path: Path) -> None:
    """One line of JSON with the contract's keys, and 0."""
    context = '{"order": 7}'
    code, out, err = await sent(
        site, tmp_path, "get_status", "--agent", "ana", "--context", context, "--message-id", "x"
    )
    assert (code, err) == (0, "")
    [line] = out.splitlines()
    reply = json.loads(line)
    assert list(reply) == [
        *("id", "command", "agent", "outcome", "data", "error", "raw"),
        *("received_at", "sent_at", "replied_at", "context"),
    ]
    assert (reply["id"], reply["outcome"], reply["context"]) == ("x", "ok", {"order": 7})


async def test_send_ends_with_1_where_it_did_not_go_well(site: Site, tmp_path: Path) -> None:
    """The reply is printed all the same."""
    code, out, _ = await sent(site, tmp_path, "hang_up", "--agent", "carla")
    assert code == 1
    assert json.loads(out)["outcome"] == "rejected"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["make_call", "--agent", "ana"], "Missing option '--phone'"),
        (["dance"], "No such command 'dance'"),
        (["pause", "--agent", "ana", "--code", "1", "--context", "[]"], "no JSON object"),
        (["pause", "--agent", "ana", "--code", "1", "--context", "{"], "no JSON"),
        (["pause", "--agent", "ana", "--code", "1>$<ana><D"], "must not hold"),
        (["make-call", "--agent", "ana", "--phone", "home"], "phone: must be"),
        (["set_disposition", "--agent", "ana", "--disposition", "x"], "answering_machine"),
    ],
)
async def test_wrong_usage_of_send_ends_with_2(
    site: Site, tmp_path: Path, arguments: list[str], said: str
) -> None:
    """With one line that says what is wrong; nothing is sent."""
    code, out, err = await sent(site, tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert said in err


async def test_send_without_a_broker_ends_with_1(tmp_path: Path) -> None:
    """After its timeout, with the reason."""
    nowhere = {"BRIDGE_AMQP__URL": "amqp://localhost:1/"}
    arguments = ("send", "get_agents", "--timeout", "0.1")
    async with program(*arguments, cwd=tmp_path, environment=nowhere) as process:
        code, _, err = await ended(process, 30)
    assert code == 1
    assert "it was not sent" in err


async def test_tail_prints_events_for_people(site: Site, tmp_path: Path) -> None:
    """A line each, without a telephone number that can be read."""
    async with tailing(site, tmp_path, "*.call.started.*") as process:
        line = await first_line(process, site)
        assert " ana.call.started.inbound agent=ana call_id=" in line
        assert "988887777" not in line
        assert "***77" in line
        await stopped(process)


async def test_tail_prints_whole_events_for_pipes(site: Site, tmp_path: Path) -> None:
    """As they came, a line each."""
    async with tailing(site, tmp_path, "--json", "*.call.started.*") as process:
        event = json.loads(await first_line(process, site))
        assert event["data"]["origin"] == "988887777"
        assert event["specversion"] == "1.0"
        await stopped(process)


async def test_tail_prints_what_the_bridge_says(site: Site, tmp_path: Path) -> None:
    """With `--bridge`, by the keys of that exchange."""
    async with tailing(site, tmp_path, "--bridge", "main.command.*") as process:
        assert process.stdout
        line = asyncio.ensure_future(process.stdout.readline())
        async with asyncio.timeout(30):
            while not line.done():
                await site.ask({"command": "get_status", "agent": "ana"})
                await asyncio.wait((line,), timeout=0.3)
        assert b" main.command.ok " in line.result()
        await stopped(process)


async def test_a_pipe_that_is_closed_ends_tail_in_order(site: Site, tmp_path: Path) -> None:
    """`tail | head -1`: the line, no traceback, and 0."""
    tail = f"{sys.executable} -m bridge tail --json '*.call.started.*'"
    command = f"{tail} | head -1; echo ${{PIPESTATUS[0]}}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **environment(site)},
        stdout=PIPE,
        stderr=PIPE,
    )
    talking = asyncio.ensure_future(process.communicate())
    async with asyncio.timeout(30):
        while not talking.done():
            await site.say(ARRIVES)
            await asyncio.wait((talking,), timeout=0.3)
    out, err = talking.result()
    event, status = out.decode().splitlines()
    assert json.loads(event)["type"] == "tactium.call.started"
    assert (status, err) == ("0", b"")


async def test_the_shell_completes_commands_and_options(tmp_path: Path) -> None:
    """As click has it for bash, zsh and fish."""
    completing = {"_TACTIUM_BRIDGE_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    script = tmp_path / "tactium-bridge"
    script.write_text("from bridge.cli import main\nmain()\n")
    words = {"COMP_WORDS": "tactium-bridge send make"}
    async with program(cwd=tmp_path, script=script, environment={**completing, **words}) as process:
        _, out, _ = await ended(process, 30)
    assert out.split() == ["plain,make_call"]
