"""Calls over lost links and restarts: the same ids, and what was missed is found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.simulator import Call, Status
from tests.integration.program import environment_of, program
from tests.integration.site import OpenSite, Site, until

pytestmark = pytest.mark.each_transport

CALL = Call(direction="outbound", dial_item_id="15068", destination="40050500")
OTHER = Call(direction="inbound", origin_area_code="85", origin="988887777", destination="3001")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def until_resync(site: Site) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]:
    """Return what is published up to the next resync, by routing key, and the resync itself."""
    found: list[tuple[str, dict[str, Any]]] = []
    while True:
        message = await site.next_message()
        data = json.loads(message.body)["data"]
        if message.routing_key == "main.resync":
            return found, data
        found.append((message.routing_key or "", data))


async def known(site: Site, agent: str) -> dict[str, Any]:
    reply = await site.ask({"command": "get_agents", "agent": agent})
    (state,) = reply["data"]["agents"]
    return dict(state)


@pytest.fixture
async def quick(open_site: OpenSite) -> AsyncIterator[Site]:
    """A site whose bridge is not up yet, and answers fast."""
    async with open_site(commands={"timeout": 1.0, "make_call_window": 1.0}) as opened:
        yield opened


@pytest.mark.socket_only
async def test_a_call_keeps_its_id_over_a_lost_link(quick: Site) -> None:
    """Found again by asking: the same id, as `call.current`, and no second arrival."""
    async with quick.bridge():
        await quick.next_data("main.link.up")
        quick.tactium.begin_call("ana", CALL)
        started = await quick.next_data("ana.call.started.outbound")
        await quick.tactium.drop_clients()
        found, resync = await until_resync(quick)
        keys = [key for key, _ in found]
        assert keys == [
            "main.link.down",
            "main.link.up",
            "main.gap",
            "ana.agent.status",
            "ana.call.current",
        ]
        assert found[-1][1] == started
        assert (resync["agents"], resync["changed"]) == (1, 1)  # that ana is busy is news
        quick.tactium.end_call("ana")
        ended = await quick.next_data("ana.call.ended")
        assert (ended["call_id"], ended["inferred"]) == (started["call_id"], False)
        assert ended["duration_seconds"] > 0


@pytest.mark.socket_only
async def test_what_ended_and_began_meanwhile(quick: Site) -> None:
    """The one that is gone is closed as inferred, and the new one is told of."""
    async with quick.bridge():
        await quick.next_data("main.link.up")
        for agent in ("ana", "bruno"):
            quick.tactium.begin_call(agent, CALL)
            await quick.next_data(f"{agent}.call.started.outbound")
        await quick.tactium.refuse()
        await quick.next_data("main.link.down")
        quick.tactium.end_call("ana")
        quick.tactium.end_call("bruno")
        quick.tactium.set_status("bruno", Status.AVAILABLE)
        quick.tactium.begin_call("bruno", OTHER)
        await quick.tactium.accept()
        found, resync = await until_resync(quick)
        told: dict[str, list[str]] = {"ana": [], "bruno": []}
        for key, data in found:
            agent, _, kind = key.partition(".")
            if agent in told:
                told[agent].append(kind)
            if kind == "call.ended":
                assert (data["inferred"], data["raw"], data["repeated"]) == (True, None, False)
        assert told["ana"] == ["call.ended", "agent.status"]
        assert told["bruno"] == ["agent.status", "call.ended", "call.started.inbound"]
        assert (resync["agents"], resync["changed"]) == (2, 2)
        assert (await known(quick, "ana"))["call"] is None
        assert (await known(quick, "bruno"))["call"]["origin"] == "988887777"


async def test_a_killed_bridge_goes_on_with_the_same_calls(quick: Site, tmp_path: Any) -> None:
    """Ids, starts, recordings and contexts are in the journal's file."""
    environment = environment_of(quick.settings)
    async with program("run", cwd=tmp_path, environment=environment) as process:
        await quick.next_data("main.link.up")
        quick.tactium.begin_call("ana", CALL)
        started = await quick.next_data("ana.call.started.outbound")
        quick.tactium.record("ana", "a.wav")
        await quick.next_data("ana.call.recorded")
        process.kill()
        await process.wait()
    async with quick.bridge():
        found, _ = await until_resync(quick)
        assert ("ana.call.current", started) in found
        quick.tactium.end_call("ana")
        ended = await quick.next_data("ana.call.ended")
        assert (ended["call_id"], ended["recordings"]) == (started["call_id"], ["a.wav"])
        assert ended["duration_seconds"] is not None


