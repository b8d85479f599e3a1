"""`tactium-bridge check`: each thing that is wrong has a line that says what to do, and no more."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aio_pika import connect
from pydantic import BaseModel, SecretStr

from bridge.check import Line, Verdict, check
from bridge.check.database import check as check_database
from bridge.sandbox import RabbitMQNode, private_rabbitmq
from bridge.settings import AmqpSettings, HttpSettings, JournalSettings, LinkSettings, Settings
from tests.integration.conftest import make_site
from tests.integration.program import ended, environment_of, program
from tests.integration.site import OpenSite, Site, until


async def lines(settings: Settings, *, register: bool = False) -> dict[str, Line]:
    """Return all lines, the worst of each name."""
    found: dict[str, Line] = {}
    async for line in check(settings, register=register):
        if line.name not in found or line.verdict is Verdict.FAILED:
            found[line.name] = line
    return found


@pytest.fixture
async def site(open_site: OpenSite) -> AsyncIterator[Site]:
    """A site without a bridge."""
    async with open_site() as opened:
        yield opened


def bad(found: dict[str, Line]) -> set[str]:
    return {name for name, line in found.items() if line.verdict is Verdict.FAILED}


async def names_at(site: Site) -> str:
    """Return what of the site's is declared that its subscriber has not declared."""
    async with await connect(site.settings.amqp.url.get_secret_value()) as connection:
        there = []
        for name in ("commands", "commands.dead", "dead"):
            channel = await connection.channel()
            try:
                await channel.declare_queue(f"tactium.{name}", passive=True)
                there.append(name)
            except Exception:  # noqa: BLE001, S110 - it is not there, which is the question
                pass
        return ", ".join(there)


async def test_where_all_is_well_it_says_so_and_changes_nothing(site: Site) -> None:
    """Every line ok; nothing declared, nobody registered, no journal made."""
    found = await lines(site.settings)
    assert bad(found) == set()
    assert {"settings", "tactium's name", "tactium", "broker's name", "broker", "journal"} <= set(
        found
    )
    assert {"configure permission", "write permission", "read permission", "topology"} <= set(found)
    assert {"journal's disk", "clock", "http"} <= set(found)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [name for name in found if f"`{name}`" not in readme] == []  # the runbook knows it
    assert await names_at(site) == ""
    assert site.tactium.administrators == 0
    assert not site.settings.journal.path.exists()
    assert site.inbox.empty()


async def test_it_registers_when_asked_to(site: Site) -> None:
    """And says that Tactium took it."""
    found = await lines(site.settings, register=True)
    assert found["registration"].verdict is Verdict.OK
    assert found["registration"].found.startswith("taken")


async def test_another_client_is_seen(site: Site) -> None:
    """Answers that nobody here asked for are another's."""

    async def pause_from_elsewhere() -> None:
        while True:
            if site.tactium.administrators:
                await site.say("<ana><OK>$")
            await asyncio.sleep(0.1)

    other = asyncio.create_task(pause_from_elsewhere())
    found = await lines(site.settings, register=True)
    other.cancel()
    assert "another client is seen" in found["registration"].found


async def test_a_bridge_that_runs_is_seen_and_left_alone(site: Site) -> None:
    """It is no fault; even with `--register` its place at Tactium is not taken."""
    async with site.bridge():
        await site.ask({"command": "get_agents"})
        found = await lines(site.settings, register=True)
        assert bad(found) == set()
        assert "runs already" in found["bridge"].found
        assert "left alone" in found["registration"].found
        assert site.tactium.administrators == 1


