"""What is counted is what happened, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from bridge.app import Program
from bridge.sandbox import RabbitMQNode, private_rabbitmq
from tests.integration.conftest import make_site
from tests.integration.http import Http, asking
from tests.integration.site import SETTLE_SECONDS, OpenSite, Site, killed, until

EVENTS = 2_000
LONG = "x" * 2_000


def taken_in(numbers: dict[str, float]) -> float:
    """Return how many messages were taken in, of every type."""
    return sum(value for name, value in numbers.items() if name.startswith("events_total{"))


async def settled(http: Http) -> dict[str, float]:
    """Return the numbers once nothing waits any more."""
    numbers: dict[str, float] = {}

    async def is_settled() -> bool:
        nonlocal numbers
        numbers = await http.metrics()
        return numbers["journal_events"] == 0

    await until(is_settled)
    return numbers


def is_true(numbers: dict[str, float]) -> bool:
    """Whether all that came in is somewhere."""
    there = numbers["events_confirmed_total"] + numbers["journal_events"]
    gone = numbers["events_dropped_total"] + numbers["events_refused_total"]
    return taken_in(numbers) == there + gone


async def say_all(site: Site, count: int, more: str = "") -> None:
    """Let Tactium say so many events."""
    for start in range(0, count, 100):
        said = (f"<ana><G></{number}.wav{more}>$" for number in range(start, start + 100))
        await site.say("".join(said))
        await asyncio.sleep(0.005)


async def test_a_broker_that_dies_falsifies_nothing(tmp_path: Path) -> None:
    """In = confirmed + waiting + dropped, before, during and after; repeats are counted."""
    async with (
        private_rabbitmq() as node,
        make_site(node.url(), tmp_path / "bridge.db") as site,
        site.bridge() as program,
        asking(program) as http,
    ):
        await http.until_part("broker", ok=True)
        await http.until_part("link", ok=True)
        await say_all(site, EVENTS)
        assert is_true(await settled(http))
        await asyncio.sleep(SETTLE_SECONDS)
        killing = asyncio.create_task(_kill_soon(node))
        await say_all(site, EVENTS)
        await killing
        await http.until_part("broker", ok=False)
        await say_all(site, EVENTS)
        waiting = await http.metrics()
        assert waiting["journal_events"] >= EVENTS
        assert waiting["journal_oldest_seconds"] > 0
        assert waiting["broker_up"] == 0
        await node.restart()
        await http.until_part("broker", ok=True)
        numbers = await settled(http)
        assert is_true(numbers)
        assert numbers["events_total{type=call.recorded}"] == 3 * EVENTS
        assert numbers["events_confirmed_total"] <= numbers["confirm_seconds_count"]
        assert numbers["events_dropped_total"] == 0
        assert numbers["reconnects_total{peer=broker}"] == 1


async def _kill_soon(node: RabbitMQNode) -> None:
    await asyncio.sleep(0.02)
    await node.kill()


async def test_what_had_to_make_way_is_counted(tmp_path: Path) -> None:
    """A journal that is full drops the oldest: those are counted, and in a gap."""
    async with (
        private_rabbitmq() as node,
        make_site(node.url(), tmp_path / "bridge.db", journal={"max_bytes": 1024 * 1024}) as site,
        site.bridge() as program,
        asking(program) as http,
    ):
        await http.until_part("link", ok=True)
        await http.until_part("broker", ok=True)
        await settled(http)
        await killed(node)
        await http.until_part("broker", ok=False)
        await say_all(site, EVENTS, LONG)
        answer = await http.until_part("journal", ok=False)
        assert "full" in answer["journal"]["reason"]

        async def is_counted() -> bool:
            numbers = await http.metrics()
            return numbers["events_dropped_total"] > 0 and is_true(numbers)

        await until(is_counted)
        await node.restart()

        async def is_told() -> bool:
            numbers = await http.metrics()
            return numbers["gaps_total{cause=journal_full}"] >= 1 and numbers["journal_events"] == 0

        await until(is_told)
        numbers = await http.metrics()
        assert is_true(numbers)
        assert numbers["events_total{type=call.recorded}"] == EVENTS


async def test_commands_and_broken_frames_are_counted(open_site: OpenSite) -> None:
    """By name and outcome; what comes back from a reply queue that is gone, too."""
    async with open_site() as site, site.bridge() as program, asking(program) as http:
        await http.until_part("link", ok=True)
        await site.ask({"command": "get_status", "agent": "ana"})
        await site.ask({"command": "nonsense"})
        await site.send({"command": "get_agents"}, reply_to="nobody.here")
        await site.say("<broken$<ana><S><1>$")

        async def are_counted() -> bool:
            numbers = await http.metrics()
            return {
                "commands_total{command=get_status,outcome=ok}",
                "commands_total{command=unknown,outcome=invalid}",
            } <= set(numbers) and bool(
                numbers["replies_returned_total"] and numbers["frames_malformed_total"]
            )

        await until(are_counted)
        numbers = await http.metrics()
        assert numbers["command_seconds_count"] == 3
        text = json.dumps(numbers)
        assert "ana" not in text
        assert "nobody" not in text


async def test_an_alarm_of_the_broker_s_is_seen(tmp_path: Path) -> None:
    """While its memory alarm is on it is not well though connected; afterwards it is again."""
    async with (
        private_rabbitmq() as node,
        make_site(node.url(), tmp_path / "bridge.db") as site,
        site.bridge() as program,
        asking(program) as http,
    ):
        await http.until_part("broker", ok=True)
        await http.until_part("link", ok=True)
        await node.ctl("set_vm_memory_high_watermark", "0.000001")
        await _until_blocked(site, program, is_blocked=True)
        numbers = await http.metrics()
        assert numbers["broker_blocked"] == 1
        assert numbers["broker_up"] == 1
        _, answer = await http.ready()
        assert "alarm" in answer["broker"]["reason"]
        await node.ctl("set_vm_memory_high_watermark", "0.6")
        await _until_blocked(site, program, is_blocked=False)
        await http.until_part("broker", ok=True)
        assert is_true(await settled(http))


async def _until_blocked(site: Site, program: Program, *, is_blocked: bool) -> None:
    """Wait for the light; the broker says that it is blocked when something is published."""

    async def is_so() -> bool:
        await site.say("<ana><S><1>$")
        return program.watch.status.is_hindered("broker") is is_blocked

    await until(is_so)


async def test_a_queue_that_refuses_falsifies_nothing(open_site: OpenSite) -> None:
    """What is given up for its sake is counted once, as that; all else as confirmed, once."""
    async with open_site() as site, site.bridge() as program, asking(program) as http:
        await http.until_part("link", ok=True)
        await http.until_part("broker", ok=True)
        await settled(http)
        full: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await site.channel.declare_queue("full", durable=True, arguments=full)
        await queue.bind("tactium.events", "#")
        await say_all(site, 100)

        async def are_refused() -> bool:
            return (await http.metrics())["events_refused_total"] >= 90

        await until(are_refused)
        assert is_true(await settled(http))


async def test_a_disk_that_takes_nothing_falsifies_nothing(open_site: OpenSite) -> None:
    """What waits in memory is shown as that, with its age, and counted when it is written."""
    async with open_site() as site, site.bridge() as program, asking(program) as http:
        await http.until_part("link", ok=True)
        await http.until_part("broker", ok=True)
        await settled(http)
        database = program._bridge._journal._files.store._database  # type: ignore[attr-defined]
        database.execute("PRAGMA query_only = 1")
        await say_all(site, 100)
        await http.until_part("journal", ok=False)

        async def is_shown() -> bool:
            numbers = await http.metrics()
            return numbers["journal_waiting_events"] == 100 and is_true(numbers)

        await until(is_shown)
        assert (await http.metrics())["journal_oldest_seconds"] > 0
        database.execute("PRAGMA query_only = 0")
        await http.until_part("journal", ok=True)
        assert is_true(await settled(http))
