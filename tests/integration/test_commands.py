"""Commands in and replies out (contract.md §4, §5), byte for byte on the socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractIncomingMessage
from structlog.testing import capture_logs

from bridge.journal.store import News, Store
from bridge.simulator import Call, Simulator, Status
from tests.integration.site import OpenSite, Site, troubles, until

pytestmark = pytest.mark.each_transport

REPLY_KEYS = [
    "id",
    "command",
    "agent",
    "outcome",
    "data",
    "error",
    "raw",
    "received_at",
    "sent_at",
    "replied_at",
    "context",
]
DIALER_CALL = Call(direction="outbound", dial_item_id="15068", destination="40050500")


def commands_received(tactium: Simulator) -> list[bytes]:
    """Return what Tactium received, without the registration."""
    return [frame for frame in tactium.received if not frame.upper().startswith(b"<ADMSOCKET>")]


def prepare(tactium: Simulator, state: str) -> None:
    """Bring the agent where the command is possible."""
    match state:
        case "on a dialer call":
            tactium.begin_call("jose", DIALER_CALL)
        case "paused":
            tactium.set_status("jose", Status.PAUSED)
        case "in wrap-up":
            tactium.set_status("jose", Status.WRAP_UP)
        case _:
            tactium.set_status("jose", Status.AVAILABLE)


@pytest.mark.parametrize(
    ("command", "state", "frame", "raw"),
    [
        ({"command": "logon"}, "", b"<jose><L><ON>$", "<Jose><OK>$"),
        ({"command": "logoff"}, "", b"<jose><L><OFF>$", "<Jose><OK>$"),
        ({"command": "pause", "code": "1"}, "", b"<jose><P><ON><1>$", "<Jose><OK>$"),
        ({"command": "resume"}, "paused", b"<jose><P><OFF>$", "<Jose><OK>$"),
        ({"command": "end_wrap_up"}, "in wrap-up", b"<jose><POS><OFF>$", "<Jose><OK>$"),
        ({"command": "get_status"}, "paused", b"<jose><S>$", "<Jose><S><2>$"),
        (
            {"command": "schedule_callback", "at": "2010-08-17T15:00"},
            "on a dialer call",
            b"<jose><TR><17/08/2010 15:00><><>$",
            "<Jose><OK>$",
        ),
        (
            {
                "command": "schedule_callback",
                "at": "2010-08-17T18:00:00Z",
                "phone": "40050500",
                "callback_agent": "jose",
            },
            "on a dialer call",
            b"<jose><TR><17/08/2010 15:00><40050500><jose>$",
            "<Jose><OK>$",
        ),
        *(
            (
                {"command": "set_disposition", "disposition": ours},
                "on a dialer call",
                b"<jose><C><S><" + theirs + b">$",
                "<Jose><OK>$",
            )
            for ours, theirs in (
                ("blocked_phone", b"BloquedPhone"),
                ("out_of_area", b"OutOfArea"),
                ("answering_machine", b"EletronicResponse"),
                ("fax", b"Fax"),
            )
        ),
        ({"command": "hang_up"}, "on a dialer call", b"<jose><D>$", "<Jose><EndCall>$"),
    ],
)
async def test_each_command_reaches_the_socket_as_the_manual_spells_it(
    site: Site, command: dict[str, Any], state: str, frame: bytes, raw: str
) -> None:
    """The frame is the manual's, byte for byte, and the documented reply is `ok`."""
    prepare(site.tactium, state)
    reply = await site.ask({"agent": "jose", **command})

    assert commands_received(site.tactium) == [frame]
    assert list(reply) == REPLY_KEYS
    assert (reply["outcome"], reply["error"], reply["raw"]) == ("ok", None, raw)
    assert (reply["command"], reply["agent"]) == (command["command"], "jose")
    if command["command"] == "get_status":
        assert reply["data"] == {"code": 2, "status": "paused"}
    else:
        assert reply["data"] is None
    assert reply["received_at"] <= reply["sent_at"] <= reply["replied_at"]


@pytest.mark.parametrize(
    ("command", "frame"),
    [
        ({"area_code": "85", "phone": "40050500"}, b"<ana><A><85><40050500><>$"),
        (
            {"phone": "40050500", "campaign": "Serviço_Emprestimo"},
            "<ana><A><><40050500><Serviço_Emprestimo>$".encode("cp1252"),
        ),
        (
            {"phone": "40050500", "campaign": "Campanha_Cobrança"},
            "<ana><A><><40050500><Campanha_Cobrança>$".encode("cp1252"),
        ),
    ],
)
async def test_make_call_is_answered_by_its_own_call(
    site: Site, command: dict[str, Any], frame: bytes
) -> None:
    """The call that arrives is the reply: `ok`, with the data of its event."""
    reply = await site.ask({"command": "make_call", "agent": "ana", **command})
    event = await site.next_data("ana.call.started.outbound")
    assert commands_received(site.tactium) == [frame]
    assert reply["outcome"] == "ok"
    assert reply["data"] == event
    assert event["destination"].endswith("40050500")


