"""The flow: events out, commands in.

The way of an event: a link reads and decodes it; here it is matched with the
command it may answer and given its call; the journal numbers it; the publisher
brings it to the broker. The way of a command: the inbox delivers it, the
dispatcher checks it, waits for its agent's turn and writes it; its reply goes
back where it came from. Neither turns back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

import structlog

from bridge.core.calls import Calls
from bridge.core.dispatcher import Dispatcher
from bridge.core.ports import Clock, Inbox, Journal, Link, Publisher
from bridge.messages.commands import ADMINISTRATOR
from bridge.messages.envelope import Occurrence
from bridge.messages.events import AgentStatus, Confirmed, Heard
from bridge.messages.notices import CommandEnded, FrameMalformed, LinkDown, LinkUp
from bridge.settings import CommandsSettings

log = structlog.get_logger(__name__)

# A stop takes under ten seconds although nobody may answer any more: these, one
# second for the inbox to take no more, and one to close the connections.
GRACE_SECONDS = 4.0  # for Tactium to answer what is in flight, and for the replies to go out
HANG_UP_SECONDS = 1.0  # for the link to close
FLUSH_SECONDS = 1.5  # for the broker to confirm what the journal holds


class Bridge:
    """One bridge between one Tactium and one broker."""

    def __init__(
        self,
        *,
        link: Link,
        journal: Journal,
        publisher: Publisher,
        inbox: Inbox,
        settings: CommandsSettings,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._link = link
        self._journal = journal
        self._publisher = publisher
        self._inbox = inbox
        self._calls = Calls(new_id)
        self._latest_agent: str | None = None
        self._dispatcher = Dispatcher(
            link=link,
            settings=settings,
            clock=clock,
            known=self._calls.known,
            audit=self._audit,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set; then finish what is in flight and return.

        Returns within 10 s of that, whatever Tactium and the broker do.
        """
        async with asyncio.TaskGroup() as group:
            publishing = group.create_task(self._publisher.run(self._journal))
            listening = group.create_task(self._link.run(self))
            consuming = group.create_task(self._inbox.run(self._dispatcher.accept))
            await stopping.wait()
            log.info("stopping")
            await self._inbox.stop()
            await self._dispatcher.stop(GRACE_SECONDS)
            listening.cancel()
            await asyncio.wait((listening,), timeout=HANG_UP_SECONDS)
            await self._flush()
            consuming.cancel()
            publishing.cancel()

    async def on_up(self, notice: LinkUp, at: datetime) -> None:
        """Tactium can be heard, and written to."""
        self._calls.reconnected()
        await self._journal.append([notice], at)
        self._dispatcher.link_up()

    async def on_down(self, notice: LinkDown, at: datetime) -> None:
        """Tactium cannot be heard any more."""
        self._dispatcher.link_down()
        await self._journal.append([notice], at)

    async def on_heard(self, said: Sequence[Heard | FrameMalformed], at: datetime) -> None:
        """Journal what one read brought, and answer the commands that it answers."""
        found: list[Occurrence] = []
        for heard in said:
            if isinstance(heard, FrameMalformed):
                log.warning("frame_malformed", reason=heard.reason)
                found.append(heard)
                continue
            if heard.agent == ADMINISTRATOR and isinstance(heard, Confirmed | AgentStatus):
                continue  # the answer to the link's own registration or probe
            self._latest_agent = heard.agent
            answer = self._dispatcher.hear(heard)
            events = self._calls.hear(heard, at, answers=answer.command if answer else None)
            if answer is not None:
                self._dispatcher.resolve(answer, heard, events)
            found += events
        if found:
            await self._journal.append(found, at)

    def maybe_known_agent(self) -> str | None:
        """Return the agent heard last, whom Tactium is sure to know."""
        return self._latest_agent

    async def _audit(self, notice: CommandEnded, at: datetime) -> None:
        await self._journal.append([notice], at)

    async def _flush(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._journal.drained()
                return
        log.warning(
            "stopped_unflushed",
            todo="the broker did not confirm the last messages in time; see its log",
        )
