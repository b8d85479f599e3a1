"""Two bridges of one site: one leads, the other knows what it knows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aio_pika import connect
from aio_pika.abc import AbstractQueue
from pydantic import SecretStr
from yarl import URL

from bridge.amqp import following, leadership, notes, session
from bridge.app import Program
from bridge.core.journal import Depth
from bridge.core.notes import Lasting
from bridge.errors import BrokerDown
from bridge.sandbox import RabbitMQNode
from tests.faults.proxy import FaultProxy
from tests.integration.http import asking
from tests.integration.site import OpenSite, Site, until

pytestmark = pytest.mark.socket_only

HEARTBEATS = "tactium.leader.heartbeat"


@pytest.fixture(params=["exclusive", "surviving"])
def either_queue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand by through the queue for RabbitMQ's old metadata store, and the one for its new."""
    survives = request.param == "surviving"
    monkeypatch.setattr(leadership, "keeps_lost_queues", lambda _: survives)


@asynccontextmanager
async def standing_by(site: Site, tmp_path: Path, **amqp: Any) -> AsyncIterator[Program]:
    """Run a second bridge inside, beside the one that leads."""
    journal = site.settings.journal.model_copy(update={"path": tmp_path / "second.db"})
    changed = {"journal": journal, "amqp": site.settings.amqp.model_copy(update=amqp)}
    second = Site(site.tactium, site.settings.model_copy(update=changed), site.channel)
    async with second.bridge() as program:
        yield program


@asynccontextmanager
async def until_it_leads(program: Program) -> AsyncIterator[None]:
    """Wait until a bridge leads, before another one may."""
    await until(lambda: leads(program))
    yield


@asynccontextmanager
async def keeping(site: Site, journal: Path) -> AsyncIterator[Program]:
    """Run the site's bridge inside, with this journal."""
    changed = site.settings.journal.model_copy(update={"path": journal})
    site.settings = site.settings.model_copy(update={"journal": changed})
    async with site.bridge() as program:
        yield program


async def has_taken(queue: AbstractQueue) -> bool:
    """Take a message and keep it, as one does who dies before it acknowledges."""
    return await queue.get(fail=False) is not None


def broker_of(site: Site) -> URL:
    return URL(site.settings.amqp.url.get_secret_value())


def is_standby(program: Program) -> bool:
    return program.watch.status.is_ready and program.watch.status.role == "standby"


def leads(program: Program) -> bool:
    return program.watch.status.is_ready and program.watch.status.role == "leader"


def knows(program: Program, agent: str) -> bool:
    """Return whether an agent stands on its page."""
    shown = json.loads(program.watch.board.snapshot(Depth(0, 0, 0), 0))
    return agent in [tile["agent"] for tile in shown["agents"]]


async def test_a_standby_is_ready_and_says_so(open_site: OpenSite, tmp_path: Path) -> None:
    """`/readyz`, the numbers and the page tell who leads; Tactium sees one administrator."""
    async with (
        open_site() as site,
        site.bridge() as first,
        until_it_leads(first),
        standing_by(site, tmp_path) as second,
        asking(second) as http,
    ):
        await until(lambda: is_standby(second))
        status, said = await http.ready()
        assert status == 200
        assert (said["role"], said["ready"]) == ("standby", True)
        assert said["link"]["ok"] is None
        assert said["link"]["reason"].endswith(" leads")
        assert (await http.metrics())["leader"] == 0
        assert site.tactium.administrators == 1


@pytest.mark.usefixtures("either_queue")
async def test_the_next_one_knows_the_agents_and_their_calls(
    open_site: OpenSite, tmp_path: Path
) -> None:
    """A call goes on under its id, with its context, and the gap is as long as it was."""
    async with open_site() as site, AsyncExitStack() as second_runs:
        async with site.bridge():
            await site.next_data("main.link.up")
            call = {"command": "make_call", "agent": "ana", "phone": "40050500"}
            await site.send({**call, "context": {"order": "A-77"}})
            started = await site.next_data("ana.call.started.outbound")
            second = await second_runs.enter_async_context(standing_by(site, tmp_path))
            await until(lambda: is_standby(second))
            await until(lambda: knows(second, "ana"))
            await site.say("<ana><G></1.wav>$")
            await site.next_data("ana.call.recorded")
            stopped_at = datetime.now(UTC)
        await until(lambda: leads(second))
        gap = await site.next_data("main.gap")
        assert gap["cause"] == "takeover"
        begin, end = map(datetime.fromisoformat, (gap["from"], gap["to"]))
        assert begin <= stopped_at + timedelta(seconds=1)
        assert end - begin < timedelta(seconds=10)
        await site.say("<ana><EndCall>$")
        ended = await site.next_data("ana.call.ended")
        assert ended["call_id"] == started["call_id"]
        assert ended["context"] == {"order": "A-77"}
        assert ended["recordings"] == ["/1.wav"]
        assert ended["started_at"] is not None