async def test_make_call_without_an_answer_is_sent(site: Site) -> None:
    """The manual promises no answer, so after the window the outcome is `sent`, no error."""
    reply = await site.ask({"command": "make_call", "agent": "silent", "phone": "123"})
    assert (reply["outcome"], reply["error"], reply["data"]) == ("sent", None, None)
    assert reply["sent_at"]


async def test_another_call_does_not_answer_make_call(site: Site) -> None:
    """An outbound call to another number is an event and nothing more."""
    await site.send({"command": "make_call", "agent": "silent", "phone": "111"})
    await until(lambda: bool(commands_received(site.tactium)))
    await site.say("<silent><A><1><0><7017><0><222><><><>$")
    assert (await site.next_data("silent.call.started.outbound"))["destination"] == "222"
    _, reply = await site.next_reply()
    assert reply["outcome"] == "sent"


@pytest.mark.parametrize(
    ("command", "answer", "outcome"),
    [
        ({"command": "pause", "code": "9"}, "<silent><ERRO><motivo>$", "rejected"),
        ({"command": "hang_up"}, "<SILENT><endcall>$", "ok"),
        ({"command": "get_status"}, "<Silent><S><1>$", "ok"),
        ({"command": "make_call", "phone": "1"}, "<silent><OK>$", "ok"),
        ({"command": "make_call", "phone": "1"}, "<silent><Recusada>$", "rejected"),
        ({"command": "pause", "code": "9"}, "<other><OK>$", "timeout"),
        ({"command": "pause", "code": "9"}, "<silent><EndCall>$", "timeout"),
        ({"command": "hang_up"}, "<silent><OK>$", "timeout"),
    ],
)
async def test_an_answer_is_told_by_agent_and_shape(
    site: Site, command: dict[str, Any], answer: str, outcome: str
) -> None:
    """What fits the command completes it, a refusal rejects it, all else leaves it waiting."""
    await site.send({"agent": "silent", **command})
    await until(lambda: bool(commands_received(site.tactium)))
    await site.say(answer)
    _, reply = await site.next_reply()
    assert reply["outcome"] == outcome
    assert reply["raw"] == (None if outcome == "timeout" else answer)
    if outcome == "timeout":
        assert reply["error"]["code"] == "timeout"


async def test_get_current_call_tells_the_call_and_is_no_second_arrival(site: Site) -> None:
    """The answer is the call known already, published as `call.current` with its id."""
    site.tactium.begin_call("ana", DIALER_CALL)
    started = await site.next_data("ana.call.started.outbound")
    reply = await site.ask({"command": "get_current_call", "agent": "ana"})
    message = await site.next_message()

    assert reply["outcome"] == "ok"
    assert reply["data"] == started
    assert message.routing_key == "ana.call.current"
    assert json.loads(message.body)["data"] == started


async def test_get_agents_is_answered_from_what_is_known(site: Site) -> None:
    """Every agent that Tactium has named, with status and call; Tactium is not asked."""
    await site.say("<Ana><S><1>$<bruno><R><0><85><1><0><3001><---><>$")
    status = await site.next_message()
    call = await site.next_data("bruno.call.started.inbound")

    reply = await site.ask({"command": "get_agents"})
    assert reply["data"]["agents"] == [
        {
            "agent": "ana",
            "code": 1,
            "status": "available",
            "since": json.loads(status.body)["time"],
            "call": None,
        },
        {"agent": "bruno", "code": None, "status": None, "since": None, "call": call},
    ]
    one = await site.ask({"command": "get_agents", "agent": "BRUNO"})
    assert [agent["agent"] for agent in one["data"]["agents"]] == ["bruno"]
    assert not commands_received(site.tactium)


