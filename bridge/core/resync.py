"""After a time without Tactium: ask what may have changed meanwhile (protocol.md §5).

Each agent's status is asked, and the call of whoever is busy. The answers go the
way of all that is heard: they are published, keep the id of a call that is still
the same, and close one that is gone. Commands from users go first, and no more is
asked in a second than the settings allow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from bridge.core.calls import Calls
from bridge.core.ports import Clock
from bridge.core.results import Result
from bridge.errors import InvalidCommand
from bridge.messages.commands import GetCurrentCall, GetStatus, WireCommand
from bridge.messages.notices import Resync as ResyncNotice
from bridge.settings import AgentsSettings

log = structlog.get_logger(__name__)

SILENCE_SECONDS = 6.0
"""How long one who is silent is waited for: as many are asked meanwhile as the rate allows."""

Ask = Callable[[WireCommand], Awaitable[Result | None]]
"""Asks Tactium when the agent has nothing else to do; None where the link is lost."""


class Resync:
    """Asks about every agent of whom something is known."""

    def __init__(self, calls: Calls, ask: Ask, settings: AgentsSettings, clock: Clock) -> None:
        self._calls = calls
        self._ask = ask
        self._seconds_between = 1 / settings.resync_per_second
        self._most_at_once = max(16, round(SILENCE_SECONDS * settings.resync_per_second))
        self._clock = clock
        self._next_at = 0.0

    def __repr__(self) -> str:
        return f"<Resync: a question each {self._seconds_between:g} s>"

    async def run(self) -> ResyncNotice | None:
        """Ask about all of them, and return how many were asked and what it brought.

        None where the link was lost, or the bridge stops, before all were.
        """
        begun = self._clock()
        agents = self._calls.to_ask()
        before = {name: self._calls.state_of(name) for name, _ in agents}
        at_once = asyncio.Semaphore(self._most_at_once)
        asked: list[bool | None] = []

        async def look(login: str) -> None:
            try:
                asked.append(await self._look_after(login))
            finally:
                at_once.release()

        async with asyncio.TaskGroup() as group:
            for _, login in agents:
                await at_once.acquire()
                group.create_task(look(login))
        if None in asked:
            return None
        changed = sum(self._calls.state_of(name) != state for name, state in before.items())
        seconds = (self._clock() - begun).total_seconds()
        log.info("resync_done", agents=sum(map(bool, asked)), changed=changed, seconds=seconds)
        return ResyncNotice(sum(map(bool, asked)), changed, seconds)

    async def _look_after(self, login: str) -> bool | None:
        """Ask about one agent; return whether that could be done, None where it was cut short."""
        try:
            status = await self._ask_slowly(GetStatus(agent=login))
            if status is None:
                return None
            if status.is_busy:
                call = await self._ask_slowly(GetCurrentCall(agent=login))
                return None if call is None else True
        except (InvalidCommand, ValueError) as error:  # a login that cannot be written back
            log.debug("agent_not_asked", reason=str(error))
            return False
        return True

    async def _ask_slowly(self, command: WireCommand) -> Result | None:
        """Ask no sooner than the rate allows."""
        now = asyncio.get_running_loop().time()
        self._next_at = max(self._next_at, now) + self._seconds_between
        await asyncio.sleep(self._next_at - self._seconds_between - now)
        return await self._ask(command)
