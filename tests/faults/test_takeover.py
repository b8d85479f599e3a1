"""One of two bridges dies, or stops in its tracks, and the other one leads."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aio_pika import Message, connect
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from bridge.sandbox import RabbitMQNode
from bridge.simulator import Simulator
from tests.faults.conftest import Ledger
from tests.faults.pair import Member, open_pair
from tests.faults.test_faults import CALM_SECONDS, KILLS, SOAK, flowing
from tests.faults.witness import NAMES, Sender, judge, prepare, quiet
from tests.integration.site import PATIENCE_SECONDS, OpenSite, until

COMMANDS_PER_SECOND = 20
HEARTBEAT_SECONDS = 2
TAKE_SECONDS = 10.0
"""In which one that started would lead, if it did not see that another does."""

LAST_SIGN = timedelta(seconds=2)
"""A heartbeat each second says until when all was published, and each event does."""

pytestmark = [pytest.mark.timeout(900 if SOAK else 180), pytest.mark.socket_only]


class Commander:
    """Sends commands at a steady rate, each under an id of its own, and counts the replies."""

    def __init__(self) -> None:
        self.replies: dict[str, list[str]] = {}
        self._is_over = False

    @asynccontextmanager
    async def commanding(self, url: str) -> AsyncIterator[None]:
        """Let commands flow inside; at the end each has a reply."""
        async with await connect(url) as connection:
            channel = await connection.channel()
            mailbox = await channel.declare_queue(exclusive=True)
            await mailbox.consume(self._take, no_ack=True)
            sending = asyncio.create_task(self._send(channel, mailbox.name))
            try:
                yield
            finally:
                self._is_over = True
                await sending
            await until(lambda: all(self.replies.values()))

    async def _send(self, channel: AbstractChannel, mailbox: str) -> None:
        while not self._is_over:
            number = str(len(self.replies) + 1)
            agent = NAMES[int(number) % len(NAMES)]
            command = {"command": "pause", "agent": agent, "code": number}
            self.replies[number] = []
            await channel.default_exchange.publish(
                Message(
                    json.dumps(command).encode(),
                    message_id=number,
                    correlation_id=number,
                    reply_to=mailbox,
                ),
                "tactium.commands",
            )
            await asyncio.sleep(1 / COMMANDS_PER_SECOND)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        self.replies[message.correlation_id or ""].append(message.body.decode())

    def outcomes(self) -> Counter[str]:
        """Return how often each outcome was told, of commands and not of replies."""
        return Counter(json.loads(said[0])["outcome"] for said in self.replies.values() if said)


class Doorman:
    """Counts the administrators of a simulated Tactium whenever one comes."""

    def __init__(self, tactium: Simulator) -> None:
        self.most = 0
        register = tactium._register

        def counting(*arguments: Any) -> Any:
            said = register(*arguments)
            self.most = max(self.most, tactium.administrators)
            return said

        setattr(tactium, "_register", counting)  # noqa: B010 - mypy would not have it else


async def roles_of(one: Member, another: Member) -> tuple[Member, Member]:
    """Return the one that leads and the other one."""
    while True:
        for leader, other in ((one, another), (another, one)):
            if await leader.is_ready_as("leader"):
                return leader, other
        await asyncio.sleep(0.05)


async def stop_in_order(one: Member, another: Member) -> None:
    """Stop both, the one that leads once all that its journal holds is published."""
    leader, other = await roles_of(one, another)
    await other.stop()  # first, so that it does not take over
    await leader.stop()


async def notices(url: str, queue: str) -> list[dict[str, Any]]:
    """Read all that lies in a queue."""
    found: list[dict[str, Any]] = []
    async with await connect(url) as connection:
        box = await (await connection.channel()).get_queue(queue)
        while (message := await box.get(no_ack=True, fail=False)) is not None:
            found.append(json.loads(message.body))
    return found


async def notices_until(
    url: str, queue: str, kind: str, timeout_seconds: float = PATIENCE_SECONDS
) -> list[dict[str, Any]]:
    """Read what lies in a queue until one of this kind is there."""
    found: list[dict[str, Any]] = []

    async def is_there() -> bool:
        found.extend(await notices(url, queue))
        return any(each["type"].endswith(kind) for each in found)

    await until(is_there, timeout_seconds)
    return found


async def listen_to_notices(url: str) -> str:
    """Let what the bridges say of themselves gather in a queue; return its name."""
    async with await connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("notices", durable=True)
        exchange = await channel.declare_exchange("tactium.bridge", "topic", durable=True)
        for pattern in ("*.leader.*", "*.gap", "*.heartbeat", "*.command.#"):
            await queue.bind(exchange, pattern)
    return "notices"


async def test_leader_killed(open_site: OpenSite, tmp_path: Path, ledger: Ledger) -> None:
    """Killed again and again, one leads soon after; nothing is missing but in gaps."""
    times: list[float] = []
    killed_at: list[datetime] = []
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        trail = await listen_to_notices(url)
        doorman, commander, sender = Doorman(site.tactium), Commander(), Sender(site.tactium)
        async with open_pair(site, tmp_path) as pair:
            async with commander.commanding(url), flowing(sender):
                for _ in range(KILLS):
                    leader, other = await roles_of(*pair)
                    await until(lambda other=other: other.is_ready_as("standby"))
                    await asyncio.sleep(random.uniform(0.5, 1.5))
                    killed_at.append(datetime.now(UTC))
                    await leader.kill()
                    begin = time.monotonic()
                    await site.tactium.wait_for(lambda: site.tactium.administrators == 0)
                    await site.tactium.wait_for(lambda: site.tactium.administrators == 1)
                    times.append(time.monotonic() - begin)
                    await leader.start()
                for each in pair:  # what the dead one had not published comes once it is there
                    await until(each.is_ready)
                await asyncio.sleep(CALM_SECONDS)
            await stop_in_order(*pair)
        await quiet(url)
        verdict = await judge(url, sender)
        told = await notices(url, trail)
    times.sort()
    ledger.note(verdict, noticed_seconds=times[len(times) // 2], recovery_seconds=times[-1])
    ledger.remark(f"takeover after {[round(each, 2) for each in times]} s")
    ledger.remark(f"commands: {dict(commander.outcomes())}")
    assert doorman.most == 1
    assert not verdict.lost_outside_gaps
    assert not verdict.changed
    assert not verdict.doubled
    assert_commands_are_true(commander, site.tactium, told)
    assert_epochs_grow(told, KILLS)
    assert_gaps_are_no_longer_than_they_were(told, killed_at)


def assert_commands_are_true(
    commander: Commander, tactium: Simulator, told: list[dict[str, Any]]
) -> None:
    """Each has one answer, perhaps twice the same, and ran once or, where uncertain, perhaps."""
    ran = Counter(
        frame for data in tactium.received for frame in data.split(b"$") if b"<P><ON>" in frame
    )
    assert not {frame: count for frame, count in ran.items() if count > 1}
    outcomes = commander.outcomes()
    assert set(outcomes) <= {"ok", "uncertain"}, outcomes
    for number, said in commander.replies.items():
        if said:
            assert len(set(said)) == 1, (number, said)
    ids = Counter(
        notice["data"]["id"]
        for notice in told
        if notice["type"].startswith("tactium.bridge.command")
    )
    answered = {number for number, said in commander.replies.items() if said}
    assert answered <= set(ids)


def assert_epochs_grow(told: list[dict[str, Any]], kills: int) -> None:
    """Each leadership has a number of its own, higher than the one before."""
    epochs = [
        notice["data"]["epoch"] for notice in told if notice["type"].endswith("leader.gained")
    ]
    assert len(epochs) == len(set(epochs)) == kills + 1


def assert_gaps_are_no_longer_than_they_were(
    told: list[dict[str, Any]], killed_at: list[datetime]
) -> None:
    """One for each kill: it begins when the dead one was last known to hear Tactium."""
    gaps = [notice["data"] for notice in told if notice["type"].endswith("gap")]
    assert [gap["cause"] for gap in gaps] == ["takeover"] * len(killed_at)
    for gap, at in zip(gaps, killed_at, strict=True):
        assert at - LAST_SIGN < datetime.fromisoformat(gap["from"]) < at + LAST_SIGN
        assert datetime.fromisoformat(gap["to"]) > at


async def test_leader_killed_in_an_alarm(
    open_site: OpenSite, rabbitmq: RabbitMQNode, tmp_path: Path, ledger: Ledger
) -> None:
    """Tactium is heard on into the other one's journal, though the broker takes nothing."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        doorman, sender = Doorman(site.tactium), Sender(site.tactium)
        async with open_pair(site, tmp_path) as (first, second):
            async with flowing(sender):
                await rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
                try:
                    await asyncio.sleep(CALM_SECONDS)
                    begin = time.monotonic()
                    await first.kill()
                    await site.tactium.wait_for(lambda: site.tactium.administrators == 0)
                    await until(lambda: site.tactium.administrators == 1)
                    noticed = time.monotonic() - begin
                    await first.start()  # one that led and finds the other one leading
                    await asyncio.sleep(TAKE_SECONDS)
                finally:
                    await rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1GB")
                await until(lambda: first.is_ready_as("standby"))
            await quiet(url)  # what had gathered is out
            await stop_in_order(first, second)
        await quiet(url)
        verdict = await judge(url, sender)
    ledger.note(verdict, noticed_seconds=noticed)
    assert doorman.most == 1
    assert not verdict.lost_outside_gaps
    assert not verdict.changed
    assert not verdict.doubled