@pytest.mark.parametrize(
    ("command", "properties", "field"),
    [
        (b"pause jose", {}, "body"),
        (b"\xff\xfe", {}, "body"),
        (b"[]", {}, "body"),
        (b'{"command":"pause","agent":"a","agent":"b","code":"1"}', {}, "body"),
        (b'{"command":"get_status","agent":NaN}', {}, "body"),
        (b'{"a":' * 20_000, {}, "body"),
        (b" " * 70_000, {}, "body"),
        (b"{}", {}, "command"),
        ({"command": "dance", "agent": "ana"}, {}, "command"),
        ({"command": "get_status", "agent": "ana"}, {"content_type": "text/xml"}, "content_type"),
        ({"command": "get_status"}, {}, "agent"),
        ({"command": "get_status", "agent": ""}, {}, "agent"),
        ({"command": "get_status", "agent": "AdmSocket"}, {}, "agent"),
        ({"command": "get_status", "agent": 7}, {}, "agent"),
        ({"command": "get_status", "agent": "ana", "colour": "red"}, {}, "colour"),
        ({"command": "pause", "agent": "ana"}, {}, "code"),
        *(
            ({"command": "pause", "agent": "ana", "code": f"1{bad}2"}, {}, "code")
            for bad in "<>$\r\n\0\x1b\u4e2d\uff1c"
        ),
        ({"command": "get_status", "agent": "ana>$<jose><D"}, {}, "agent"),
        ({"command": "make_call", "agent": "ana", "phone": "+55 85"}, {}, "phone"),
        ({"command": "make_call", "agent": "ana", "phone": "1" * 33}, {}, "phone"),
        ({"command": "make_call", "agent": "ana", "phone": "1", "campaign": "a$"}, {}, "campaign"),
        ({"command": "schedule_callback", "agent": "ana", "at": "tomorrow"}, {}, "at"),
        (
            {
                "command": "schedule_callback",
                "agent": "ana",
                "at": "2026-12-01T15:00",
                "phone": "x",
            },
            {},
            "phone",
        ),
        ({"command": "set_disposition", "agent": "ana", "disposition": "busy"}, {}, "disposition"),
        ({"command": "get_status", "agent": "ana", "context": {"a": "b" * 1024}}, {}, "context"),
        ({"command": "get_status", "agent": "ana", "context": []}, {}, "context"),
    ],
)
async def test_an_invalid_command_is_refused_and_kept(
    site: Site, command: dict[str, Any] | bytes, properties: dict[str, Any], field: str
) -> None:
    """`invalid` names the field and the reason, the body is kept, no byte reaches Tactium."""
    reply = await site.ask(command, **properties)
    assert reply["outcome"] == "invalid"
    assert [flaw["field"] for flaw in reply["error"]["details"]] == [field]
    assert all(flaw["reason"] for flaw in reply["error"]["details"])
    assert reply["sent_at"] is None

    queue = await site.dead_letters()
    dead = await queue.get(timeout=5)
    assert dead is not None
    assert dead.body == (command if isinstance(command, bytes) else json.dumps(command).encode())
    assert dead.headers["outcome"] == "invalid"
    assert str(dead.headers["reason"]).startswith(field)
    assert not commands_received(site.tactium)


async def test_every_command_leaves_a_trace(site: Site) -> None:
    """`command.<outcome>` on the bridge's exchange says who asked what, and how it went."""
    context = {"order": "A-77"}
    correlation_id = await site.send(
        {"command": "get_status", "agent": "ana", "context": context},
        message_id="m-1",
        user_id="guest",
    )
    message, reply = await site.next_reply()
    trace = await site.next_data("main.command.ok")

    assert reply["context"] == context
    assert reply["id"] == "m-1"
    assert message.type == "tactium.reply"
    assert message.content_type == "application/json"
    assert message.correlation_id == correlation_id
    duration = trace.pop("duration_seconds")
    assert duration >= 0
    assert trace == {
        "id": "m-1",
        "command": "get_status",
        "agent": "ana",
        "user": "guest",
        "outcome": "ok",
        "error": None,
        "correlation_id": correlation_id,
        "context": context,
    }


