"""Who may command whom, what is told of it, and what is kept (contract.md §4-§6)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aio_pika import Message, connect
from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from bridge.sandbox import RabbitMQNode
from tests.integration.site import OpenSite, Site, until
from tests.integration.test_commands import commands_received

PHONE = "40050599"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
POLICY = [
    {"user": "crm-*", "commands": ["pause", "resume", "make_call"], "allow": True},
    {"user": "guest", "agents": ["bruno"], "allow": False},
    {"user": "guest", "allow": True},
]


@pytest.fixture
async def ruled(open_site: OpenSite) -> AsyncIterator[Site]:
    """A site with a policy, its bridge up."""
    commands = {"policy": POLICY, "timeout": 1.0, "make_call_window": 0.5}
    async with open_site(commands=commands) as opened, opened.bridge():
        await opened.ask({"command": "get_agents"}, user_id="guest")
        await opened.next_data("main.command.ok")
        yield opened


async def next_dead(site: Site) -> AbstractIncomingMessage:
    """Wait for a command that was not run to lie among the dead."""
    queue = await site.dead_letters()
    found: list[AbstractIncomingMessage] = []

    async def is_there() -> bool:
        message = await queue.get(fail=False, timeout=5)
        found.extend([message] if message else [])
        return message is not None

    await until(is_there)
    return found[0]


async def trace_after(site: Site, outcome: str) -> dict[str, Any]:
    return await site.next_data(f"main.command.{outcome}")


async def test_the_policy_goes_by_the_user_whom_the_broker_has_checked(
    ruled: Site, rabbitmq: RabbitMQNode
) -> None:
    """Each as its rule says, one without a `user_id` as anonymous; refusals are kept and told."""
    url = URL(ruled.settings.amqp.url.get_secret_value())
    await rabbitmq.ctl("add_user", "crm-7", "secret")
    await rabbitmq.ctl("set_permissions", "-p", url.path.lstrip("/"), "crm-7", "^$", r".*", r".*")
    pause = {"command": "pause", "agent": "ana", "code": "1"}
    assert (await ruled.ask(pause, user_id="guest"))["outcome"] == "ok"
    for refused in (
        {"properties": {"user_id": "guest"}, "command": {**pause, "agent": "Bruno"}},
        {"properties": {}, "command": pause},
    ):
        reply = await ruled.ask(refused["command"], **refused["properties"])
        assert (reply["outcome"], reply["error"]["code"]) == ("forbidden", "forbidden")
        told = await trace_after(ruled, "forbidden")
        assert told["user"] == refused["properties"].get("user_id")
        dead = await next_dead(ruled)
        assert dead.headers["outcome"] == "forbidden"
        assert json.loads(dead.body) == refused["command"]
    async with await connect(str(url.with_user("crm-7").with_password("secret"))) as connection:
        channel = await connection.channel()
        for command, outcome in ((pause, "ok"), ({"command": "get_agents"}, "forbidden")):
            message = Message(
                json.dumps(command).encode(), user_id="crm-7", reply_to=ruled.reply_to
            )
            await channel.default_exchange.publish(message, "tactium.commands")
            _, reply = await ruled.next_reply()
            assert reply["outcome"] == outcome
            assert (await trace_after(ruled, outcome))["user"] == "crm-7"
    assert commands_received(ruled.tactium) == [b"<ana><P><ON><1>$"] * 2


@pytest.mark.parametrize("queue", ["tactium.commands", "tactium.commands.dead", "tactium.dead"])
async def test_no_reply_reaches_the_bridges_own_queues(site: Site, queue: str) -> None:
    """Forbidden: not run, told in the trail, kept, and unanswered."""
    await site.send({"command": "pause", "agent": "ana", "code": "1"}, reply_to=queue)
    told = await site.next_data("main.command.forbidden")
    assert (told["command"], told["agent"]) == ("pause", "ana")
    dead = await next_dead(site)
    assert dead.headers["outcome"] == "forbidden"
    await asyncio.sleep(0.3)
    assert commands_received(site.tactium) == []
    assert await (await site.dead_letters()).get(fail=False, timeout=5) is None
    assert site.replies.empty()


async def test_replies_go_only_where_the_pattern_lets_them(open_site: OpenSite) -> None:
    """A glob; direct reply-to is always let through."""
    async with open_site(commands={"reply_to_pattern": "replies.*"}) as site, site.bridge():
        await site.send({"command": "get_agents"})
        assert (await site.next_data("main.command.forbidden"))["command"] == "get_agents"
        mailbox = await site.channel.declare_queue("replies.crm", exclusive=True)
        await mailbox.consume(site.replies.put, no_ack=True)
        reply = await site.ask({"command": "get_agents"}, reply_to="replies.crm")
        assert reply["outcome"] == "ok"


async def test_the_trail_tells_everything_but_the_phone(site: Site) -> None:
    """Who, what, for whom, with what outcome, and how long it took."""
    context = {"order": "A-77", "customer": f"Ana, +55 (85) {PHONE}", "n": int(PHONE)}
    reply = await site.ask(
        {"command": "make_call", "agent": "silent", "phone": PHONE, "context": context},
        user_id="guest",
        message_id="m-1",
    )
    assert reply["context"] == context
    message = None
    while message is None or message.routing_key != "main.command.sent":
        message = await site.next_message()
    told = json.loads(message.body)["data"]
    assert {"id": "m-1", "user": "guest", "command": "make_call", "agent": "silent"}.items() <= (
        told.items()
    )
    assert told["duration_seconds"] > 0
    assert told["context"]["order"] == "A-77"
    assert PHONE not in message.body.decode()


async def test_traceparent_comes_back_with_the_reply(site: Site) -> None:
    """With `tracestate`; one that is no trace parent is nobody's."""
    ask = {"command": "get_status", "agent": "ana"}
    headers = {"traceparent": TRACE, "tracestate": "a=1", "x-other": "y"}
    await site.send(ask, headers=headers)
    message, _ = await site.next_reply()
    assert message.headers == {"traceparent": TRACE, "tracestate": "a=1"}
    await site.send(ask, headers={"traceparent": "<jose>"})
    message, _ = await site.next_reply()
    assert message.headers == {}


