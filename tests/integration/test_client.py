"""What a Python service does with the bridge, through `bridge.client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from aio_pika import Message

from bridge.client import (
    AgentsData,
    BridgeClient,
    BridgeError,
    BrokerRefused,
    CallStarted,
    CommandEnded,
    Event,
    Gap,
    InvalidCommand,
    NoReply,
    Outcome,
    StatusData,
    Subscription,
    TopologyConflict,
)
from bridge.client.commander import ANSWER_SECONDS
from bridge.sandbox import RabbitMQNode
from tests.integration.site import OpenSite, Site, until

ARRIVES = "<ana><R><0><85><988887777><0><3001><---><>$"


@pytest.fixture
async def client(site: Site) -> AsyncIterator[BridgeClient]:
    """A client of a site whose bridge is up."""
    async with BridgeClient(site.settings.amqp.url.get_secret_value()) as bridge:
        yield bridge


async def first(subscription: Subscription, site: Site, text: str = ARRIVES) -> Event:
    """Return the first event, with Tactium saying something until the queue is bound."""
    waiting = asyncio.ensure_future(anext(subscription))
    async with asyncio.timeout(20):
        while not waiting.done():
            await site.say(text)
            await asyncio.wait((waiting,), timeout=0.3)
    return waiting.result()


async def next_of(subscription: Subscription) -> Event:
    async with asyncio.timeout(20):
        return await anext(subscription)


async def test_every_command_has_a_method(client: BridgeClient) -> None:
    """Each is answered, with data of the class that its command has."""
    status = await client.get_status("ana")
    assert status.ok
    assert isinstance(status.data, StatusData)
    called = await client.make_call("ana", phone="40050500", area_code="85", campaign="Cobrança")
    assert called.ok
    agents = await client.get_agents()
    assert isinstance(agents.data, AgentsData)
    assert "ana" in {each.agent for each in agents.data.agents}
    assert (await client.get_agents("ana")).data is not None
    for reply in (
        await client.get_current_call("ana"),
        await client.hang_up("ana"),
        await client.end_wrap_up("ana"),
        await client.pause("ana", code="1"),
        await client.resume("ana"),
        await client.logon("ana"),
        await client.set_disposition("ana", disposition="fax"),
        await client.schedule_callback("ana", at=datetime(2026, 12, 1, 15, 0)),  # noqa: DTZ001
        await client.logoff("ana"),
    ):
        assert reply.outcome in Outcome
        assert reply.agent == "ana"


async def test_a_command_carries_what_it_was_given(client: BridgeClient) -> None:
    """Its context comes back; the same id gets the same answer and is run once."""
    reply = await client.pause("ana", code="1", context={"order": 7}, message_id="once")
    again = await client.pause("ana", code="1", context={"order": 7}, message_id="once")
    assert reply.id == "once"
    assert reply.context == {"order": 7}
    assert again == reply
    other = await client.pause("ana", code="2", message_id="once")
    assert other.outcome is Outcome.INVALID
    assert other.error is not None
    assert not other.ok


async def test_commands_go_side_by_side(client: BridgeClient) -> None:
    """Each gets its own reply, however many are under way."""
    agents = ["ana", "bruno", "carla", "jose"] * 8
    replies = await asyncio.gather(*map(client.get_status, agents))
    assert [reply.agent for reply in replies] == agents


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"agent": "", "phone": "1"}, "agent"),
        ({"agent": "ana", "phone": "call me"}, "phone"),
        ({"agent": "ana<", "phone": "1"}, "agent"),
        ({"agent": "ana", "phone": "1", "context": {"x": "y" * 2000}}, "context"),
    ],
)
async def test_bad_input_is_refused_before_it_is_sent(given: dict[str, Any], field: str) -> None:
    """With the field's name; no broker is needed for that."""
    async with BridgeClient("amqp://nowhere.invalid/") as client:
        with pytest.raises(InvalidCommand) as error:
            await client.make_call(**given)
    assert [flaw.field for flaw in error.value.flaws] == [field]


async def test_events_are_typed(client: BridgeClient, site: Site) -> None:
    """Envelope, key and data; and an id that the same event keeps."""
    events = client.events("*.call.started.*")
    event = await first(events, site)
    assert isinstance(event.data, CallStarted)
    assert (event.data.agent, event.data.direction) == ("ana", "inbound")
    assert event.type == "tactium.call.started"
    assert event.key == "ana.call.started.inbound"
    assert (event.subject, event.source) == ("ana", "/tactium/main")
    assert event.time.tzinfo is not None
    assert int(event.id.rpartition("-")[2]) == event.sequence
    assert not event.late