@pytest.mark.socket_only
async def test_an_answer_is_committed_with_the_end_of_its_command(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's reply waits until the event that answers it is written and published."""
    commits: list[list[str]] = []
    commit = Store.commit

    def noted(store: Store, news: News, *others: Any) -> None:
        commits.append([message.type for message in news.messages])
        commit(store, news, *others)

    monkeypatch.setattr(Store, "commit", noted)
    together = ["tactium.agent.status", "tactium.bridge.command.ok"]
    for _ in range(20):  # where the machine is too busy, they are written apart
        await site.ask({"command": "get_status", "agent": "jose"})
        if together in commits:
            break
    assert together in commits, commits


async def test_commanders_who_want_no_reply_disturb_nothing(site: Site) -> None:
    """Without `reply_to`, or with one that is gone, commands run and leave their trace."""
    pause = {"command": "pause", "agent": "ana", "code": "1"}
    await site.send(pause, reply_to=None)
    assert (await site.next_data("main.command.ok"))["command"] == "pause"
    with capture_logs() as logs:
        await site.send({"command": "resume", "agent": "ana"}, reply_to="gone")
        assert (await site.next_data("main.command.ok"))["command"] == "resume"
        await until(lambda: bool(troubles(logs)))
    assert troubles(logs) == ["reply_unroutable"]
    await site.send({"command": "nonsense"}, reply_to=None)
    assert (await site.next_data("main.command.invalid"))["command"] == "nonsense"
    assert (await site.ask(pause))["outcome"] == "ok"


async def test_direct_reply_to_and_the_exchange_work_too(site: Site) -> None:
    """A command may come through the topic exchange, and be answered by direct reply-to."""
    answers: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    mailbox = await site.channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
    await mailbox.consume(answers.put, no_ack=True)
    exchange = await site.channel.get_exchange("tactium.commands", ensure=False)
    await exchange.publish(
        Message(
            b'{"command":"get_status","agent":"ana"}',
            reply_to="amq.rabbitmq.reply-to",
            message_id="m-2",
        ),
        "ana.get_status",
    )
    with capture_logs() as logs:
        async with asyncio.timeout(10):
            answer = await answers.get()
        assert (await site.ask({"command": "get_agents"}))["outcome"] == "ok"
    assert not troubles(logs)
    assert answer.correlation_id == "m-2"
    assert json.loads(answer.body)["outcome"] == "ok"


async def test_one_command_at_a_time_per_agent_many_agents_in_parallel(site: Site) -> None:
    """A silent agent holds up its own line and nobody else's; its line keeps its order."""
    for code in "12":
        await site.send({"command": "pause", "agent": "Silent", "code": code})
    for agent in ("ana", "bruno", "carla"):
        reply = await site.ask({"command": "get_status", "agent": agent})
        assert (reply["agent"], reply["outcome"]) == (agent, "ok")
    assert b"<Silent><P><ON><1>$" in site.tactium.received
    assert b"<Silent><P><ON><2>$" not in site.tactium.received
    outcomes = [(await site.next_reply())[1]["outcome"] for _ in range(2)]
    assert outcomes == ["timeout", "timeout"]
    mine = [frame for frame in commands_received(site.tactium) if frame.startswith(b"<Silent>")]
    assert mine == [b"<Silent><P><ON><1>$", b"<Silent><S>$", b"<Silent><P><ON><2>$"]


async def test_the_same_message_id_runs_once(site: Site) -> None:
    """Asked again with the same id, the first answer comes again and nothing runs again."""
    pause = {"command": "pause", "agent": "ana", "code": "1"}
    first = await site.ask(pause, message_id="once")
    again = await site.ask(pause, message_id="once")
    assert first == again
    assert commands_received(site.tactium) == [b"<ana><P><ON><1>$"]


async def test_expired_in_the_queue_is_answered(open_site: OpenSite) -> None:
    """What outlived its time while no bridge was there is `expired`, and never runs."""
    async with open_site() as site:
        async with site.bridge():
            await site.ask({"command": "get_agents"})
        command = {"command": "pause", "agent": "ana", "code": "1"}
        await site.send(command, expiration=0.1)
        await asyncio.sleep(0.5)
        async with site.bridge():
            _, reply = await site.next_reply()
            assert reply["outcome"] == "expired"
            assert reply["command"] == "pause"
            queue = await site.dead_letters()
            dead = await queue.get(timeout=5)
            assert dead is not None
            assert dead.headers["outcome"] == "expired"
            assert not commands_received(site.tactium)


@pytest.mark.socket_only
async def test_commands_wait_for_the_link_until_their_deadline(open_site: OpenSite) -> None:
    """While Tactium is away a command waits; past its deadline it is `unavailable`."""
    async with open_site(commands={"ttl": 30.0}) as site, site.bridge():
        await site.next_data("main.link.up")
        await site.tactium.refuse()
        await site.next_data("main.link.down")
        reply = await site.ask({"command": "get_status", "agent": "ana"}, expiration=1.0)
        assert (reply["outcome"], reply["sent_at"]) == ("unavailable", None)
        await site.send({"command": "get_status", "agent": "bruno"})
        await site.tactium.accept()
        _, reply = await site.next_reply()
        assert (reply["agent"], reply["outcome"]) == ("bruno", "ok")


@pytest.mark.socket_only
async def test_a_command_whose_answer_is_lost_is_uncertain(site: Site) -> None:
    """The link lost after writing: a change is `uncertain`, a query is asked again."""
    await site.send({"command": "pause", "agent": "silent", "code": "1"})
    await until(lambda: bool(commands_received(site.tactium)))
    await site.tactium.drop_clients()
    _, reply = await site.next_reply()
    assert reply["outcome"] == "uncertain"
    assert reply["sent_at"]

    site.tactium.received.clear()
    await site.next_data("main.link.up")
    await site.send({"command": "get_status", "agent": "silent"})
    await until(lambda: bool(commands_received(site.tactium)))
    await site.tactium.drop_clients()
    await until(lambda: len(commands_received(site.tactium)) == 2)
    await site.say("<silent><S><1>$")
    _, reply = await site.next_reply()
    assert (reply["outcome"], reply["data"]["status"]) == ("ok", "available")
