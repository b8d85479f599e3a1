"""What is different where Tactium's tables are the way to it (§2.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import column, insert, make_url, select, table, text
from structlog.testing import capture_logs
from ulid_transform import ulid_now

from bridge.check import check
from bridge.errors import LinkRefused
from bridge.links import database
from bridge.links import tables as links_tables
from bridge.links.engine import open_engine
from bridge.observe.logs import configure, flush
from bridge.settings import LogSettings, Settings
from bridge.simulator import Faults
from bridge.simulator.rows import make_tables
from tests.databases import servers as databases
from tests.databases.servers import Server
from tests.integration.conftest import TACTIUM
from tests.integration.site import OpenSite, Site, until

pytestmark = pytest.mark.each_database

OTHER = {"prefix": "other"}
"""A bridge that knows nothing of the first: it would stand by, else."""

TABLES = ("T_TTO", "T_TTI")
QUICK = {"timeout": 1.0, "make_call_window": 1.0}
ARRIVES = "<ana><R><0><85><988887777><0><3001><---><>$"


class Tables:
    """Tactium's tables as somebody else sees them."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def make(self) -> None:
        """Make them, empty."""
        engine = open_engine(self.url)
        await make_tables(engine)
        await engine.dispose()

    async def put(self, *rows: tuple[int, str | None]) -> None:
        """Put rows into T_TTO, whatever their order."""
        named = table("T_TTO", column("IS_TTO"), column("DS_TTO"))
        values = [{"IS_TTO": number, "DS_TTO": said} for number, said in rows]
        await self._do(insert(named).values(values))

    async def rows(self, name: str = "T_TTO") -> list[str]:
        """Return the texts in a table, in order."""
        of = name.removeprefix("T_")
        named = table(name, column(f"IS_{of}"), column(f"DS_{of}"))
        return [said for (said,) in await self._do(select(named.c[1]).order_by(named.c[0]))]

    async def has_rows(self, name: str) -> bool:
        """Return whether a table holds anything."""
        return bool(await self.rows(name))

    async def has_none(self, name: str) -> bool:
        """Return whether a table is empty."""
        return not await self.rows(name)

    async def run(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements, with names in double quotes."""
        quote = "`" if self.url.startswith("mariadb") else '"'
        return await databases.run(self.url, *(each.replace('"', quote) for each in statements))

    async def _do(self, statement: Any) -> Sequence[Any]:
        engine = open_engine(self.url)
        async with engine.begin() as connection:
            result = await connection.execute(statement)
            found = result.all() if result.returns_rows else []
        await engine.dispose()
        return found


@pytest.fixture
async def tables(database_url: str) -> Tables:
    """Tactium's tables, empty."""
    found = Tables(database_url)
    await found.make()
    return found


@asynccontextmanager
async def bridging(site: Site) -> AsyncIterator[None]:
    """Run the bridge inside, once it reads."""
    async with site.bridge():
        await site.next_data("main.link.up")
        yield


async def keys(site: Site, count: int) -> list[str]:
    """Return the routing keys of the next messages."""
    return [(await site.next_message()).routing_key or "" for _ in range(count)]


async def test_rows_become_events_in_their_order_and_are_gone(
    open_site: OpenSite, tables: Tables
) -> None:
    """Also those that waited, and whatever the order in which they were put there."""
    texts = [f"<ana><G><{number}.wav>$" for number in range(1_200)]
    rows: list[tuple[int, str | None]] = list(enumerate(texts, 1))
    await tables.put(*reversed(rows))
    async with open_site() as site, bridging(site):
        heard = [json.loads((await site.next_message()).body)["data"]["raw"] for _ in texts]
        assert heard == texts
        await until(lambda: _is_empty(tables))


async def _is_empty(tables: Tables) -> bool:
    return not await tables.rows()


async def test_a_lower_number_that_comes_later_is_read(open_site: OpenSite, tables: Tables) -> None:
    """A database shows what was committed, and gives a number again on an empty table."""
    async with open_site() as site, bridging(site):
        for number in (7, 3, 7, 1):
            await tables.put((number, "<ana><S><1>$"))
            assert await keys(site, 1) == ["ana.agent.status"]
            await until(lambda: _is_empty(tables))


async def test_a_row_that_cannot_be_deleted_comes_once(
    open_site: OpenSite, tables: Tables, transport: str
) -> None:
    """Here the database keeps it; the log says so once, and all others go their way."""
    if transport != "sqlite":
        pytest.skip("a rule of SQLite's own")
    keep = "SELECT raise(IGNORE)"
    await tables.run(
        f'CREATE TRIGGER keep BEFORE DELETE ON "T_TTO" WHEN old.IS_TTO = 2 BEGIN {keep}; END'
    )
    await tables.put((1, "<ana><S><1>$"), (2, "<ana><S><2>$"), (3, "<ana><S><3>$"))
    with capture_logs() as logs:
        async with open_site() as site:
            async with bridging(site):
                assert await keys(site, 3) == ["ana.agent.status"] * 3
                await asyncio.sleep(1)
                await tables.put((4, "<ana><S><4>$"))
                assert (await site.next_data("ana.agent.status"))["code"] == 4
                await asyncio.sleep(0.5)
                assert site.inbox.empty()
            async with bridging(site):
                await tables.put((5, "<ana><EndCall>$"))
                heard = ""
                while heard != "ana.call.ended":
                    message = await site.next_message()
                    heard = message.routing_key or ""
                    assert b'"code":2' not in message.body
    assert [each["event"] for each in logs].count("rows_not_deleted") == 2


async def test_what_is_no_frame_is_told_and_deleted(open_site: OpenSite, tables: Tables) -> None:
    """Only one frame is a message; its `$` may be missing, and blanks around it do no harm."""
    await tables.put(
        (1, "  <ana><S><1>\r\n"),
        (2, "nothing"),
        (3, "<ana><S><2>$<ana><S><3>$"),
        (4, ""),
        (5, None),
        (6, "<ana><S><4>$"),
    )
    async with open_site() as site, bridging(site):
        heard = [json.loads((await site.next_message()).body) for _ in range(6)]
        assert [each["type"] for each in heard] == [
            "tactium.agent.status",
            *["tactium.bridge.frame.malformed"] * 4,
            "tactium.agent.status",
        ]
        assert heard[2]["data"]["text"] == "<ana><S><2>$<ana><S><3>$"
        assert (heard[0]["data"]["code"], heard[5]["data"]["code"]) == (1, 4)
        await until(lambda: _is_empty(tables))


async def test_what_is_no_frame_can_be_kept_aside(open_site: OpenSite, tables: Tables) -> None:
    """In a table like T_TTO, under the number that it had."""
    await tables.run('CREATE TABLE "ASIDE" ("IS_TTO" INTEGER, "DS_TTO" VARCHAR(100))')
    await tables.put((1, "<ana><S><1>$"), (2, "nothing"), (3, "<ana><S><2>$"))
    async with open_site(link={"malformed_table": "aside"}) as site, bridging(site):
        assert (await keys(site, 3))[1] == "main.frame.malformed"
        await until(lambda: _is_empty(tables))
    assert await tables.run('SELECT "IS_TTO", "DS_TTO" FROM "ASIDE"') == [(2, "nothing")]


async def test_names_are_found_in_any_case_and_can_be_others(
    open_site: OpenSite, database_url: str
) -> None:
    """Each table and column has a setting."""
    tables = Tables(database_url)
    await tables.run(
        'CREATE TABLE "saida" ("Numero" INTEGER, "texto" VARCHAR(200))',
        'CREATE TABLE "entrada" ("Numero" INTEGER, "texto" VARCHAR(200))',
        "INSERT INTO \"saida\" VALUES (1, '<ana><S><1>$')",
    )
    names = {
        "tto_table": "SAIDA",
        "tto_id": "NUMERO",
        "tto_text": "TEXTO",
        "tti_table": "ENTRADA",
        "tti_id": "NUMERO",
        "tti_text": "TEXTO",
        "tti_sequence": "bridge",
    }
    async with open_site(link=names, commands=QUICK) as site, bridging(site):
        assert await keys(site, 1) == ["ana.agent.status"]
        asking = asyncio.create_task(site.ask({"command": "get_status", "agent": "ana"}))
        await until(lambda: _has_rows(tables, 'SELECT "Numero", "texto" FROM "entrada"'))
        await tables.run("INSERT INTO \"saida\" VALUES (1, '<ana><S><2>$')")
        assert (await asking)["outcome"] == "ok"


async def _has_rows(tables: Tables, question: str) -> bool:
    return await tables.run(question) == [(1, "<ana><S>$")]


@pytest.mark.usefixtures("tables")
async def test_the_next_number_can_be_ours(open_site: OpenSite) -> None:
    """It is higher than all that are there, whoever gave them."""
    async with open_site(link={"tti_sequence": "bridge"}) as site, bridging(site):
        for agent in ("ana", "bruno", "carla"):
            assert (await site.ask({"command": "get_status", "agent": agent}))["outcome"] == "ok"


@pytest.mark.parametrize(
    "command",
    [
        {"command": "pause", "agent": "ana", "code": "1"},
        {"command": "make_call", "agent": "ana", "phone": "40050500"},
        {"command": "get_current_call", "agent": "ana"},
        {"command": "get_status", "agent": "ana"},
    ],
    ids=lambda command: command["command"],
)
async def test_what_nobody_takes_is_taken_back(
    open_site: OpenSite, tables: Tables, command: dict[str, Any]
) -> None:
    """It never ran, and will not run later either; the next command goes its way."""
    async with open_site(commands=QUICK) as site, bridging(site):
        await site.tactium.refuse()
        reply = await site.ask(command)
        assert reply["outcome"] == "unavailable"
        assert "taken back" in reply["error"]["message"]
        assert await tables.rows("T_TTI") == []
        await site.tactium.accept()
        assert (await site.ask({"command": "get_status", "agent": "ana"}))["outcome"] == "ok"
        assert b"".join(site.tactium.received) == b"<ana><S>$"


@pytest.mark.usefixtures("tables", "restored_logging")
async def test_no_log_shows_what_is_in_a_row(
    open_site: OpenSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even the libraries', where everything is logged."""
    async with open_site(commands=QUICK) as site:
        configure(LogSettings(level="debug", format="json"))
        async with bridging(site):
            await site.say(ARRIVES)
            await site.next_data("ana.call.started.inbound")
            await site.ask({"command": "make_call", "agent": "bruno", "phone": "977776666"})
    flush()
    said = capsys.readouterr().err
    assert "link_up" in said
    assert "988887777" not in said
    assert "977776666" not in said


async def test_what_is_taken_and_not_answered_is_a_timeout(open_site: OpenSite) -> None:
    """As over the socket."""
    silent = replace(TACTIUM, faults=Faults(unanswered=1.0))
    async with open_site(tactium=silent, commands=QUICK) as site, bridging(site):
        reply = await site.ask({"command": "pause", "agent": "ana", "code": "1"})
        assert reply["outcome"] == "timeout"


async def test_a_command_in_flight_is_taken_back_when_the_bridge_stops(
    open_site: OpenSite, tables: Tables
) -> None:
    """Nobody may carry it out hours later."""
    async with open_site() as site:
        async with bridging(site):
            await site.tactium.refuse()
            await site.send({"command": "pause", "agent": "ana", "code": "1"}, message_id="7")
            await until(lambda: _is_there(tables, "<ana><P><ON><1>$"))
        _, reply = await site.next_reply()
        assert reply["outcome"] == "unavailable"
        assert await tables.rows("T_TTI") == []


async def _is_there(tables: Tables, text: str) -> bool:
    return text in await tables.rows("T_TTI")


async def test_a_row_that_is_refused_is_told(open_site: OpenSite, tables: Tables) -> None:
    """A table that gives no numbers needs `tti_sequence`; the link stays up."""
    await tables.run(
        'DROP TABLE "T_TTI"',
        'CREATE TABLE "T_TTI" ("IS_TTI" INTEGER NOT NULL, "DS_TTI" VARCHAR(100))',
    )
    async with open_site(commands=QUICK) as site, bridging(site):
        reply = await site.ask({"command": "pause", "agent": "ana", "code": "1"})
        assert reply["outcome"] == "unavailable"
        assert "Tactium's database does not take it" in reply["error"]["message"]
        await tables.put((1, "<ana><S><1>$"))
        await site.next_data("ana.agent.status")


async def test_tables_that_go_away_are_a_gap(open_site: OpenSite, tables: Tables) -> None:
    """Said once; what waited in them comes when they are back."""
    async with open_site() as site, bridging(site):
        with capture_logs() as logs:
            await tables.run('ALTER TABLE "T_TTO" RENAME TO "AWAY"')
            down = await site.next_data("main.link.down")
            assert down["transport"] == "database"
            await tables.run("INSERT INTO \"AWAY\" VALUES (5, '<ana><S><1>$')")
            await asyncio.sleep(2)
            await tables.run('ALTER TABLE "AWAY" RENAME TO "T_TTO"')
            gap = await site.next_data("main.gap")
            assert gap["cause"] == "link_down"
            await site.next_data("ana.agent.status")
        assert [each["event"] for each in logs].count("link_down") == 1
        assert "link_waiting" not in [each["event"] for each in logs]


@pytest.mark.usefixtures("tables")
async def test_tables_that_are_not_there_are_said(open_site: OpenSite, database_url: str) -> None:
    """By the log, once, by the page and by `check`; the bridge waits for them."""
    async with open_site() as site:
        await site.tactium.refuse()
        drop = 'DROP TABLE "T_TTO"'.replace('"', _quote(database_url))

        async def is_dropped() -> bool:
            with suppress(LinkRefused):  # SQLite: Tactium's connection may be closing yet
                await databases.run(database_url, drop)
                return True
            return False

        await until(is_dropped, 30)
        with capture_logs() as logs:
            async with site.bridge() as program:
                await until(lambda: "T_TTO" in str(program.watch.status))
                await asyncio.sleep(1)
        assert [each["event"] for each in logs].count("link_waiting") == 1
        assert (await checked(site.settings))["tactium"].todo


def _quote(url: str) -> str:
    return "`" if url.startswith("mariadb") else '"'


async def checked(settings: Settings) -> dict[str, Any]:
    """Return the lines of `check`, by their name."""
    return {line.name: line async for line in check(settings, register=False)}


@pytest.mark.usefixtures("tables")
async def test_rights_that_are_missing_are_said(
    open_site: OpenSite, database_url: str, transport: str
) -> None:
    """Before anything is read: a row that cannot be deleted would come again and again."""
    if transport == "sqlite":
        pytest.skip("SQLite knows no users")
    url = make_url(database_url)
    user, host = f"u{ulid_now().lower()}", "@'%'" if transport == "mariadb" else ""
    quote = _quote(database_url)
    may_read = [f"GRANT SELECT ON {quote}{name}{quote} TO {user}{host}" for name in TABLES]
    made = f"CREATE USER {user}{host}" + (" IDENTIFIED BY ''" if host else "")
    await databases.run(database_url, made, *may_read)
    limited = url.set(username=user, password=None).render_as_string(hide_password=False)
    async with open_site(link={"database_url": limited}) as site, site.bridge() as program:
        await until(lambda: "denied" in str(program.watch.status))
        await asyncio.sleep(1)
        assert not program.watch.status["link"].ok
        line = (await checked(site.settings))["tactium"]
        assert "denied" in line.found
        assert "DELETE" in line.todo


async def test_a_database_that_dies_is_a_gap(
    open_site: OpenSite, tables: Tables, transport: str, database_servers: dict[str, Server]
) -> None:
    """A command in flight is uncertain, and its row is taken back when the database is there."""
    if transport == "sqlite":
        pytest.skip("SQLite does not die but with the bridge")
    server = database_servers[transport]
    async with open_site(commands={"timeout": 30.0}) as site, bridging(site):
        await site.tactium.refuse()
        await site.send({"command": "pause", "agent": "ana", "code": "1"})
        await until(lambda: _is_there(tables, "<ana><P><ON><1>$"))
        await server.kill()
        _, reply = await site.next_reply()
        assert reply["outcome"] == "uncertain"
        await server.start()
        assert (await site.next_data("main.gap"))["cause"] == "link_down"
        assert await tables.rows("T_TTI") == []
        await site.tactium.accept()
        assert (await site.ask({"command": "get_status", "agent": "ana"}))["outcome"] == "ok"


async def test_a_second_bridge_keeps_out(
    open_site: OpenSite, tables: Tables, tmp_path: Any
) -> None:
    """It says what is wrong, and no row is published twice."""
    async with (
        open_site() as first,
        open_site(journal={"path": tmp_path / "2.db"}, amqp=OTHER) as second,
        bridging(first),
    ):
        with capture_logs() as logs:
            async with second.bridge() as program:
                await until(lambda: "another bridge" in str(program.watch.status))
                await tables.put(*((number, "<ana><S><1>$") for number in range(1, 101)))
                ids = {(await first.next_message()).message_id for _ in range(100)}
                assert len(ids) == 100
                await asyncio.sleep(0.5)
                assert first.inbox.empty()
        (said,) = [each for each in logs if each["event"] == "link_waiting"]
        assert "stop one of the two" in said["reason"]


async def test_a_second_bridge_takes_over_in_the_end(
    open_site: OpenSite, tables: Tables, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the other has been gone for longer than it would take to start again."""
    monkeypatch.setattr(database, "YIELD_SECONDS", 1.0)
    async with (
        open_site() as first,
        open_site(journal={"path": tmp_path / "2.db"}, amqp=OTHER) as second,
    ):
        async with bridging(first):
            waiting = asyncio.create_task(_until_it_reads(second))
            await asyncio.sleep(1)
            assert not waiting.done()
        await tables.put((1, "<ana><S><1>$"))
        await waiting


async def _until_it_reads(site: Site) -> None:
    async with site.bridge():
        while (await site.next_message()).routing_key != "ana.agent.status":
            pass


@pytest.mark.usefixtures("tables")
async def test_what_check_says(open_site: OpenSite) -> None:
    """Where all is well."""
    async with open_site() as site:
        lines = await checked(site.settings)
        assert not lines["tactium"].todo
        assert "both tables" in lines["tactium"].found


async def test_what_waited_answers_nothing_that_is_asked_now(
    open_site: OpenSite, tables: Tables
) -> None:
    """An old end of a call is not the answer to a new command."""
    rows: list[tuple[int, str | None]] = [(number, "<ana><G><x>$") for number in range(1, 2_000)]
    await tables.put(*rows, (2_000, "<ana><EndCall>$"))
    async with open_site(commands=QUICK) as site:
        await site.tactium.refuse()
        async with site.bridge():
            reply = await site.ask({"command": "hang_up", "agent": "ana"})
        assert reply["outcome"] == "unavailable"
    assert await tables.rows("T_TTI") == []


async def test_an_answer_that_comes_over_the_next_connection(
    open_site: OpenSite, tables: Tables
) -> None:
    """It waited in the table, and answers nothing but what it was for."""
    async with open_site(commands={"timeout": 5.0}) as site, bridging(site):
        await site.tactium.refuse()
        await site.send({"command": "pause", "agent": "ana", "code": "1"})
        await until(lambda: _is_there(tables, "<ana><P><ON><1>$"))
        await tables.run('DELETE FROM "T_TTI"')  # Tactium has taken it
        await tables.run('ALTER TABLE "T_TTO" RENAME TO "AWAY"')
        assert (await site.next_reply())[1]["outcome"] == "uncertain"
        await tables.run("INSERT INTO \"AWAY\" VALUES (5, '<ana><OK>$')")
        await site.send({"command": "pause", "agent": "ana", "code": "2"})
        await tables.run('ALTER TABLE "AWAY" RENAME TO "T_TTO"')
        await until(lambda: _is_there(tables, "<ana><S>$"))  # the fence comes first
        await site.tactium.accept()
        _, reply = await site.next_reply()
        assert reply["outcome"] == "ok"
        assert b"<ana><P><ON><2>$" in site.tactium.received


async def test_a_huge_row_is_told_in_part(open_site: OpenSite, tables: Tables) -> None:
    """A message that no broker takes would hold up all behind it."""
    await tables.put((1, "<ana><" + "x" * 2_000 + ">$"), (2, "<ana><S><1>$"))
    async with open_site(link={"max_frame_bytes": 1024}) as site, bridging(site):
        malformed = await site.next_data("main.frame.malformed")
        assert "over 1024 bytes" in malformed["reason"]
        assert len(malformed["text"]) == 1024
        await site.next_data("ana.agent.status")


async def test_what_cannot_be_taken_back_is_uncertain(
    open_site: OpenSite, tables: Tables, transport: str
) -> None:
    """A call whose row is locked by another may be made yet: nobody is told that it was sent."""
    if transport != "postgresql":
        pytest.skip("the other databases wait for longer than a test should")
    engine = open_engine(tables.url)
    async with open_site(commands=QUICK) as site, bridging(site):
        await site.tactium.refuse()
        await site.send({"command": "make_call", "agent": "ana", "phone": "40050500"})
        await until(lambda: tables.has_rows("T_TTI"))
        async with engine.connect() as other:
            await other.execute(text('SELECT * FROM "T_TTI" FOR UPDATE'))
            _, reply = await site.next_reply()
            assert reply["outcome"] == "uncertain"
            await other.rollback()
        await until(lambda: tables.has_none("T_TTI"))
    await engine.dispose()


async def test_a_connection_that_was_idle_for_long_writes(
    open_site: OpenSite, tables: Tables, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server ends connections over which nothing was said for a while."""
    if transport != "mariadb":
        pytest.skip("no other database ends them by itself")
    monkeypatch.setattr(links_tables, "IDLE_SECONDS", 1.0)
    await databases.run(tables.url, "SET GLOBAL wait_timeout = 2")
    try:
        async with open_site() as site, bridging(site):
            for code in ("1", "2"):
                asked = {"command": "pause", "agent": "ana", "code": code}
                assert (await site.ask(asked))["outcome"] == "ok"
                await asyncio.sleep(4)
    finally:
        await databases.run(tables.url, "SET GLOBAL wait_timeout = 28800")


async def test_rows_of_one_number(open_site: OpenSite, database_url: str) -> None:
    """Tables without a key may hold them: each is published, and the bridge goes on."""
    tables = Tables(database_url)
    for of in ("TTO", "TTI"):
        await tables.run(f'CREATE TABLE "T_{of}" ("IS_{of}" INTEGER, "DS_{of}" VARCHAR(100))')
    async with open_site() as site, bridging(site):
        await tables.put((7, "<ana><S><1>$"), (7, "<ana><S><2>$"))
        told = [(await site.next_data("ana.agent.status"))["code"] for _ in range(2)]
        assert sorted(told) == [1, 2]
        await tables.put((8, "<ana><S><3>$"))
        assert (await site.next_data("ana.agent.status"))["code"] == 3


async def test_the_sequence_behind_a_table(
    open_site: OpenSite, tables: Tables, transport: str
) -> None:
    """PostgreSQL wants a right of its own for it, which `check` and the link miss at once."""
    if transport != "postgresql":
        pytest.skip("no other database has it")
    user = f"limited_{ulid_now().lower()}"
    await tables.run(
        f"CREATE USER {user}",
        f'GRANT SELECT, DELETE ON "T_TTO" TO {user}',
        f'GRANT SELECT, DELETE, INSERT ON "T_TTI" TO {user}',
    )
    url = make_url(tables.url).set(username=user).render_as_string(hide_password=False)
    async with open_site(link={"database_url": url}) as site:
        with capture_logs() as logs:
            async with site.bridge():
                await until(lambda: any(each["event"] == "link_waiting" for each in logs))
        (said,) = [each for each in logs if each["event"] == "link_waiting"]
        assert "grant USAGE on it" in said["reason"]
