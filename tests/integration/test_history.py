"""Past events, from the broker's stream: `amqp.history`, `events(since=…)`, `tail --since`."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.client import BridgeClient, Event
from bridge.errors import BridgeError, TopologyConflict
from bridge.sandbox import RabbitMQNode
from tests.integration.program import ended, environment_of, program
from tests.integration.site import OpenSite, Site, until

ON = {"history": True}
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.socket_only


async def said(site: Site, *codes: int, agent: str = "ana") -> None:
    """Let Tactium say a status for each code, and wait until they are published."""
    await site.tactium.wait_for(lambda: site.tactium.administrators == 1)
    await site.say("".join(f"<{agent}><S><{code}>$" for code in codes))
    for code in codes:
        assert (await site.next_data(f"{agent}.agent.status"))["code"] == code


async def take(client: BridgeClient, count: int, *patterns: str, **given: Any) -> list[Event]:
    """Return the first events of a subscription."""
    found: list[Event] = []
    async with asyncio.timeout(20):
        async for event in client.events(*patterns, **given):
            found.append(event)
            if len(found) == count:
                break
    return found


def codes(events: list[Event]) -> list[int]:
    return [json.loads(event.body)["data"]["code"] for event in events]


def client_of(site: Site) -> BridgeClient:
    return BridgeClient(site.settings.amqp.url.get_secret_value())


async def test_a_new_service_begins_with_the_past(open_site: OpenSite) -> None:
    """All that was published comes first, in order, and goes over into what happens."""
    async with open_site(amqp=ON) as site, site.bridge(), client_of(site) as client:
        await said(site, *range(1, 101))
        past = await take(client, 100, since=HOUR)
        assert codes(past) == list(range(1, 101))
        now = asyncio.create_task(take(client, 103, since=HOUR))
        await said(site, 101, 102, 103)
        assert codes(await now) == list(range(1, 104))


async def test_only_what_is_asked_for(open_site: OpenSite) -> None:
    """By pattern, as the exchange would have it, and by when it happened."""
    async with open_site(amqp=ON) as site, site.bridge(), client_of(site) as client:
        await said(site, 1, 2)
        await said(site, 3, agent="bruno")
        await asyncio.sleep(0.01)
        moment = datetime.now(UTC)
        await said(site, 4, agent="bruno")
        await said(site, 5)
        assert codes(await take(client, 2, "bruno.#", since=HOUR)) == [3, 4]
        assert codes(await take(client, 2, since=moment)) == [4, 5]


async def test_the_past_survives_a_lost_connection(
    open_site: OpenSite, rabbitmq: RabbitMQNode
) -> None:
    """It goes on where it was; what was dealt with does not come again."""
    async with open_site(amqp=ON) as site, site.bridge(), client_of(site) as client:
        await said(site, *range(1, 501))
        found: list[Event] = []
        async with asyncio.timeout(30):
            async for event in client.events(since=HOUR, prefetch=10):
                found.append(event)
                if len(found) == 250:
                    await rabbitmq.ctl("close_all_connections", "test")
                if len(found) == 500:
                    break
        assert codes(found) == list(range(1, 501))


async def test_without_history(open_site: OpenSite) -> None:
    """The error says what to set; so does what cannot be asked for."""
    async with open_site() as site, site.bridge(), client_of(site) as client:
        await site.next_data("main.link.up")
        with pytest.raises(TopologyConflict, match="BRIDGE_AMQP__HISTORY"):
            await take(client, 1, since=HOUR)
        for wrong in ({"since": HOUR, "queue": "mine"}, {"since": datetime(2026, 1, 1)}):  # noqa: DTZ001 - that is what is wrong
            with pytest.raises(BridgeError, match="since"):
                client.events(**wrong)


async def test_tail_since(open_site: OpenSite, tmp_path: Path) -> None:
    """The command prints the past too; a wrong time is named."""
    async with open_site(amqp=ON) as site, site.bridge():
        await said(site, *range(1, 11))
        environment = environment_of(site.settings)
        arguments = ("tail", "--since", "2h", "--json", "ana.#")
        async with program(*arguments, cwd=tmp_path, environment=environment) as tail:
            assert tail.stdout
            async with asyncio.timeout(20):
                lines = [json.loads(await tail.stdout.readline()) for _ in range(10)]
            assert [line["data"]["code"] for line in lines] == list(range(1, 11))
        async with program(
            "tail", "--since", "soon", cwd=tmp_path, environment=environment
        ) as tail:
            code, _, err = await ended(tail)
        assert code == 2
        assert "15m, 2h or 1d" in err


async def test_a_history_of_other_limits_is_told_of(open_site: OpenSite) -> None:
    """Nothing is deleted: the bridge says what differs, and waits."""
    async with open_site(amqp=ON) as site:
        async with site.bridge():
            await site.next_data("main.link.up")
        site.settings = site.settings.model_copy(
            update={"amqp": site.settings.amqp.model_copy(update={"history_age_seconds": 60})}
        )
        async with site.bridge() as again:
            await until(lambda: "tactium.history" in str(again.watch.status))