async def test_context_and_trace_ride_on_the_call(open_site: OpenSite) -> None:
    """On the reply and on every later event of the call that the command made; on no other."""
    context = {"order": "A-77"}
    async with open_site() as site, site.bridge():
        await site.next_data("main.link.up")
        await site.send(
            {"command": "make_call", "agent": "ana", "phone": "40050500", "context": context},
            headers={"traceparent": TRACE, "tracestate": "a=1"},
        )
        message, reply = await site.next_reply()
        assert message.headers["traceparent"] == TRACE
        assert reply["context"] == reply["data"]["context"] == context
        site.tactium.record("ana", "a.wav")
        site.tactium.end_call("ana")
        keys: list[str] = []
        while keys[-1:] != ["ana.call.ended"]:
            event = await site.next_message()
            if event.routing_key and event.routing_key.startswith("ana.call"):
                keys.append(event.routing_key)
                assert json.loads(event.body)["data"]["context"] == context
                assert event.headers == {"traceparent": TRACE, "tracestate": "a=1"}
                assert json.loads(event.body)["data"]["call_id"] == reply["data"]["call_id"]
        assert keys == ["ana.call.started.outbound", "ana.call.recorded", "ana.call.ended"]
        site.tactium.set_status("ana", Status.AVAILABLE)
        site.tactium.begin_call("ana", CALL)
        event = await site.next_message()
        while event.routing_key != "ana.call.started.outbound":
            event = await site.next_message()
        assert json.loads(event.body)["data"]["context"] is None
        assert event.headers == {}


async def test_another_call_gets_no_context(quick: Site) -> None:
    """The dialer's comes first: it neither answers nor carries; the call asked for does later."""
    command = {"command": "make_call", "agent": "silent", "phone": "111", "context": {"n": 1}}
    async with quick.bridge():
        await quick.next_data("main.link.up")
        assert (await quick.ask(command))["outcome"] == "sent"
        for destination, context in (("222", None), ("0111", {"n": 1}), ("111", None)):
            await quick.say(f"<silent><A><1><0><7017><0><{destination}><><><>$")
            data = await quick.next_data("silent.call.started.outbound")
            assert (data["destination"], data["context"]) == (destination, context)


@pytest.mark.socket_only
async def test_users_go_before_the_resync(open_site: OpenSite) -> None:
    """With many agents to ask after slowly, a command is answered at once."""
    agents = {"resync_per_second": 1.0}
    async with open_site(agents=agents) as site, site.bridge():
        await site.next_data("main.link.up")
        await site.say("<Jose><S><1>$<ana><S><1>$<bruno><S><1>$")
        await site.next_data("bruno.agent.status")
        await site.tactium.drop_clients()
        await site.next_data("main.gap")
        asked = len([frame for frame in site.tactium.received if frame.endswith(b"<S>$")])
        reply = await site.ask({"command": "get_status", "agent": "carla"})
        assert reply["outcome"] == "ok"
        assert asked < 3
        _, resync = await until_resync(site)
        assert resync["agents"] == 3


async def test_no_resync_at_the_very_first_start(quick: Site) -> None:
    """Nothing was missed; after a restart something may have been."""
    async with quick.bridge():
        await quick.next_data("main.link.up")
        await quick.say("<ana><S><1>$")
        await quick.next_data("ana.agent.status")
        await asyncio.sleep(0.3)
        assert quick.inbox.empty()
    async with quick.bridge():
        _, resync = await until_resync(quick)
        assert resync["agents"] == 1
        await until(quick.inbox.empty)


@pytest.mark.socket_only
async def test_a_login_that_cannot_be_written_back_is_passed_over(quick: Site) -> None:
    """Nobody can ask after it; the others are asked all the same."""
    async with quick.bridge():
        await quick.next_data("main.link.up")
        await quick.say("<a$b><S><1>$<日本><S><1>$<ana><S><1>$".encode())
        await quick.next_data("ana.agent.status")
        await quick.tactium.drop_clients()
        found, resync = await until_resync(quick)
        assert resync["agents"] == 1
        assert "ana.agent.status" in [key for key, _ in found]
