"""Many commanders, many agents, a Tactium that is slow and sometimes silent."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aio_pika import Message, connect
from ulid_transform import ulid_now

from tests.faults.conftest import Ledger
from tests.faults.test_backlog import peak_megabytes
from tests.faults.test_faults import SOAK
from tests.faults.witness import prepare, wait_for
from tests.integration.program import environment_of, program, stopped
from tests.integration.site import OpenSite, until

AGENTS = 200
COMMANDERS = 20
EACH = 100 if SOAK else 25
TIMEOUT_SECONDS = 1.0
SLOWEST_SECONDS = 0.3
SILENT_SHARE = 0.05
EVENTS_PER_SECOND = 500
STRANGERS = 100_000 if SOAK else 5_000


@dataclass
class SlowTactium:
    """Answers each agent's questions after a random delay, and one in twenty never.

    It notes what breaks the rule of one command at a time for an agent: a frame
    that comes while it still owes an answer, or has kept silent for less than the
    bridge's own patience.
    """

    rng: random.Random
    port: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    silences: int = 0
    answers_during_silences: int = 0
    rushed: list[str] = field(default_factory=list)
    _owed: dict[str, float | None] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one client."""
        self._owed.clear()
        writer.write(b"<ADMSOCKET><OK>$")
        events = asyncio.create_task(self._say_events(writer))
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                frame = (await reader.readuntil(b">$")).decode()
                agent, *words = frame[1:-2].split("><")
                if agent != "ADMSOCKET":
                    self._take(agent, words, writer)
        events.cancel()
        writer.close()

    def _take(self, agent: str, words: list[str], writer: asyncio.StreamWriter) -> None:
        now = time.monotonic()
        silent_until = self._owed.get(agent, 0.0)
        if silent_until is None or silent_until > now + 0.05:
            self.rushed.append(agent)
        self.commands[agent] += 1
        after_silence = silent_until != 0.0
        if self.rng.random() < SILENT_SHARE and not after_silence:
            self.silences += 1
            self._owed[agent] = now + TIMEOUT_SECONDS
            return
        self._owed[agent] = None
        task = asyncio.create_task(self._answer(agent, words, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, agent: str, words: list[str], writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.rng.uniform(0, SLOWEST_SECONDS))
        self._owed[agent] = 0.0
        self.answered[agent] += 1
        if any(until for until in self._owed.values()):
            self.answers_during_silences += 1
        answer = f"S><{status_of(agent)}" if words == ["S"] else "OK"
        writer.write(f"<{agent}><{answer}>$".encode())

    async def _say_events(self, writer: asyncio.StreamWriter) -> None:
        for number in range(1_000_000):
            agent = f"agent{number % AGENTS}"
            writer.write(f"<{agent}><G><{number}.wav>$".encode())
            if number % 50 == 0:
                await asyncio.sleep(50 / EVENTS_PER_SECOND)


def status_of(agent: str) -> int:
    """Return the status that an agent is known to have."""
    return int(agent.removeprefix("agent")) % 5


@asynccontextmanager
async def slow_tactium() -> AsyncIterator[SlowTactium]:
    """Serve inside, on a free port."""
    tactium = SlowTactium(random.Random(7))
    server = await asyncio.start_server(tactium.serve, "127.0.0.1", 0)
    tactium.port = server.sockets[0].getsockname()[1]
    try:
        yield tactium
    finally:
        server.close()


async def commander(url: str, number: int, replies: dict[str, list[dict[str, Any]]]) -> None:
    """Send commands for random agents, some at a time, and collect what comes back."""
    rng = random.Random(number)
    async with await connect(url) as connection:
        channel = await connection.channel()
        mailbox = await channel.declare_queue(exclusive=True)

        async def collect() -> None:
            async with mailbox.iterator(no_ack=True) as messages:
                async for message in messages:
                    replies[message.correlation_id or ""].append(json.loads(message.body))

        collecting = asyncio.create_task(collect())
        mine: list[str] = []
        for _ in range(EACH):
            agent = f"agent{rng.randrange(AGENTS)}"
            command = rng.choice(
                [
                    {"command": "get_status", "agent": agent},
                    {"command": "pause", "agent": agent, "code": "1"},
                    {"command": "resume", "agent": agent},
                ]
            )
            correlation_id = f"{agent}:{command['command']}:{ulid_now()}"
            replies[correlation_id] = []
            mine.append(correlation_id)
            message = Message(
                json.dumps(command).encode(),
                message_id=ulid_now(),
                correlation_id=correlation_id,
                reply_to=mailbox.name,
            )
            await channel.default_exchange.publish(message, "tactium.commands")
            if rng.random() < 0.3:
                await until(lambda: bool(replies[mine[-1]]), 60)
        await until(lambda: all(replies[each] for each in mine), 120)
        await asyncio.sleep(1)  # for a second reply, which must not come
        collecting.cancel()


@pytest.mark.timeout(300)
async def test_each_request_has_its_own_reply(open_site: OpenSite, ledger: Ledger) -> None:
    """One reply each, the right one by content; one in flight for an agent, and none for another's.

    While one agent's answer does not come, others get theirs.
    """
    commands = {"timeout": TIMEOUT_SECONDS, "ttl": 300, "max_waiting": 100}
    async with open_site(commands=commands) as site, slow_tactium() as tactium:
        site.use_link(site.settings.link.model_copy(update={"port": tactium.port}))
        url = site.settings.amqp.url.get_secret_value()
        replies: dict[str, list[dict[str, Any]]] = {}
        async with site.bridge():
            await site.ask({"command": "get_agents"})
            async with asyncio.TaskGroup() as group:
                for number in range(COMMANDERS):
                    group.create_task(commander(url, number, replies))
    assert len(replies) == COMMANDERS * EACH
    assert {len(each) for each in replies.values()} == {1}
    outcomes = Counter[str]()
    for correlation_id, (reply,) in replies.items():
        agent, command, _ = correlation_id.split(":")
        outcomes[reply["outcome"]] += 1
        assert (reply["agent"], reply["command"]) == (agent, command)
        if reply["outcome"] == "ok" and command == "get_status":
            assert reply["data"]["code"] == status_of(agent)
        elif reply["outcome"] == "ok":
            assert reply["raw"] == f"<{agent}><OK>$"
    ledger.remark(f"{len(replies)} commands: {dict(outcomes)}, {tactium.silences} never answered")
    assert tactium.rushed == []
    assert tactium.silences > 0
    assert outcomes["ok"] > 0.8 * len(replies)
    assert set(outcomes) <= {"ok", "timeout"}
    assert outcomes["timeout"] <= tactium.silences
    assert tactium.answers_during_silences > 0


@pytest.mark.timeout(1200)
async def test_commands_for_agents_who_are_nobody(
    open_site: OpenSite, ledger: Ledger, tmp_path: Path
) -> None:
    """Each is answered; the bridge's memory grows with none of them."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        environment = environment_of(site.settings) | {
            "BRIDGE_COMMANDS__TIMEOUT": "0.05",
            "BRIDGE_COMMANDS__TTL": "3600",
            "BRIDGE_COMMANDS__PREFETCH": "500",
        }
        async with program("run", cwd=tmp_path, environment=environment) as process:
            await site.tactium.wait_for(lambda: site.tactium.administrators == 1)
            await site.send({"command": "get_agents"})
            before: float | None = None
            for number in range(STRANGERS):
                command = {"command": "pause", "agent": f"nobody{number}", "code": "1"}
                message = Message(json.dumps(command).encode(), message_id=str(number))
                await site.channel.default_exchange.publish(message, "tactium.commands")
                if number == STRANGERS // 10:
                    await wait_for(url, number, 300)
                    before = peak_megabytes(process.pid)
            await wait_for(url, STRANGERS, 900)
            after = peak_megabytes(process.pid)
            await stopped(process)
    ledger.remark(
        f"{STRANGERS:,} agents who are nobody: {before or 0:.0f}, then {after or 0:.0f} MB"
    )
    assert before is None or after is None or after < before + 30
