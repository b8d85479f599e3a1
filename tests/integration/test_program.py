"""The programs as processes of their own: what they print, how they end, what they leave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.sandbox import RabbitMQNode
from tests.integration.program import STOP_SECONDS, ended, environment_of, program, stopped
from tests.integration.site import OpenSite, until

DEMO_SECONDS = 60.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_finishes_what_is_in_flight_and_exits_0(
    open_site: OpenSite, tmp_path: Path, number: int
) -> None:
    """A command in flight gets its answer, one not begun stays queued, and the exit is clean."""
    async with open_site() as site:
        async with program(
            "run", cwd=tmp_path, environment=environment_of(site.settings)
        ) as process:
            await site.next_data("main.link.up")
            begun = await site.send({"command": "pause", "agent": "silent", "code": "1"})
            waiting = await site.send({"command": "pause", "agent": "silent", "code": "2"})
            await until(lambda: b"<silent><P><ON><1>$" in site.tactium.received)
            process.send_signal(number)
            await asyncio.sleep(0.5)
            await site.say("<silent><OK>$")
            code, out, err = await ended(process)
        message, reply = await site.next_reply()
        assert (message.correlation_id, reply["outcome"]) == (begun, "ok")
        assert code == 0
        assert out == ""
        lines = [json.loads(line) for line in err.splitlines()]
        last = [line["event"] for line in lines][-3:]
        assert last == ["link_down", "leading_no_more", "stopped"]
        assert "guest:guest" not in err
        queue = await site.channel.get_queue("tactium.commands", ensure=False)
        kept = await queue.get(timeout=5)
        assert kept.correlation_id == waiting
        assert b"<silent><P><ON><2>$" not in site.tactium.received
        assert await site.next_data("main.link.down")


async def test_run_stops_within_ten_seconds_with_nobody_there(tmp_path: Path) -> None:
    """Neither Tactium nor a broker: it says what it waits for, and still stops at once."""
    environment = {
        "BRIDGE_LINK__PORT": "9",
        "BRIDGE_AMQP__URL": "amqp://guest:hunter2@127.0.0.1:9/",
        "BRIDGE_LOG__FORMAT": "json",
    }
    async with program("run", cwd=tmp_path, environment=environment) as process:
        assert process.stderr
        seen: set[str] = set()
        while not {"link_waiting", "broker_down"} <= seen:
            async with asyncio.timeout(STOP_SECONDS):
                line = json.loads(await process.stderr.readline())
            assert "hunter2" not in str(line)
            seen.add(line["event"])
        process.send_signal(signal.SIGTERM)
        code, _, _ = await ended(process)
    assert code == 0
    assert {Path(path).name for path in left_behind(tmp_path)} == {"bridge.db", "bridge.db.lock"}


async def test_systemd_is_told(open_site: OpenSite, tmp_path: Path) -> None:
    """That it is up, how it does, that it lives and that it stops."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(STOP_SECONDS)

        async def heard() -> str:
            return (await asyncio.to_thread(told.recv, 1_000)).decode()

        async with open_site() as site:
            environment = environment_of(site.settings) | {
                "NOTIFY_SOCKET": told.getsockname(),
                "WATCHDOG_USEC": "900000",
            }
            async with program("run", cwd=tmp_path, environment=environment) as process:
                assert (await heard()).startswith("READY=1\nSTATUS=")
                await site.next_data("main.link.up")
                while "waits" in (alive := await heard()):
                    assert alive.startswith("WATCHDOG=1\n")
                await stopped(process)
                while await heard() != "STOPPING=1":
                    pass


async def test_a_second_signal_changes_nothing(open_site: OpenSite, tmp_path: Path) -> None:
    """The end is under way already: exit 0 all the same."""
    async with (
        open_site() as site,
        program("run", cwd=tmp_path, environment=environment_of(site.settings)) as process,
    ):
        await site.next_data("main.link.up")
        for _ in range(20):
            if process.returncode is None:  # asked otherwise it would take the exit code away
                with suppress(ProcessLookupError):  # it ended, and asyncio has not said so yet
                    os.kill(process.pid, signal.SIGTERM)
            await asyncio.sleep(0.01)
        code, _, err = await ended(process)
    assert code == 0
    assert "Traceback" not in err


async def test_run_stops_within_ten_seconds_with_nobody_answering(
    open_site: OpenSite, rabbitmq: RabbitMQNode, tmp_path: Path
) -> None:
    """The broker hangs and Tactium owes an answer: it stops all the same."""
    async with (
        open_site() as site,
        program("run", cwd=tmp_path, environment=environment_of(site.settings)) as process,
    ):
        await site.next_data("main.link.up")
        await site.send({"command": "pause", "agent": "silent", "code": "1"})
        await until(lambda: b"<silent><P><ON><1>$" in site.tactium.received)
        rabbitmq.suspend()
        try:
            process.send_signal(signal.SIGTERM)
            code, _, err = await ended(process)
        finally:
            rabbitmq.resume()
    assert code == 0
    assert "Traceback" not in err
    assert json.loads(err.splitlines()[-1])["event"] == "stopped"


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"BRIDGE_LINK__PORT": "abc"}, "BRIDGE_LINK__PORT: 'abc'"),
        ({"BRIDGE_LINK__TRANSPORT": "pigeon"}, "'socket'"),
        ({"BRIDGE_COLOUR": "red"}, "BRIDGE_COLOUR: there is no such setting"),
        ({"BRIDGE_AMQP__URL": "http://u:hunter2@h"}, "BRIDGE_AMQP__URL"),
        ({"BRIDGE_LINK__TLS": "1", "BRIDGE_LINK__TLS_CA_FILE": "/nope"}, "TLS_CA_FILE"),
        ({"BRIDGE_CONFIG": "/nope.toml"}, "/nope.toml"),
    ],
)
async def test_wrong_settings_end_with_2_and_one_line(
    tmp_path: Path, environment: dict[str, str], line: str
) -> None:
    """One line names the setting, what it was and what it may be; no secret is in it."""
    async with program("run", cwd=tmp_path, environment=environment) as process:
        code, out, err = await ended(process)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert line in err
    assert "hunter2" not in err