async def test_asking_again_after_a_restart(open_site: OpenSite) -> None:
    """The first answer to the byte, and nothing is told twice; another body is invalid."""
    pause = {"command": "pause", "agent": "ana", "code": "1"}
    async with open_site() as site:
        async with site.bridge():
            await site.send(pause, message_id="m-1")
            first, _ = await site.next_reply()
        async with site.bridge():
            await site.send(pause, message_id="m-1")
            again, _ = await site.next_reply()
            assert again.body == first.body
            assert again.message_id == first.message_id == "m-1"
            reply = await site.ask({**pause, "code": "2"}, message_id="m-1")
            assert reply["outcome"] == "invalid"
            assert reply["error"]["details"][0]["field"] == "message_id"
        changes = [each for each in commands_received(site.tactium) if not each.endswith(b"<S>$")]
        assert changes == [b"<ana><P><ON><1>$"]
        kinds = []
        while not site.inbox.empty():
            kinds.append(site.inbox.get_nowait().routing_key)
        assert kinds.count("main.command.ok") == 1


async def test_too_many_commands_for_one_agent(open_site: OpenSite) -> None:
    """Past the bound they are `unavailable` at once, and the others wait on."""
    async with open_site(commands={"max_waiting": 3, "timeout": 2.0}) as site, site.bridge():
        for code in range(6):
            await site.send({"command": "pause", "agent": "silent", "code": str(code)})
        for _ in range(2):
            _, reply = await site.next_reply()
            assert reply["outcome"] == "unavailable"
            assert "too many" in reply["error"]["message"]
        assert (await site.ask({"command": "get_status", "agent": "ana"}))["outcome"] == "ok"