async def test_leader_stopped_in_its_tracks(
    open_site: OpenSite, tmp_path: Path, ledger: Ledger
) -> None:
    """A machine that hangs is followed within three heartbeats, and wakes as no leader."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        trail = await listen_to_notices(url)
        sender = Sender(site.tactium, per_second=100)
        pair = open_pair(
            site,
            tmp_path,
            BRIDGE_AMQP__HEARTBEAT=str(HEARTBEAT_SECONDS),
            BRIDGE_LINK__IDLE_PROBE="1",
        )
        async with pair as (first, second):
            async with flowing(sender):
                os.kill(first.process.pid, signal.SIGSTOP)
                begin = time.monotonic()
                await until(lambda: second.is_ready_as("leader"))
                noticed = time.monotonic() - begin
                await asyncio.sleep(2 * HEARTBEAT_SECONDS)
            heard_before = sum(map(len, site.tactium.received))
            os.kill(first.process.pid, signal.SIGCONT)
            await until(lambda: first.is_ready_as("standby"))
            await site.tactium.wait_for(lambda: site.tactium.administrators == 1)
            said = b"".join(site.tactium.received)[heard_before:]
            told = await notices_until(url, trail, "leader.lost")
        verdict = await judge(url, sender)
    ledger.note(verdict, noticed_seconds=noticed)
    assert noticed < 3 * HEARTBEAT_SECONDS
    assert b"ADMSOCKET" not in said.upper()
    assert not verdict.lost_outside_gaps
    highest = 0
    for notice in told:  # as they came: once the new epoch speaks, the old one does not
        if notice["type"].endswith("heartbeat"):
            assert notice["epoch"] >= highest
            highest = notice["epoch"]
    lost = next(notice for notice in told if notice["type"].endswith("leader.lost"))
    assert lost["epoch"] < highest
