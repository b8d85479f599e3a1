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

from bridge.app import Program
from bridge.core.ports import Depth
from bridge.sandbox import RabbitMQNode
from tests.integration.http import asking
from tests.integration.site import OpenSite, Site, until

pytestmark = pytest.mark.socket_only

HEARTBEATS = "tactium.leader.heartbeat"


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


async def test_who_lost_the_broker_goes_on_and_leads_again(
    open_site: OpenSite, rabbitmq: RabbitMQNode, tmp_path: Path
) -> None:
    """Both lose it and one comes back first: Tactium is heard by one, and nothing is lost."""
    async with open_site() as site, site.bridge() as first:
        await site.next_data("main.link.up")
        async with standing_by(site, tmp_path) as second:
            await until(lambda: is_standby(second))
            await rabbitmq.stop_app()
            await site.say("".join(f"<ana><S><{n}>$" for n in range(50)))
            await asyncio.sleep(1)
            assert site.tactium.administrators == 1
            await rabbitmq.start_app()
            await until(lambda: leads(first) or leads(second))
            await site.tactium.wait_for(lambda: site.tactium.administrators == 1)
            await until(lambda: is_standby(first) or is_standby(second))


async def test_the_epoch_grows_with_each_leadership(open_site: OpenSite, tmp_path: Path) -> None:
    """Over restarts, and over journals: the broker keeps it."""
    async with open_site() as site:
        queue = await site.channel.declare_queue("epochs")
        await queue.bind("tactium.bridge", "*.leader.gained")
        epochs = []
        for name in ("a", "b", "a"):
            journal = site.settings.journal.model_copy(update={"path": tmp_path / f"{name}.db"})
            site.settings = site.settings.model_copy(update={"journal": journal})
            async with site.bridge():
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
            journal = site.settings.journal.model_copy(update={"path": tmp_path / f"{name}.db"})
            site.settings = site.settings.model_copy(update={"journal": journal})
            async with site.bridge():
                await site.next_data("main.link.up")
                await asyncio.sleep(2.5)
        gaps = [json.loads((await queue.get(timeout=5)).body)["data"] for _ in range(2)]
    assert [gap["cause"] for gap in gaps] == ["takeover", "takeover"]
    b_heard_from, b_heard_until = gaps[0]["to"], gaps[1]["from"]
    assert datetime.fromisoformat(b_heard_until) > datetime.fromisoformat(b_heard_from)


async def test_a_reply_to_a_standbys_queue_is_refused(open_site: OpenSite) -> None:
    """Nobody can have the bridge tell those who stand by anything."""
    async with open_site() as site, site.bridge():
        await site.next_data("main.link.up")
        for queue in ("tactium.standbys.x", "tactium.leader", "tactium.leader.epochs", HEARTBEATS):
            asked = {"command": "get_status", "agent": "ana"}
            await site.send(asked, reply_to=queue)
            assert (await site.next_data("main.command.forbidden"))["outcome"] == "forbidden"
