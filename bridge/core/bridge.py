"""The flow: events out, commands in.

The way of an event: a link reads and decodes it; here it is matched with the
command it may answer and given its call; the journal numbers it; the publisher
brings it to the broker. The way of a command: the inbox delivers it, the
dispatcher checks it, waits for its agent's turn and writes it; its reply goes
back where it came from. Neither turns back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import structlog

from bridge.core.calls import Calls
from bridge.core.correlator import Answer, Late
from bridge.core.dispatcher import Dispatcher
from bridge.core.lines import Tasks
from bridge.core.ports import Clock, Inbox, Journal, Link, Publisher
from bridge.core.resync import Resync
from bridge.messages.commands import ADMINISTRATOR
from bridge.messages.envelope import Occurrence, timestamp
from bridge.messages.events import AgentStatus, Confirmed, Event, FrameUnknown, Heard
from bridge.messages.notices import (
    FrameMalformed,
    Gap,
    GapCause,
    LinkDown,
    LinkUp,
    ReplyLate,
)

log = structlog.get_logger(__name__)

SIGN_OF_LIFE_SECONDS = 1.0
"""How often the journal notes that Tactium can be heard: how exact a gap's begin is."""

FORGET_EVERY_SECONDS = 600.0

MOST_TOGETHER = 500
"""Frames that are journaled in one commit, with the states that they lead to."""

