"""The contract as strangers check it: by its schemas, and with other people's parsers."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage
from cloudevents.core.bindings.amqp import AMQPMessage, from_amqp_event
from cloudevents.core.formats.json import JSONFormat

from bridge.contract import examples
from bridge.simulator import Faults, Habits, SimulatorOptions
from tests.integration.site import OpenSite, Site
from tests.unit.contract.judge import event_flaws, flaws

HOUR_IN_SECONDS = 40.0
"""How long an hour of a call center takes here, where everything goes ninety times as fast."""

TIMES = 3600 / HOUR_IN_SECONDS
AGENTS = tuple(f"agent{number}" for number in range(12))
USUAL = Habits()
SPANS: dict[str, Any] = {
    name: tuple(each / TIMES for each in getattr(USUAL, name))
    for name in Habits.__dataclass_fields__
    if name.endswith("_seconds")
}
CENTER = SimulatorOptions(
    port=0,
    agents=AGENTS,
    calls_per_minute=10 * TIMES,
    attach_info=True,
    seed=8,
    habits=replace(USUAL, **SPANS),
    faults=Faults(mangled=0.01, garbage=0.01, unanswered=0.02, drop_every_seconds=15.0),
)


def a_command(rng: random.Random) -> tuple[str, dict[str, Any] | bytes]:
    """Return a name and a command: any of them, and one in ten that is none."""
    name = rng.choice(sorted(examples.COMMANDS))
    if rng.random() < 0.1:
        return "none", rng.choice([b"", b"[]", b'{"command":"dance"}', b'{"command":"pause"}'])
    return name, {**examples.command(name), "agent": rng.choice(AGENTS)}


async def command(site: Site, until: float, asked: Counter[str]) -> None:
    """Give commands until the clock says so, each with an identity."""
    rng = random.Random(8)
    clock = asyncio.get_running_loop().time
    while clock() < until:
        name, body = a_command(rng)
        asked[name] += 1
        await site.send(body, message_id=f"{asked.total()}")
        await asyncio.sleep(0.05)


def taken(queue: asyncio.Queue[AbstractIncomingMessage]) -> list[AbstractIncomingMessage]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


async def test_an_hour_of_traffic_keeps_to_the_schemas(open_site: OpenSite) -> None:
    """Each event, each notice and each reply; commands and faults among the traffic."""
    limits = {"timeout": 0.5, "make_call_window": 0.2}
    asked: Counter[str] = Counter()
    async with open_site(tactium=CENTER, commands=limits) as site, site.bridge():
        until = asyncio.get_running_loop().time() + HOUR_IN_SECONDS
        await command(site, until, asked)
        await asyncio.sleep(2)
        messages, replies = taken(site.inbox), taken(site.replies)
    found: list[str] = []
    kinds: Counter[str] = Counter()
    for message in messages:
        event = json.loads(message.body)
        kinds[event["type"]] += 1
        found += event_flaws(event)
    for message in replies:
        found += flaws("reply", json.loads(message.body))
    assert found[:5] == []
    assert set(asked) >= set(examples.COMMANDS)
    assert len(replies) > 0.8 * asked.total(), "the traffic has no answers in it"
    heard = {kind for kind in kinds if not kind.startswith("tactium.bridge.")}
    assert heard >= {f"tactium.{each}" for each in ("call.started", "call.ended", "agent.status")}
    assert kinds["tactium.call.started"] > 300, "that is no hour of a call center"
    told = {"gap", "resync", "link.up", "link.down", "frame.malformed", "command.ok"}
    assert {f"tactium.bridge.{each}" for each in told} <= set(kinds)


async def test_events_parse_with_the_sdk_of_cloudevents(site: Site) -> None:
    """As the message that they are, properties and body."""
    await site.say("<ana><R><0><85><988887777><0><3001><---><>$")
    message = await site.next_message()
    properties = {"content-type": message.content_type or ""}
    event = from_amqp_event(AMQPMessage(properties, {}, message.body), JSONFormat())
    assert event.get_type() == "tactium.call.started"
    assert event.get_subject() == "ana"
    assert event.get_id() == message.message_id
    assert event.get_extension("partitionkey") == "ana"
    data = event.get_data()
    assert isinstance(data, dict)
    assert data["direction"] == "inbound"


@pytest.mark.parametrize("example", [examples.messages()[0]])
async def test_the_examples_are_what_the_bridge_says(site: Site, example: dict[str, Any]) -> None:
    """The frame of an example, said by Tactium, gives the example's data."""
    await site.say(example["data"]["raw"])
    event = json.loads((await site.next_message()).body)
    own = {"call_id": example["data"]["call_id"]}
    assert event["data"] | own == example["data"]
    assert event.keys() == example.keys()