async def test_notices_are_typed(client: BridgeClient, site: Site) -> None:
    """What the bridge says of itself, those commands among it that ended."""
    notices = client.notices("*.command.*", "*.gap")
    waiting = asyncio.ensure_future(anext(notices))
    while not waiting.done():
        await client.get_status("ana", context={"mine": True})
        await asyncio.wait((waiting,), timeout=0.3)
    ended = waiting.result().data
    assert isinstance(ended, CommandEnded)
    assert ended.context == {"mine": True}
    assert ended.user == "guest"
    await site.tactium.refuse()
    await asyncio.sleep(0.5)
    await site.tactium.accept()
    found: list[Any] = []
    async for notice in notices:
        found.append(notice.data)
        if isinstance(notice.data, Gap):
            break
    assert found[-1].cause == "link_down"


async def test_what_the_loop_did_not_get_through_comes_again(
    client: BridgeClient, site: Site
) -> None:
    """To the next loop of the same subscription, and to whoever takes over the queue."""
    events = client.events("ana.#", queue="crm")
    event = await first(events, site)
    with suppress(ZeroDivisionError):
        async for each in events:
            assert each.id == event.id
            raise ZeroDivisionError
    async for each in events:
        assert each.id == event.id
        break
    await events.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    taken_over = client.events("ana.#", queue="crm")
    assert (await next_of(taken_over)).id == event.id


async def test_what_was_dealt_with_does_not_come_again(client: BridgeClient, site: Site) -> None:
    """An event that the loop got through is acknowledged, and gone from the queue."""
    events = client.events("ana.#", queue="crm")
    before = await first(events, site)
    await site.say("<ana><EndCall>$")
    while (event := await next_of(events)).type != "tactium.call.ended":
        before = event
    await events.aclose()
    again = await next_of(client.events("ana.#", queue="crm"))
    assert again.id == event.id != before.id


async def test_what_comes_twice_is_given_once(client: BridgeClient, site: Site) -> None:
    """As when the bridge repeats what a broker had not confirmed."""
    events = client.events("ana.#", queue="crm")
    event = await first(events, site)
    message = next(
        each for each in iter(site.inbox.get_nowait, None) if each.message_id == event.id
    )
    exchange = await site.channel.get_exchange("tactium.events")
    same = Message(message.body, content_type=message.content_type)
    await exchange.publish(same, "ana.call.started.inbound")
    await site.say("<ana><EndCall>$")
    seen = [event.id]
    while (event := await next_of(events)).type != "tactium.call.ended":
        seen.append(event.id)
    assert len(seen) == len(set(seen))


async def test_what_is_no_event_is_passed_over(client: BridgeClient, site: Site) -> None:
    """Somebody else's message on the exchange stops nobody; what is new is a plain dict."""
    events = client.events("#", queue="crm")
    await first(events, site)
    exchange = await site.channel.get_exchange("tactium.events")
    for body in (b"", b"{}", b'{"specversion":"1.0"}', b"\xff"):
        await exchange.publish(Message(body), "ana.call.started.inbound")
    new = (
        b'{"specversion":"1.0","id":"J-00000000000000000001","source":"/tactium/main","type":'
        b'"tactium.call.held","subject":"ana","time":"2026-11-22T12:00:00Z","sequence":'
        b'"00000000000000000001","data":{"agent":"ana","new":1}}'
    )
    await exchange.publish(Message(new), "ana.call.held")
    while (event := await next_of(events)).type != "tactium.call.held":
        assert event.type == "tactium.call.started"
    assert event.data == {"agent": "ana", "new": 1}


async def test_a_lost_connection_loses_no_event_and_no_command(
    client: BridgeClient, site: Site, rabbitmq: RabbitMQNode
) -> None:
    """A command under way is asked again under its id; events go on where they stopped."""
    events = client.events("ana.#", queue="crm")
    await first(events, site)
    asking = asyncio.ensure_future(client.get_status("ana", message_id="through-it-all"))
    await asyncio.sleep(0.05)
    await rabbitmq.ctl("close_all_user_connections", "guest", "test")
    async with asyncio.timeout(30):
        reply = await asking
    assert reply.outcome in (Outcome.OK, Outcome.UNCERTAIN)
    assert reply.id == "through-it-all"
    await site.say("<ana><EndCall>$")
    while (event := await next_of(events)).type != "tactium.call.ended":
        pass
    assert event.subject == "ana"