async def test_a_journal_in_use_ends_with_2(open_site: OpenSite, tmp_path: Path) -> None:
    """A second bridge on the same journal says whose it is, and disturbs the first in nothing."""
    async with open_site() as site, site.bridge():
        async with program(
            "run", cwd=tmp_path, environment=environment_of(site.settings)
        ) as process:
            code, _, err = await ended(process)
        assert code == 2
        assert f"in use by another bridge, process {os.getpid()}" in err
        assert (await site.ask({"command": "get_status", "agent": "ana"}))["outcome"] == "ok"


async def test_wrong_usage_ends_with_2(tmp_path: Path) -> None:
    """An unknown option or command is wrong usage."""
    for arguments in (["run", "--loud"], ["dance"], ["simulate", "--port", "x"]):
        async with program(*arguments, cwd=tmp_path) as process:
            code, _, err = await ended(process)
        assert code == 2
        assert "Error: " in err


async def test_config_is_read_after_the_subcommand(tmp_path: Path) -> None:
    """`run --config FILE` reads TOML, and a wrong value in it is named like any other."""
    (tmp_path / "bridge.toml").write_text("[link]\nhandshake = 'wave'\n")
    async with program("run", "--config", "bridge.toml", cwd=tmp_path) as process:
        code, _, err = await ended(process)
    assert code == 2
    assert "BRIDGE_LINK__HANDSHAKE: 'wave'" in err


async def test_simulate_is_a_program(tmp_path: Path) -> None:
    """It listens, says where, answers a client, and ends with 0 on SIGTERM."""
    async with program("simulate", "--port", "0", "--agents", "ana,bruno", cwd=tmp_path) as process:
        assert process.stderr
        async with asyncio.timeout(STOP_SECONDS):
            listening = json.loads(await process.stderr.readline())
            assert listening["event"] == "simulator_listening"
            reader, writer = await asyncio.open_connection("127.0.0.1", listening["port"])
            writer.write(b"<ana><S>$")
            assert await reader.readuntil(b"$") == b"<ana><S><1>$"
        process.send_signal(signal.SIGTERM)
        code, _, _ = await ended(process)
        writer.close()
    assert code == 0


async def test_demo_shows_everything_and_leaves_nothing(tmp_path: Path) -> None:
    """Off a terminal: plain lines of events, commands and replies, a summary, exit 0."""
    async with program("demo", "--seconds", "6", cwd=tmp_path) as process:
        code, out, err = await ended(process, DEMO_SECONDS)
    assert (code, err) == (0, "")
    kinds = {line.split()[1] for line in out.splitlines() if line[2:3] == ":"}
    assert {"event", "command", "reply"} <= kinds
    assert "events received:" in out
    assert "40050500" not in out
    assert not left_behind(tmp_path)


_LOST_BY_PYTHON = """
import os, signal, sys
from bridge.cli.early import ended_by_signals

class Dying:
    def __del__(self):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        for _ in range(1000):
            pass

before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
with ended_by_signals():
    pass
assert before == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
with ended_by_signals():
    Dying()
sys.exit("it went on")
"""
"""As where a module has just been imported: what is raised there is printed and forgotten."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_no_signal_is_lost_before_anything_has_begun(tmp_path: Path, number: int) -> None:
    """It ends the process wherever it falls, also where Python would lose an exception."""
    script = tmp_path / "dying.py"
    script.write_text(_LOST_BY_PYTHON)
    async with program(signal.Signals(number).name, cwd=tmp_path, script=script) as process:
        assert await ended(process) == (0, "", "")


@pytest.mark.parametrize("after_seconds", [0.7, 9.0])
async def test_demo_interrupted_leaves_nothing(tmp_path: Path, after_seconds: float) -> None:
    """Ctrl-C while the node starts, or while all is flowing: no process and no file is left."""
    async with program("demo", cwd=tmp_path) as process:
        await asyncio.sleep(after_seconds)
        process.send_signal(signal.SIGINT)
        await ended(process)
    assert not left_behind(tmp_path)


def left_behind(folder: Path) -> list[str]:
    """Return the files in a folder, and the processes that were told of it."""
    found = [str(path) for path in folder.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue  # it has just ended, or is not ours
        if str(folder).encode() in told:
            found.append(told.decode(errors="replace"))
    return found