@pytest.mark.usefixtures("either_queue")
async def test_it_is_so_with_classic_queues(open_site: OpenSite, tmp_path: Path) -> None:
    """One leads, the other one stands by, and leads once the first is gone."""
    async with open_site() as site, AsyncExitStack() as second_runs:
        amqp = site.settings.amqp.model_copy(update={"queue_type": "classic"})
        site.settings = site.settings.model_copy(update={"amqp": amqp})
        async with site.bridge() as first:
            await until(lambda: leads(first))
            second = await second_runs.enter_async_context(standing_by(site, tmp_path))
            await until(lambda: is_standby(second))
            assert not leads(second)
        await until(lambda: leads(second))
        reply = await site.ask({"command": "pause", "agent": "ana", "code": "1"})
        assert reply["outcome"] == "ok"
        assert site.tactium.administrators == 1


async def test_a_command_is_answered_the_same_by_the_next_one(
    open_site: OpenSite, tmp_path: Path
) -> None:
    """Who asks again gets the first answer, though another bridge gave it; it runs once."""
    pause = {"command": "pause", "agent": "ana", "code": "1"}
    async with open_site() as site, AsyncExitStack() as second_runs:
        async with site.bridge():
            await site.next_data("main.link.up")
            second = await second_runs.enter_async_context(standing_by(site, tmp_path))
            await until(lambda: is_standby(second))
            first = await site.ask(pause, message_id="7")
            assert first["outcome"] == "ok"
        await until(lambda: leads(second))
        assert await site.ask(pause, message_id="7") == first
        assert list(site.tactium.received).count(b"<ana><P><ON><1>$") == 1


@pytest.mark.usefixtures("either_queue")
async def test_who_comes_later_knows_the_commands_of_before(
    open_site: OpenSite, tmp_path: Path
) -> None:
    """A `message_id` is run once, though it was before this bridge stood by, and after."""
    pause = {"command": "pause", "agent": "ana", "code": "1"}
    async with open_site() as site, AsyncExitStack() as second_runs:
        async with site.bridge():
            await site.next_data("main.link.up")
            first = await site.ask(pause, message_id="7")
            second = await second_runs.enter_async_context(standing_by(site, tmp_path))
            await until(lambda: is_standby(second))
            await asyncio.sleep(1)
        await until(lambda: leads(second))
        assert await site.ask(pause, message_id="7") == first
        assert list(site.tactium.received).count(b"<ana><P><ON><1>$") == 1


async def test_a_site_under_the_prefix_of_another_is_not_ready(
    open_site: OpenSite, tmp_path: Path
) -> None:
    """It says which site leads there, and never connects to its Tactium."""
    async with open_site() as site, site.bridge():
        await site.next_data("main.link.up")
        site.settings = site.settings.model_copy(update={"site": "north"})
        async with standing_by(site, tmp_path) as stranger:
            await until(lambda: "'main'" in str(stranger.watch.status))
            assert not stranger.watch.status.is_ready
            assert site.tactium.administrators == 1


@pytest.mark.usefixtures("either_queue")
async def test_who_lost_the_broker_goes_on_and_leads_again(
    open_site: OpenSite, rabbitmq: RabbitMQNode, tmp_path: Path
) -> None:
    """Both lose it, and the one who heard Tactium all the time leads again: there is no gap."""
    async with open_site() as site, site.bridge() as first:
        await site.next_data("main.link.up")
        async with standing_by(site, tmp_path) as second, asking(first) as http:
            await until(lambda: is_standby(second))
            await rabbitmq.stop_app()
            await site.say("".join(f"<ana><S><{n}>$" for n in range(50)))
            await asyncio.sleep(1)
            assert site.tactium.administrators == 1
            await rabbitmq.start_app()
            await until(lambda: leads(first))
            await until(lambda: is_standby(second))
            assert site.tactium.administrators == 1
            assert (await http.metrics())["gap_seconds_total"] == 0


async def test_the_epoch_grows_with_each_leadership(open_site: OpenSite, tmp_path: Path) -> None:
    """Over restarts, and over journals: the broker keeps it."""
    async with open_site() as site:
        queue = await site.channel.declare_queue("epochs")
        await queue.bind("tactium.bridge", "*.leader.gained")
        epochs = []
        for name in ("a", "b", "a"):
            async with keeping(site, tmp_path / f"{name}.db"):
                await site.next_data("main.link.up")
                found = await queue.get(timeout=5)
                said = json.loads(found.body)
                assert said["epoch"] == said["data"]["epoch"]
                epochs.append(said["epoch"])
        assert epochs == [1, 2, 3]


