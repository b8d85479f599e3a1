"""A bridge among those of its site: one leads, the others stand by and follow it.

What stands in the journal is published whoever leads. To lead is a `Term`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from bridge.core.calls import Calls
from bridge.core.following import Follower
from bridge.core.journal import Journal
from bridge.core.leadership import Leader, Leadership
from bridge.core.lines import Tasks
from bridge.core.notes import Lasting, Learned
from bridge.core.ports import Clock, Delivery, Observer, Publisher
from bridge.core.term import Deafness, Term
from bridge.messages.notices import GapCause, LeaderGained, LeaderLost

log = structlog.get_logger(__name__)

SIGN_OF_LIFE_SECONDS = 1.0
"""How often the journal notes that Tactium can be heard: how exact a gap's begin is."""

FORGET_EVERY_SECONDS = 600.0

READ_WITHIN_SECONDS = 0.1
"""How long what has arrived may wait to be read, where the link has caught up."""

# A stop takes under ten seconds although nobody may answer any more: these, one
# second each for the inbox to take no more and for the link to close, and one for
# the connections.
GRACE_SECONDS = 4.0  # for Tactium to answer what is in flight, and for the replies to go out
FLUSH_SECONDS = 1.5  # for the broker to confirm what the journal holds


class Bridge:
    """One bridge between one Tactium and one broker. `new_term` begins to lead."""

    def __init__(
        self,
        *,
        journal: Journal,
        publisher: Publisher,
        leadership: Leadership,
        calls: Calls,
        new_term: Callable[[Deafness | None], Term],
        observer: Observer,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._publisher = publisher
        self._leadership = leadership
        self._calls = calls
        self._new_term = new_term
        self._observer = observer
        self._clock = clock
        self._follower = Follower(calls)
        self._followed_epoch = 0
        self._followed_until: datetime | None = None  # what was published
        self._term: Term | None = None
        self._changing = asyncio.Lock()  # who leads
        self._stopping = False
        self._tasks = Tasks()
        self._group = asyncio.TaskGroup()

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

    @property
    def last_epoch(self) -> int:
        """The epoch of the leadership that it knows of last."""
        return max(self._journal.epoch, self._followed_epoch)

    @property
    def leads(self) -> bool:
        """Whether it leads, or did at its end; one that never heard of another does."""
        return self._journal.leads

    async def lead(self, epoch: int, reason: str, *, others_led: bool) -> None:
        """Lead from now on, or go on under a new epoch; returns when commands may come.

        `others_led`: others may have led since this bridge did.
        """
        await self._change(self._lead(epoch, reason, others_led=others_led))

    async def go_on_alone(self, reason: str) -> None:
        """Go on hearing Tactium, where it led, though it cannot be known who does now."""
        await self._change(self._go_on_alone(reason))

    async def stand_by(self, leader: Leader | None) -> None:
        """Let the other one lead, whoever that is; returns when Tactium is let go."""
        await self._change(self._stand_by(leader))

    def hear(self, leader: Leader) -> None:
        """Hear the other one's heartbeat, unless this bridge has led since.

        What it says is taken back where it found out that it had not heard Tactium.
        """
        if leader.epoch <= self._journal.epoch or leader.epoch < self._followed_epoch:
            return
        self._followed_epoch = leader.epoch
        if leader.published_until is not None and self._term is None:
            self._journal.heard(_later(leader.published_until, self._followed_until))

    def accept(self, delivery: Delivery) -> None:
        """Take a command; one that came too late goes back, as nobody acknowledges it."""
        if self._term is not None:
            self._term.accept(delivery)

    def missed(self) -> None:
        """Hear that what the leader did until now was not followed."""
        if self._term is None:
            self._journal.missed_until(self._clock())

    def follow(self, message: Mapping[str, Any], trace: str | None) -> None:
        """Hear what the leader has published, as JSON."""
        if self._term is None:
            heard_at = self._follower.follow(message, trace)
            if heard_at is not None:
                self._followed_until = _later(heard_at, self._followed_until)
                self._journal.heard(_later(heard_at, self._journal.heard_at))

    def follow_note(self, learned: Learned, states: Mapping[str, bytes | None]) -> None:
        """Hear what the leader has noted of a command, and of agents with it."""
        if self._term is None:
            self._follower.adopt(states)
            self._journal.learn(learned)

    @property
    def can_learn(self) -> bool:
        """Whether there is room for what the leader tells; else it is to be told later."""
        return self._journal.has_room

    def begin_to_be_told(self) -> None:
        """Hear that the leader begins to tell all its agents, and what it noted before."""
        if self._term is None:
            self._follower.begin_to_be_told()
            self.missed()  # what was begun before the leader knew of us, it did not tell

    def follow_agents(self, states: Mapping[str, bytes]) -> None:
        """Hear the states of agents, as the leader has them."""
        if self._term is None:
            self._follower.adopt(states)

    def was_told_all(self) -> None:
        """Hear that whoever the leader did not tell of since it began is not known to it."""
        if self._term is None:
            self._follower.was_told_all()

    def states(self) -> Iterator[tuple[str, bytes]]:
        """Yield the state of each agent, for one who follows."""
        return self._calls.states()

    def notes(self) -> AsyncIterator[Lasting]:
        """Yield what is noted of each command, for one who follows. Raises `JournalError`."""
        return self._journal.notes()

    async def published_until(self) -> datetime | None:
        """Return up to when all that Tactium said is at the broker, None for never."""
        heard_at = self._journal.heard_at
        oldest = await self._journal.maybe_oldest()
        return heard_at if heard_at is None or oldest is None else min(heard_at, oldest)

    async def _change(self, work: Coroutine[Any, Any, None]) -> None:
        """Change who leads: one thing after the other, and to its end, whoever waits for it."""

        async def in_turn() -> None:
            async with self._changing:
                await work

        await asyncio.shield(self._tasks.spawn(in_turn()))

    async def _lead(self, epoch: int, reason: str, *, others_led: bool) -> None:
        if self._stopping:
            return
        has_led_last = epoch == self._journal.epoch + 1 and not others_led
        if not has_led_last:  # what waits here another one may have run meanwhile
            await self._end_term("another bridge led")
        self._journal.lead(epoch)
        log.info("leading", epoch=epoch, instance=self._leadership.instance, reason=reason)
        gained = LeaderGained(epoch, self._leadership.instance, reason)
        self._tasks.spawn(self._journal.append([gained], self._clock()))  # it may wait for room
        self._begin_term("bridge_down" if has_led_last else "takeover")
        await self._journal.know_all()

    async def _go_on_alone(self, reason: str) -> None:
        if not self._stopping and self._term is None:
            log.warning("leading_alone", reason=reason, todo="see that the broker runs")
            self._begin_term("bridge_down")

    def _begin_term(self, cause: GapCause) -> None:
        if self._stopping:
            return
        self._observer.leads(self._leadership.instance, here=True)
        if self._term is not None:
            return
        heard_at = self._journal.heard_at
        self._term = self._new_term((heard_at, cause) if heard_at is not None else None)
        self._term.begin(self._group)

    async def _stand_by(self, leader: Leader | None) -> None:
        who = leader.instance if leader is not None else "another bridge"
        if await self._end_term(f"{who} leads"):
            await self._say_lost(f"{who} leads")
        self._journal.stand_by()
        self._observer.leads(who, here=False)

    async def _end_term(self, reason: str) -> bool:
        """Obey no more and let go of Tactium; return whether there was a term to end."""
        if self._term is None:
            return False
        term = self._term
        await term.obey_no_more(0.0)
        await term.hang_up(reason)
        self._term = None
        self._journal.missed_until(self._clock())  # what others did while this one led
        return True

    async def _say_lost(self, reason: str) -> None:
        lost = LeaderLost(self._journal.epoch, self._leadership.instance, reason)
        log.info("leading_no_more", epoch=lost.epoch, reason=reason)
        await self._journal.append([lost], self._clock(), self._calls.take_changes())

    async def _run(self, stopping: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            writing = group.create_task(self._journal.run())
            living = group.create_task(self._show_signs_of_life())
            forgetting = group.create_task(self._forget_agents())
            publishing = group.create_task(self._publisher.run(self._journal))
            standing = group.create_task(self._leadership.run(self))
            await stopping.wait()
            log.info("stopping")
            self._stopping = True
            await self._leadership.stop()
            term = self._term
            if term is not None:
                await term.obey_no_more(GRACE_SECONDS)
            self._journal.hurry()
            if term is not None:
                await term.hang_up("the bridge stopped")
                await self._say_lost("it was stopped")
            await self._flush()
            for task in (standing, publishing, writing, living, forgetting):
                task.cancel()

    async def _show_signs_of_life(self) -> None:
        """Let the journal know each second until when Tactium could be heard."""
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_SECONDS)
            moment = self._clock()
            await asyncio.sleep(READ_WITHIN_SECONDS)
            known = self._journal.heard_at
            is_news = known is None or moment > known
            if self._term is not None and self._term.hears_all and is_news:
                self._journal.heard(moment)
            if self._journal.lost_agents():
                self._calls.change_all()
            changes = self._calls.take_changes()
            if changes:
                await self._journal.append([], moment, changes)

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


def _later(one: datetime, other: datetime | None) -> datetime:
    return one if other is None else max(one, other)
