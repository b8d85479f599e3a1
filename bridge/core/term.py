"""One leadership: while it lasts, what Tactium says becomes events, and commands go to it.

The way of an event: a link reads and decodes it; here it is matched with the
command it may answer and given its call; the journal numbers it; the publisher
brings it to the broker. The way of a command: the inbox delivers it, the
dispatcher checks it, waits for its agent's turn and writes it; its reply goes
back where it came from. Neither turns back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from bridge.core.calls import Calls
from bridge.core.correlator import Answer, Late
from bridge.core.dispatcher import Dispatcher
from bridge.core.journal import Journal
from bridge.core.lines import Tasks
from bridge.core.ports import Clock, Delivery, Link
from bridge.core.resync import Resync
from bridge.messages.commands import ADMINISTRATOR
from bridge.messages.envelope import Occurrence, timestamp
from bridge.messages.events import AgentStatus, Confirmed, Event, FrameUnknown, Heard
from bridge.messages.notices import FrameMalformed, Gap, GapCause, LinkDown, LinkUp, ReplyLate

log = structlog.get_logger(__name__)

MOST_TOGETHER = 500
"""Frames that are journaled in one commit, with the states that they lead to."""

HANG_UP_SECONDS = 1.0  # for the link to close

Deafness = tuple[datetime, GapCause]
"""Since when Tactium is not heard, and why."""


class Term:
    """Hears Tactium over the link, as its `Ear`, and has it obey."""

    def __init__(
        self,
        *,
        link: Link,
        journal: Journal,
        calls: Calls,
        dispatcher: Dispatcher,
        resync: Resync,
        clock: Clock,
        deafness: Deafness | None,
    ) -> None:
        self._link = link
        self._journal = journal
        self._calls = calls
        self._runner = dispatcher.runner
        self._dispatcher = dispatcher
        self._tasks = Tasks()
        self._resync = resync
        self._resyncing: asyncio.Task[None] | None = None
        self._latest: Heard | None = None
        self._clock = clock
        self._last_read_at = clock()
        self._deafness = deafness
        self._link_is_up = False
        self._has_caught_up = False
        self._is_behind = False
        self._was_deaf = False  # before the link came up
        self._listening: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Term: {self._dispatcher}>"

    @property
    def hears_all(self) -> bool:
        """Whether Tactium has said nothing until now that was not heard."""
        return self._link_is_up and self._has_caught_up

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Listen from now on, as one of the group's tasks."""
        self._listening = group.create_task(self._link.run(self))

    def accept(self, delivery: Delivery) -> None:
        """Take one delivered command."""
        self._dispatcher.accept(delivery)

    async def obey_no_more(self, grace_seconds: float) -> None:
        """Begin nothing more, and finish what is in flight; see `Dispatcher.stop`."""
        self._end_resync()
        await self._dispatcher.stop(grace_seconds)

    async def hang_up(self, reason: str) -> None:
        """Let go of Tactium."""
        if self._listening is not None:
            self._listening.cancel(reason)
            await asyncio.wait((self._listening,), timeout=HANG_UP_SECONDS)

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
            since = min(since, at)  # by the clock of another machine, perhaps
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
            answers_before = self._runner.answers
            for heard in said[start : start + MOST_TOGETHER]:
                found += self._take(heard, at)
            is_last = start + MOST_TOGETHER >= len(said)
            changes = self._calls.take_changes()
            await self._journal.append(
                found,
                at,
                changes,
                rows if is_last else None,
                more_comes=self._runner.answers > answers_before,  # the end of a command
            )

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

    async def _ask_what_changed(self) -> None:
        """Find out what happened while nobody could hear it, and say how much that was."""
        notice = await self._resync.run()
        if notice is not None:
            await self._journal.append([notice], self._clock())

    def _end_resync(self) -> None:
        if self._resyncing is not None:
            self._resyncing.cancel()
            self._resyncing = None