READ_WITHIN_SECONDS = 0.1
"""How long what has arrived may wait to be read, where the link has caught up."""

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
        calls: Calls,
        dispatcher: Dispatcher,
        resync: Resync,
        clock: Clock,
    ) -> None:
        self._link = link
        self._journal = journal
        self._publisher = publisher
        self._inbox = inbox
        self._calls = calls
        self._runner = dispatcher.runner
        self._dispatcher = dispatcher
        self._tasks = Tasks()
        self._resync = resync
        self._resyncing: asyncio.Task[None] | None = None
        self._latest: Heard | None = None
        self._clock = clock
        self._last_read_at = clock()
        self._deafness: tuple[datetime, GapCause] | None = None  # since when, and why
        self._link_is_up = False
        self._has_caught_up = False
        self._is_behind = False
        self._was_deaf = False  # before the link came up

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set; then finish what is in flight and return.

        Returns within 10 s of that, whatever Tactium and the broker do. Raises
        `JournalError` where the journal cannot be opened.
        """
        self._journal.open()
        try:
            unreadable = self._calls.restore(self._journal.agents())
            if unreadable:
                log.error("agents_unreadable", count=len(unreadable), todo="they are known anew")
            await self._run(stopping)
        finally:
            await self._journal.close()

    async def on_up(self, notice: LinkUp, at: datetime, *, is_behind: bool = False) -> None:
        """Tactium can be heard, and written to; nothing is asked while it `is_behind`."""
        self._calls.reconnected()
        self._link_is_up, self._has_caught_up = True, not is_behind
        self._last_read_at = at
        self._journal.heard(at)
        found: list[Occurrence] = [notice]
        was_deaf = self._deafness is not None
        if self._deafness is not None:
            since, cause = self._deafness
            found.append(Gap(timestamp(since), timestamp(at), cause))
            self._deafness = None
        await self._journal.append(found, at)
        self._is_behind, self._was_deaf = is_behind, was_deaf
        if not is_behind:
            self._begin_to_ask()

    async def on_down(
        self, notice: LinkDown, at: datetime, *, silent_since: datetime | None
    ) -> None:
        """Tactium cannot be heard any more.

        What it said last may have been lost on its way, so the gap begins with
        what was last heard: `silent_since`, where it was given up for its silence,
        else the last sign of life.
        """
        self._is_behind = False
        self._end_resync()
        self._runner.link_down()
        self._link_is_up = False
        deaf_since = silent_since or max(self._last_read_at, self._journal.heard_at or at)
        self._journal.heard(deaf_since)
        self._deafness = (deaf_since, "link_down")
        await self._journal.append([notice], at)

    async def on_heard(
        self,
        said: Sequence[Heard | FrameMalformed],
        at: datetime,
        *,
        rows: Mapping[str, str] | None = None,
    ) -> None:
        """Journal what one read brought, and answer the commands that it answers.

        `rows` are noted with the last of it.
        """
        self._has_caught_up = False
        self._last_read_at = at
        malformed = sum(isinstance(each, FrameMalformed) for each in said)
        if malformed:
            log.warning("frame_malformed", pieces=malformed, todo="see it on the bridge's exchange")
        for start in range(0, len(said), MOST_TOGETHER):
            found: list[Occurrence] = []
            for heard in said[start : start + MOST_TOGETHER]:
                found += self._take(heard, at)
            is_last = start + MOST_TOGETHER >= len(said)
            changes = self._calls.take_changes()
            await self._journal.append(found, at, changes, rows if is_last else None)

    def _take(self, heard: Heard | FrameMalformed, at: datetime) -> Sequence[Occurrence]:
        """Return all that a frame brings about, and answer the command that it answers."""
        if isinstance(heard, FrameMalformed):
            return [heard]
        if heard.agent == ADMINISTRATOR:
            # The link's own registration or probe is answered so, and no agent has that name.
            is_answer = isinstance(heard, Confirmed | AgentStatus)
            return [heard] if isinstance(heard, Event) and not is_answer else []
        if not isinstance(heard, FrameUnknown):
            self._latest = heard
        meaning = self._runner.hear(heard, at)
        events = self._calls.hear(heard, at, answers=meaning.command if meaning else None)
        match meaning:
            case Answer():
                self._runner.resolve(meaning, heard, events)
            case Late(command, command_id):
                late = ReplyLate(heard.agent, command.command, command_id, heard.raw or "")
                return [*events, late]
        return events

    def on_caught_up(self, through: datetime) -> None:
        """Note the sign of life: a gap would begin at this moment, and not before."""
        self._has_caught_up = True
        self._journal.heard(through)
        if self._is_behind:
            self._is_behind = False
            self._begin_to_ask()

    def maybe_known_agent(self) -> str | None:
        """Return the login of whom Tactium last said something that we understood."""
        if self._latest is None:
            return None
        return (self._latest.raw or "")[1:].partition(">")[0] or None

    def _begin_to_ask(self) -> None:
        """Let commands out, and ask what happened where that could not be heard."""
        self._runner.link_up()
        if self._was_deaf:
            self._resyncing = self._tasks.spawn(self._ask_what_changed())

    async def _run(self, stopping: asyncio.Event) -> None:
        if self._journal.heard_at is not None:
            self._deafness = (self._journal.heard_at, "bridge_down")
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(self._journal.run())
            living = group.create_task(self._show_signs_of_life())
            forgetting = group.create_task(self._forget_agents())
            publishing = group.create_task(self._publisher.run(self._journal))
            listening = group.create_task(self._link.run(self))
            consuming = group.create_task(self._inbox.run(self._dispatcher.accept))
            await stopping.wait()
            log.info("stopping")
            self._end_resync()
            await self._inbox.stop()
            await self._dispatcher.stop(GRACE_SECONDS)
            self._journal.hurry()
            listening.cancel()
            await asyncio.wait((listening,), timeout=HANG_UP_SECONDS)
            await self._journal.append([], self._clock(), self._calls.take_changes())
            await self._flush()
            for task in (consuming, publishing, writing, living, forgetting):
                task.cancel()

    async def _show_signs_of_life(self) -> None:
        """Let the journal know each second until when Tactium could be heard."""
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_SECONDS)
            moment = self._clock()
            await asyncio.sleep(READ_WITHIN_SECONDS)
            known = self._journal.heard_at
            is_news = known is None or moment > known
            if self._link_is_up and self._has_caught_up and is_news:
                self._journal.heard(moment)
            if self._journal.lost_agents():
                self._calls.change_all()
            changes = self._calls.take_changes()
            if changes:
                await self._journal.append([], moment, changes)

    async def _ask_what_changed(self) -> None:
        """Find out what happened while nobody could hear it, and say how much that was."""
        notice = await self._resync.run()
        if notice is not None:
            await self._journal.append([notice], self._clock())

    def _end_resync(self) -> None:
        if self._resyncing is not None:
            self._resyncing.cancel()
            self._resyncing = None

    async def _forget_agents(self) -> None:
        """Let go of the agents of whom Tactium has not spoken for long."""
        while True:
            await asyncio.sleep(FORGET_EVERY_SECONDS)
            self._calls.forget(self._clock())

    async def _flush(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._journal.drained()
                return
        log.warning(
            "stopped_unflushed",
            todo="the broker did not confirm the last messages in time; see its log",
        )