async def test_who_did_not_stand_by_tells_no_longer_gap_than_there_was(
    open_site: OpenSite, tmp_path: Path
) -> None:
    """The broker keeps the last heartbeat: what another one heard meanwhile is not missing."""
    async with open_site() as site:
        queue = await site.channel.declare_queue("gaps")
        await queue.bind("tactium.bridge", "*.gap")
        for name in ("a", "b", "a"):
            async with keeping(site, tmp_path / f"{name}.db"):
                await site.next_data("main.link.up")
                await asyncio.sleep(2.5)
        gaps = [json.loads((await queue.get(timeout=5)).body)["data"] for _ in range(2)]
    assert [gap["cause"] for gap in gaps] == ["takeover", "takeover"]
    b_heard_from, b_heard_until = gaps[0]["to"], gaps[1]["from"]
    assert datetime.fromisoformat(b_heard_until) > datetime.fromisoformat(b_heard_from)


async def test_who_did_not_follow_runs_nothing_that_another_one_may_have_run(
    open_site: OpenSite, tmp_path: Path
) -> None:
    """Another one led meanwhile: what the broker brings again may have been begun by it."""
    async with open_site() as site:
        for name in ("a", "b"):
            async with keeping(site, tmp_path / f"{name}.db") as program:
                await until(lambda program=program: leads(program))
        await site.send({"command": "pause", "agent": "ana", "code": "1"}, message_id="7")
        async with await connect(site.settings.amqp.url.get_secret_value()) as dying:
            channel = await dying.channel()
            queue = await channel.get_queue("tactium.commands", ensure=False)
            await until(lambda: has_taken(queue))
        async with keeping(site, tmp_path / "a.db"):
            ended = await site.next_data("main.command.uncertain")
            assert ended["command"] == "pause"
        assert b"<ana><P><ON><1>$" not in site.tactium.received


async def test_what_waits_is_given_back_where_another_one_led_meanwhile(
    open_site: OpenSite, tmp_path: Path
) -> None:
    """One that was cut off leads again: the commands that it still has are the other's."""
    async with (
        open_site(commands={"timeout": 60}) as site,
        FaultProxy(broker_of(site).port or 0) as proxy,
        standing_by(
            site,
            tmp_path,
            url=SecretStr(str(broker_of(site).with_port(proxy.port))),
            connect_timeout_seconds=0.5,
        ) as first,
        AsyncExitStack() as second_runs,
    ):
        await until(lambda: leads(first))
        for code in "12":  # to the first there is no answer, and the second waits for its turn
            await site.send({"command": "pause", "agent": "ghost", "code": code}, message_id=code)
        await site.tactium.wait_for(lambda: b"<ghost><P><ON><1>$" in site.tactium.received)
        proxy.black_hole()
        proxy.cut()
        await second_runs.enter_async_context(site.bridge())
        for _ in "12":
            assert (await site.next_reply())[1]["outcome"] == "uncertain"
        await second_runs.aclose()
        proxy.heal()
        await until(lambda: leads(first))
        await site.say("<ghost><P><ON><1>$")
        await asyncio.sleep(1)
        assert b"<ghost><P><ON><2>$" not in site.tactium.received
        assert site.tactium.administrators == 1


@pytest.mark.usefixtures("either_queue")
async def test_a_telling_that_breaks_off_is_asked_for_again(
    open_site: OpenSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who stands by is ready once it was told all, however long that takes."""
    tellings = 0
    spell_notes = notes.spell_notes

    async def breaking(made: AsyncIterator[Lasting]) -> AsyncIterator[bytes]:
        nonlocal tellings
        tellings += 1
        if tellings == 1:
            raise BrokerDown("in the middle of it")
        async for body in spell_notes(made):
            yield body

    monkeypatch.setattr(notes, "spell_notes", breaking)
    monkeypatch.setattr(following, "TELL_SECONDS", 1.0)
    monkeypatch.setattr(session, "SET_UP_TIMEOUT_SECONDS", 0.5)
    async with open_site() as site, site.bridge() as first, until_it_leads(first):
        await site.say("<ana><S><1>$")
        await site.next_data("ana.agent.status")
        async with standing_by(site, tmp_path) as second:
            await until(lambda: is_standby(second))
            assert tellings == 2
            assert knows(second, "ana")


async def test_a_reply_to_a_standbys_queue_is_refused(open_site: OpenSite) -> None:
    """Nobody can have the bridge tell those who stand by anything."""
    async with open_site() as site, site.bridge():
        await site.next_data("main.link.up")
        for queue in ("tactium.standbys.x", "tactium.leader", "tactium.leader.epochs", HEARTBEATS):
            asked = {"command": "get_status", "agent": "ana"}
            await site.send(asked, reply_to=queue)
            assert (await site.next_data("main.command.forbidden"))["outcome"] == "forbidden"
