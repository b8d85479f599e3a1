"""Time in which Tactium could not be heard is told, and no other (contract.md §3)."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

from bridge.sandbox import RabbitMQNode
from tests.integration.site import OpenSite, Site


async def next_notices(site: Site, last: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the bridge's own messages up to one of this type, each with its type."""
    found: list[tuple[str, dict[str, Any]]] = []
    while not found or found[-1][0] != last:
        message = await site.next_message()
        event = json.loads(message.body)
        if message.exchange == "tactium.bridge":
            found.append((event["type"].removeprefix("tactium.bridge."), event))
    return found


async def test_a_lost_link_is_a_gap_from_its_loss_to_the_next_link(open_site: OpenSite) -> None:
    """`link.down`, `link.up`, `gap`: from the last moment of which all was heard."""
    async with open_site() as site, site.bridge():
        await site.next_data("main.link.up")
        await site.tactium.drop_clients()
        notices = await next_notices(site, "gap")
        assert [kind for kind, _ in notices] == ["link.down", "link.up", "gap"]
        down, up, gap = (event for _, event in notices)
        begin = gap["data"].pop("from")
        assert gap["data"] == {"to": up["time"], "cause": "link_down", "dropped": 0}
        lost, told = (datetime.fromisoformat(text) for text in (begin, down["time"]))
        assert told - timedelta(seconds=2) <= lost <= told  # a sign of life each second


async def test_silence_is_a_gap_from_the_last_word(open_site: OpenSite) -> None:
    """A link given up for its silence was deaf since the last that was heard on it."""
    async with (
        open_site(link={"idle_probe": 0.4, "probe_timeout": 0.4}) as site,
        site.bridge(),
    ):
        await site.next_data("main.link.up")
        await site.say("<stranger><S><1>$")  # one whom the simulator never answers for
        heard = await site.next_message()
        notices = await next_notices(site, "gap")
        _, gap = notices[-1]
        assert gap["data"]["from"] == json.loads(heard.body)["time"]


async def test_a_bridge_that_was_away_tells_since_when(open_site: OpenSite) -> None:
    """Not at its very first start; later from the last sign of life to the new link."""
    async with open_site() as site:
        async with site.bridge():
            await site.next_data("main.link.up")
            await site.say("<ana><S><1>$")
            last = json.loads((await site.next_message()).body)["time"]
        async with site.bridge():
            notices = await next_notices(site, "gap")
            kinds = [kind for kind, _ in notices]
            assert kinds == ["link.down", "link.up", "gap"]  # the first is the clean stop's
            gap, up = notices[-1][1], notices[-2][1]
            assert gap["data"]["cause"] == "bridge_down"
            assert gap["data"]["to"] == up["time"]
            assert gap["data"]["from"] >= last


async def test_a_broker_outage_alone_is_no_gap(open_site: OpenSite, rabbitmq: RabbitMQNode) -> None:
    """What was heard meanwhile arrives, marked late after five seconds."""
    async with open_site() as site:
        await site.channel.declare_queue("kept", durable=True)
        queue = await site.channel.get_queue("kept")
        for stream in ("events", "bridge"):
            await queue.bind(f"tactium.{stream}", "#")
        async with site.bridge():
            await site.next_data("main.link.up")
            await rabbitmq.stop_app()
            await site.say("<ana><S><1>$")
            await asyncio.sleep(5.5)
            await rabbitmq.start_app()
            async with site.second_channel() as channel:
                again = await channel.get_queue("kept")
                keys = {}
                while "ana.agent.status" not in keys:
                    message = await again.get(no_ack=True, fail=False)
                    if message is None:
                        await asyncio.sleep(0.1)
                        continue
                    keys[message.routing_key] = message.headers
    assert keys["ana.agent.status"] == {"late": True}
    assert keys["main.link.up"] == {}
    assert "main.gap" not in keys
