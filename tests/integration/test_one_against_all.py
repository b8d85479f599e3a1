"""What one user does to itself must not reach the others."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.site import Site, troubles, until

ASK = {"command": "get_status", "agent": "ana"}
FORGED = "amq.rabbitmq.reply-to.g2dkAA9yYWJiaXRAbG9jYWxob3N0AAAC0AAAAAAAAAAB.xxx"


async def test_a_command_with_thousands_of_flaws(site: Site) -> None:
    """Its reason would not fit a header: it is cut, and the command answered and kept."""
    keys: dict[str, Any] = {f"k{n}": 0 for n in range(4000)}
    reply = await site.ask({"command": "pause", "agent": "ana", "code": "1", **keys})
    assert reply["outcome"] == "invalid"
    assert len(reply["error"]["details"]) == 4000
    dead = await (await site.dead_letters()).get(timeout=5)
    assert dead is not None
    assert len(str(dead.headers["reason"])) == 1024


async def test_a_command_with_headers_as_large_as_the_broker_takes(site: Site) -> None:
    """They are not copied where there would be no room for ours."""
    reply = await site.ask(b"{", headers={"x": "y" * 120_000})
    assert reply["outcome"] == "invalid"
    dead = await (await site.dead_letters()).get(timeout=5)
    assert dead is not None
    assert dead.headers["outcome"] == "invalid"
    assert "x" not in dead.headers


async def test_a_reply_to_that_the_broker_cannot_bear(site: Site) -> None:
    """Up to RabbitMQ 3 it ends the connection at each try; after three the reply is given up."""
    with capture_logs() as logs:
        await site.send(ASK, reply_to=FORGED)
        for _ in range(3):
            assert (await site.ask(ASK))["outcome"] == "ok"
        if await site.broker_version() < 4:
            await until(lambda: "reply_given_up" in [line["event"] for line in logs])
        assert (await site.ask(ASK))["outcome"] == "ok"


async def test_a_time_that_no_calendar_has(site: Site) -> None:
    """At the end of all time nothing can be added to it; it is not believed."""
    for _ in range(70):  # more than are taken at once
        await site.send(ASK, timestamp=datetime.max.replace(tzinfo=UTC))
    outcomes = [(await site.next_reply())[1]["outcome"] for _ in range(70)]
    assert set(outcomes) <= {"ok", "unavailable"}
    assert (await site.ask({"command": "get_agents"}))["outcome"] == "ok"


async def test_a_burial_that_brings_its_channel_down(site: Site) -> None:
    """The exchange of the dead is deleted: it is declared again, and everybody is answered."""
    await site.channel.exchange_delete("tactium.dead")
    replies = [await site.ask(command) for command in (b"{", ASK, ASK)]
    assert [reply["outcome"] for reply in replies] == ["invalid", "ok", "ok"]


async def test_a_silent_agent_who_is_asked_for_without_end(site: Site) -> None:
    """However often: another agent's command is answered at once."""
    for code in range(16):
        for _ in range(4):
            await site.send(
                {"command": "pause", "agent": "silent", "code": str(code)}, message_id=str(code)
            )
    await site.send(ASK)
    while True:
        _, reply = await site.next_reply()
        if reply["agent"] == "ana":
            break
        assert reply["outcome"] == "unavailable"  # nobody has waited for the silent one
    assert reply["outcome"] == "ok"


async def test_a_reply_queue_that_refuses(site: Site) -> None:
    """Its owner gets no reply, and everybody else theirs, about the same agent too."""
    await site.channel.declare_queue(
        "full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"}, exclusive=True
    )
    with capture_logs() as logs:
        for _ in range(3):
            await site.send(ASK, reply_to="full")
        assert (await site.ask(ASK))["outcome"] == "ok"
    assert set(troubles(logs)) == {"reply_refused"}


@pytest.mark.parametrize("bodies", [30])
async def test_a_subscriber_that_refuses(site: Site, bodies: int) -> None:
    """The others get every event in order, few of them repeated, and commands go on."""
    queue = await site.channel.declare_queue(
        "subscriber", arguments={"x-max-length": 5, "x-overflow": "reject-publish"}, exclusive=True
    )
    await queue.bind("tactium.events", "#")
    with capture_logs() as logs:
        await site.say("".join(f"<ana><S><{n}>$" for n in range(bodies)))
        codes: list[int] = []
        repeated = 0
        while not codes or codes[-1] != bodies - 1:
            message = await site.next_message()
            if message.exchange != "tactium.events":
                continue
            code = json.loads(message.body)["data"]["code"]
            if code in codes:
                repeated += 1
            else:
                codes.append(code)
        assert codes == list(range(bodies))
        assert repeated <= 4 * bodies
        assert (await site.ask({"command": "get_agents"}))["outcome"] == "ok"
        async with asyncio.timeout(20):
            while not any(line["event"] == "events_refused" for line in logs):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert not any(line["event"] == "broker_down" for line in logs)