async def test_a_missing_right_is_named(site: Site, rabbitmq: RabbitMQNode) -> None:
    """Each of the three, with the names that it is missing for; no queue is touched."""
    vhost = site.settings.amqp.url.get_secret_value().rpartition("/")[2]
    url = site.settings.amqp.url.get_secret_value().replace("guest:guest", "mallory:x")
    amqp = AmqpSettings.model_validate({"url": url})
    await rabbitmq.ctl("add_user", "mallory", "x")
    try:
        for rights, wrong in (
            (("^$", "^tactium\\..*|amq\\.default", "^tactium\\..*"), "configure permission"),
            (("^tactium\\..*", "^tactium\\.commands.*$", "^tactium\\..*"), "write permission"),
            (("^tactium\\..*", "^tactium\\..*|amq\\.default", "^$"), "read permission"),
        ):
            await rabbitmq.ctl("set_permissions", "-p", vhost, "mallory", *rights)
            found = await lines(site.settings.model_copy(update={"amqp": amqp}))
            assert bad(found) - {"topology"} == {wrong}
            assert "tactium." in found[wrong].found
        rights = ("^tactium\\..*", "^(tactium\\..*|amq\\.default)$", "^tactium\\..*")
        await rabbitmq.ctl("set_permissions", "-p", vhost, "mallory", *rights)
        found = await lines(site.settings.model_copy(update={"amqp": amqp}))
        assert bad(found) == set()
        assert await names_at(site) == ""
        assert site.inbox.empty()
    finally:
        await rabbitmq.ctl("delete_user", "mallory")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"amqp": {"url": "amqp://guest:wrong-password@127.0.0.1:{port}/{vhost}"}}, "broker"),
        ({"amqp": {"url": "amqp://guest:guest@127.0.0.1:{port}/nowhere"}}, "broker"),
        ({"amqp": {"url": "amqp://guest:guest@127.0.0.1:1/"}}, "broker"),
        ({"amqp": {"url": "amqp://guest:guest@no.such.host.invalid/"}}, "broker's name"),
        ({"link": {"host": "no.such.host.invalid"}}, "tactium's name"),
        ({"link": {"host": "127.0.0.1", "port": 1}}, "tactium"),
        ({"journal": {"path": "/no/such/folder/bridge.db"}}, "journal"),
        ({"journal": {"path": "/proc/bridge.db"}}, "journal"),
    ],
)
async def test_what_is_wrong_is_named(site: Site, change: dict[str, Any], wrong: str) -> None:
    """One line fails, and says what to do; no password is in any."""
    url = site.settings.amqp.url.get_secret_value()
    port, vhost = url.rpartition(":")[2].split("/")
    kinds: dict[str, type[BaseModel]] = {
        "amqp": AmqpSettings,
        "link": LinkSettings,
        "journal": JournalSettings,
    }
    update = {}
    for part, given in change.items():
        filled = {
            key: value.format(port=port, vhost=vhost) if isinstance(value, str) else value
            for key, value in given.items()
        }
        update[part] = kinds[part].model_validate(filled)
    found = await lines(site.settings.model_copy(update=update))
    assert bad(found) == {wrong}
    assert found[wrong].todo
    assert ("vhost is not there" in found[wrong].found) == ("nowhere" in str(change))
    assert not any("wrong-password" in str(line) for line in found.values())


@pytest.mark.parametrize("abort", [False, True])
async def test_a_tactium_that_hangs_up_is_named(site: Site, *, abort: bool) -> None:
    """Who registers and is cut off cannot run, whatever way it is cut off."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"$")
        if abort:
            linger = struct.pack("ii", 1, 0)  # a close that is a reset
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        link = LinkSettings(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        settings = site.settings.model_copy(update={"link": link})
        found = await lines(settings, register=True)
    assert bad(found) == {"registration"}
    assert "closed" in found["registration"].found


async def test_an_alarm_at_the_broker_is_named(tmp_path: Path) -> None:
    """What it holds back does not hold back the check."""
    async with private_rabbitmq() as node, make_site(node.url(), tmp_path / "bridge.db") as site:
        await node.ctl("set_vm_memory_high_watermark", "0.000001")
        found = await lines(site.settings)
    assert "broker" in bad(found)
    assert "alarms" in found["broker"].todo
    assert "clock" in found


async def test_a_folder_is_no_journal(site: Site, tmp_path: Path) -> None:
    """It is named, though it can be written to."""
    journal = JournalSettings(path=tmp_path)
    found = await lines(site.settings.model_copy(update={"journal": journal}))
    assert bad(found) == {"journal"}


async def test_a_queue_that_differs_is_named(site: Site) -> None:
    """And only compared: it stays as it is."""
    await site.channel.declare_queue("tactium.commands", durable=True)
    found = await lines(site.settings)
    assert bad(found) == {"topology"}
    assert "tactium.commands" in found["topology"].found
    await site.channel.declare_queue("tactium.commands", durable=True)


async def test_a_port_that_is_taken_is_a_warning(site: Site) -> None:
    """The bridge would run; its page would not be there."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        http = HttpSettings.model_validate({"port": taken.getsockname()[1]})
        found = await lines(site.settings.model_copy(update={"http": http}))
    assert found["http"].verdict is Verdict.WARNING


async def test_the_command_says_it_and_ends_accordingly(site: Site, tmp_path: Path) -> None:
    """0 where a bridge could run, 1 where not, 2 for wrong settings; the password never shows."""
    environment = environment_of(site.settings)
    async with program("check", cwd=tmp_path, environment=environment) as process:
        code, out, _ = await ended(process, 30)
    assert code == 0
    assert "ok       settings: read; site main" in out
    secret = SecretStr("amqp://guest:s3cret-word@127.0.0.1:1/")
    wrong = environment | {"BRIDGE_AMQP__URL": secret.get_secret_value()}
    async with program("check", cwd=tmp_path, environment=wrong) as process:
        code, out, err = await ended(process, 30)
    assert code == 1
    assert "failed   broker" in out
    assert "→ " in out
    assert "s3cret" not in out + err
    wrong = environment | {"BRIDGE_LINK__PORT": "no"}
    async with program("check", cwd=tmp_path, environment=wrong) as process:
        code, out, err = await ended(process, 30)
    assert (code, out) == (2, "")
    assert "BRIDGE_LINK__PORT" in err
    await until(lambda: site.tactium.clients == 0)


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """`check` with a mistyped path says so, and leaves nothing behind."""
    path = tmp_path / "typo.db"
    url = f"sqlite:///{path}"
    given = LinkSettings.model_validate({"transport": "database", "database_url": url})
    said = [line async for line in check_database(given)]
    assert "there is no file" in said[-1].found
    assert not path.exists()