async def test_a_late_answer_is_told_as_one(site: Site) -> None:
    """On the bridge's own exchange; the next command waits for the fence, and for its own."""
    reply = await site.ask({"command": "pause", "agent": "silent", "code": "1"}, message_id="m-1")
    assert reply["outcome"] == "timeout"
    await site.send({"command": "resume", "agent": "silent"})
    await until(lambda: b"<silent><S>$" in site.tactium.received)
    await site.say("<silent><OK>$")
    assert await site.next_data("main.reply.late") == {
        "agent": "silent",
        "command": "pause",
        "command_id": "m-1",
        "raw": "<silent><OK>$",
    }
    await site.say("<silent><S><2>$")
    await until(lambda: b"<silent><P><OFF>$" in site.tactium.received)
    assert site.replies.empty()
    await site.say("<silent><OK>$")
    _, reply = await site.next_reply()
    assert (reply["command"], reply["outcome"]) == ("resume", "ok")


async def test_a_wedged_link_is_made_anew(open_site: OpenSite) -> None:
    """An unanswered fence ends the connection; the command that waits is sent on the next one."""
    async with open_site(commands={"timeout": 0.5}) as site, site.bridge():
        await site.next_data("main.link.up")
        await site.say("<silent><G><a.wav>$")
        await site.ask({"command": "pause", "agent": "silent", "code": "1"})
        await site.send({"command": "resume", "agent": "silent"})
        down = await site.next_data("main.link.down")
        assert "status query" in down["reason"]
        await until(lambda: b"<silent><P><OFF>$" in site.tactium.received)
        await site.say("<silent><OK>$")
        _, reply = await site.next_reply()
        assert (reply["command"], reply["outcome"]) == ("resume", "ok")


@pytest.mark.parametrize(
    "command",
    [
        {"command": "pause", "agent": "ana", "code": "{}"},
        {"command": "pause", "agent": "{}", "code": "1"},
        {"command": "make_call", "agent": "ana", "phone": "1{}"},
        {"command": "make_call", "agent": "ana", "phone": "1", "area_code": "{}"},
        {"command": "make_call", "agent": "ana", "phone": "1", "campaign": "{}"},
        {"command": "schedule_callback", "agent": "ana", "at": "2026-12-01T15:00{}"},
        {"command": "schedule_callback", "agent": "ana", "at": "2026-12-01T15:00", "phone": "{}"},
        {
            "command": "schedule_callback",
            "agent": "ana",
            "at": "2026-12-01T15:00",
            "callback_agent": "{}",
        },
        {"command": "set_disposition", "agent": "ana", "disposition": "fax{}"},
        {"command": "get_status{}", "agent": "ana"},
    ],
    ids=lambda command: next(key for key, value in command.items() if "{}" in value),
)
async def test_no_text_becomes_a_second_frame(site: Site, command: dict[str, Any]) -> None:
    """In no field, whatever the encoding makes of it: `invalid`, and not a byte on the wire."""
    for text in "<>$", *"＜＞＄﹤﹥﹩<>$\x00\udcff\x9d", "\u2039\n", ">$<ana><D":
        attack = {key: value.replace("{}", text) for key, value in command.items()}
        reply = await site.ask(attack)
        assert reply["outcome"] == "invalid"
    assert commands_received(site.tactium) == []


async def test_ten_megabytes(site: Site) -> None:
    """Refused, kept cut with its true length, and nobody is held up."""
    for _ in range(20):
        await site.send(b'{"command":"get_agents"}' + b" " * 10_000_000)
    for _ in range(20):
        _, reply = await site.next_reply()
        assert reply["outcome"] == "invalid"
    dead = await next_dead(site)
    assert (len(dead.body), dead.headers["body_bytes"]) == (131_072, 10_000_024)