async def test_no_bridge_means_no_reply(vhost_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says whether the command may have run."""
    monkeypatch.setattr("bridge.client.commander.ANSWER_SECONDS", 1.0)
    assert ANSWER_SECONDS > 5
    async with BridgeClient(vhost_url) as client:
        with pytest.raises(NoReply, match="not sent"):
            await client.get_status("ana", timeout=1)


async def test_no_broker_means_no_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried until the time is up, and the reason said."""
    monkeypatch.setattr("bridge.client.commander.ANSWER_SECONDS", 0.5)
    async with BridgeClient("amqp://localhost:1/") as client:
        with pytest.raises(NoReply, match=r"(?s)Connect call failed.*not sent"):
            await client.get_status("ana", timeout=0.5)


async def test_who_may_not_is_told_so(vhost_url: str) -> None:
    """Trying again cannot help, so it is an error at once: for commands and for events."""
    wrong = vhost_url.replace("guest:guest", "guest:wrong")
    async with BridgeClient(wrong) as client:
        with pytest.raises(BrokerRefused):
            await client.get_status("ana")
        with pytest.raises(BrokerRefused):
            await next_of(client.events())


async def test_a_queue_with_other_arguments_is_named(client: BridgeClient, site: Site) -> None:
    """And can then be used as it is."""
    await site.channel.declare_queue("crm", durable=True)
    with pytest.raises(TopologyConflict, match="'crm'"):
        await next_of(client.events(queue="crm"))
    event = await first(client.events(queue="crm", arguments={}), site)
    assert event.subject == "ana"


async def test_one_id_is_under_way_once(client: BridgeClient) -> None:
    """Two who would wait for one reply are told."""
    asking = asyncio.ensure_future(client.get_status("ana", message_id="x"))
    await asyncio.sleep(0)
    with pytest.raises(BridgeError, match="under way"):
        await client.get_status("ana", message_id="x")
    assert (await asking).ok


async def test_a_subscriber_may_come_before_the_bridge(open_site: OpenSite) -> None:
    """It declares the exchange, which has no arguments, and hears the first event."""
    async with (
        open_site() as site,
        BridgeClient(site.settings.amqp.url.get_secret_value()) as client,
    ):
        waiting = asyncio.ensure_future(anext(client.events("#", queue="crm")))
        await until(lambda: _has_queue(site), 10)
        async with site.bridge():
            await site.next_data("main.link.up")
            await site.say(ARRIVES)
            async with asyncio.timeout(10):
                assert (await waiting).subject == "ana"


async def _has_queue(site: Site) -> bool:
    try:
        async with site.second_channel() as channel:
            await channel.declare_queue("crm", passive=True)
    except Exception:  # noqa: BLE001 - not yet
        return False
    return True


@pytest.mark.parametrize(
    "url", ["", "localhost", "http://u:p@h/", "amqp://h:0/", "amqp://h:abc/", "amqp://h:99999/"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    """At once, and as every failure of the client."""
    with pytest.raises(BridgeError, match="amqp://"):
        BridgeClient(url)


@pytest.mark.parametrize(
    "given",
    [
        {"patterns": ("x" * 300,)},
        {"patterns": ("",)},
        {"patterns": (["a.#"],)},
        {"queue": "q" * 300},
        {"queue": ""},
        {"prefetch": 0},
        {"prefetch": 70_000},
        {"prefetch": "x"},
    ],
    ids=str,
)
async def test_what_rabbitmq_cannot_take_is_refused(given: dict[str, Any]) -> None:
    """Before it is asked."""
    bridge = BridgeClient("amqp://127.0.0.1:1/")
    with pytest.raises(BridgeError):
        bridge.events(*given.pop("patterns", ()), **given)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": 1e12}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"timeoutt": 3}, "timeoutt"),
        ({"message_id": 5}, "message_id"),
        ({"message_id": "x" * 300}, "message_id"),
        ({"context": {"a": 2**70}}, ""),
        ({"context": {"x": {1}}}, ""),
    ],
    ids=str,
)
async def test_an_option_that_will_not_do_is_named(options: dict[str, Any], field: str) -> None:
    """Before anything is sent."""
    bridge = BridgeClient("amqp://127.0.0.1:1/")
    with pytest.raises(InvalidCommand) as raised:
        await bridge.get_status("ana", **options)
    assert [flaw.field for flaw in raised.value.flaws] == [field]


async def test_a_loop_that_is_left_goes_on_in_the_next(client: BridgeClient, site: Site) -> None:
    """The same queue asked for again is the same subscription: none competes with another."""
    heard = [await first(client.events("ana.#", queue="subscriber.again"), site)]
    for _ in range(3):
        async with asyncio.timeout(10):
            async for event in client.events("ana.#", queue="subscriber.again"):
                heard.append(event)
                break
        await site.say(ARRIVES)
    assert len({event.id for event in heard}) <= 2


async def test_a_reason_is_told_where_there_is_no_broker() -> None:
    """Not only that there is none."""
    async with BridgeClient("amqp://127.0.0.1:1/") as bridge:
        with pytest.raises(NoReply, match="onnect"):
            await bridge.get_status("ana", timeout=0.1)
