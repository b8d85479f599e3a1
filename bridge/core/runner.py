"""One command over the link: when it may go out, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from bridge.core.calls import Calls
from bridge.core.correlator import Answer, Correlator, Late, State
from bridge.core.journal import CommandLog
from bridge.core.ports import Clock, Fence, Link
from bridge.core.results import Result, answered, expired, timed_out, unavailable, uncertain
from bridge.errors import JournalError, LinkDown, LinkHeld, LinkRefused
from bridge.messages.commands import GetCurrentCall, GetStatus, MakeCall, WireCommand
from bridge.messages.events import Event, Heard
from bridge.messages.replies import Outcome
from bridge.messages.trace import Trace
from bridge.settings import CommandsSettings

log = structlog.get_logger(__name__)

HELD_SECONDS = 0.05
"""Until it is looked again whether this bridge leads."""

STRAY_SECONDS = 0.25
"""How far behind the late answer to a status query that of the fence may come."""


@dataclass(slots=True, eq=False)
class Errand:
    """One command for Tactium. Without an `identity` it cannot be told when it comes again.

    `noted`: it stands in the command log. `begun`: its bytes may have gone out.
    """

    id: str
    agent: str
    command: WireCommand
    frame: bytes
    identity: bytes | None
    digest: bytes
    deadline: datetime
    trace: Trace = None
    noted: bool = False
    begun: bool = False


class Runner:
    """Runs commands, at most one at a time for an agent: whoever calls sees to that."""

    def __init__(
        self,
        *,
        link: Link,
        command_log: CommandLog,
        fence: Fence,
        settings: CommandsSettings,
        clock: Clock,
        calls: Calls,
    ) -> None:
        self._link = link
        self._log = command_log
        self._leadership = fence
        self._settings = settings
        self._clock = clock
        self._calls = calls
        self._correlator = Correlator()
        self._awaited: dict[str, asyncio.Future[Result | None]] = {}
        self._unknown: set[str] = set()  # whose command may be taken yet, over the next link
        self._link_is_up = asyncio.Event()
        self._frames = 0
        self.answers = 0  # that were handed on
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Runner: {len(self._awaited)} answers awaited, {self._correlator}>"

    def spell(self, command: WireCommand) -> bytes:
        """Return the frame of a command. Raises `InvalidCommand`."""
        return self._link.spell(command)

    def hear(self, heard: Heard, at: datetime) -> Answer | Late | None:
        """Return what a frame means for a command; an answer is then to be `resolve`d."""
        self._frames += 1
        if self._correlator.state(heard.agent) is State.IDLE:
            return None
        return self._correlator.hear(heard, self._calls.maybe_wanted_by(heard, at))

    def resolve(self, answer: Answer, heard: Heard, published: Sequence[Event]) -> None:
        """Hand an answer to the command that waits for it.

        `published` is what became of the frame, so that the reply shows a call
        exactly as its event does.
        """
        self.answers += 1
        self._settle(heard.agent, answered(answer.outcome, heard, published))

    def link_up(self) -> None:
        """Let the commands go on that wait for the link."""
        self._link_is_up.set()

    def link_down(self) -> None:
        """Hold what is not written; what is written and not answered has lost its answer."""
        self._link_is_up.clear()
        kept = self._awaited.keys() | self._unknown if self._link.keeps_answers else set()
        self._correlator.reset_but(kept)
        self._unknown.clear()
        for agent in list(self._awaited):
            if self._link.keeps_answers:  # it may come yet, and must answer nothing else then
                self._correlator.give_up(agent)
            self._settle(agent, None)

    def stop(self) -> None:
        """Wait for no answer any longer, and begin nothing again."""
        self._stopping = True
        for agent in list(self._awaited):
            self._settle(agent, None)

    async def run(self, errand: Errand, *, only_now: bool = False) -> Result | None:
        """Write a command when it may go out, and return how it ended.

        None where a stop gives it back, to be run by the next bridge; and,
        `only_now`, where the link is down or lost.
        """
        while True:
            if only_now and not self._link_is_up.is_set():
                return None
            try:
                result = await self._prepare(errand, only_now=only_now)
                if result is None and self._may_go(errand, only_now=only_now):
                    result = await self._go(errand)
            except LinkRefused as error:
                self._take_back(errand)
                result = unavailable(f"Tactium's database does not take it: {error}")
            if result is not None or (self._stopping and not errand.begun):
                return result

    async def _prepare(self, errand: Errand, *, only_now: bool) -> Result | None:
        """Do one thing that must be done before it may go out; return the refusal, if any."""
        refusal = await self._wait_for_link(errand.deadline, only_now=only_now)
        if refusal is not None:
            return refusal
        if self._correlator.state(errand.agent) is State.LATE:
            with suppress(LinkDown):
                await self._fence(errand)
        elif not errand.noted:
            refusal = await self._note(errand)
            errand.noted = refusal is None
        return refusal

    def _may_go(self, errand: Errand, *, only_now: bool) -> bool:
        """Whether nothing has come between while it was prepared.

        A user's command waits until no other bridge can lead; a question need not.
        """
        if not (only_now or self._leadership.is_sure):
            return False
        is_idle = self._correlator.state(errand.agent) is State.IDLE
        in_time = self._clock() < errand.deadline
        return errand.noted and is_idle and in_time and self._link_is_up.is_set()

    async def _go(self, errand: Errand) -> Result | None:
        """Write a command and return how it ended; None where it may be tried again."""
        command = errand.command
        errand.begun = True
        self._expect(errand)
        sent_at = self._clock()
        try:
            result = await self._ask(errand)
        except LinkDown as error:  # nothing was written, or a question's link was lost
            self._take_back(errand)
            if isinstance(error, LinkHeld):
                await asyncio.sleep(HELD_SECONDS)
            return None
        if result is None and self._stopping and await self._link.take_back(errand.frame):
            self._take_back(errand)
            return unavailable("the bridge stopped before Tactium took it")
        if result is None and command.changes_something:
            return uncertain("the connection to Tactium was lost before it answered", sent_at)
        if result is None:
            self._take_back(errand)
            return None
        if result.outcome is Outcome.REJECTED:
            self._take_back(errand)
        return replace(result, sent_at=sent_at)

    def _take_back(self, errand: Errand) -> None:
        """Note that it is as if it had never gone out."""
        errand.begun = False
        if isinstance(errand.command, MakeCall):
            self._calls.expect_no_more(errand.agent, errand.id)

    def _expect(self, errand: Errand) -> None:
        if isinstance(errand.command, MakeCall):
            self._calls.expect(errand.command, errand.id, errand.trace, self._clock())

    async def _wait_for_link(self, deadline: datetime, *, only_now: bool) -> Result | None:
        """Wait until Tactium can be written to; return the refusal where time is over."""
        left = (deadline - self._clock()).total_seconds()
        if left <= 0:
            return self.too_late()
        if self._link_is_up.is_set() and (only_now or self._leadership.is_sure):
            return None  # nearly always, and without a timer
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._link_is_up.wait()
                if not only_now:
                    await self._leadership.until_sure()
            return None
        return self.too_late()

    def too_late(self) -> Result:
        """Return how a command ends that could not begin before its deadline."""
        if self._link_is_up.is_set():
            return expired("its deadline passed before its turn came")
        return unavailable("the link to Tactium was down until the command's deadline")

    async def _note(self, errand: Errand) -> Result | None:
        """Note in the journal that it is begun, before its bytes go out.

        What changes nothing may be asked again, and what has no identity could
        not be found again: neither is noted.
        """
        if errand.identity is None or not errand.command.changes_something:
            return None
        left = (errand.deadline - self._clock()).total_seconds()
        self._expect(errand)
        states = self._calls.take_changes()
        try:
            async with asyncio.timeout(left):
                now = self._clock()
                await self._log.begin(errand.identity, errand.digest, errand.frame, now, states)
        except (TimeoutError, JournalError):
            return unavailable("the journal could not be written, so it was not begun")
        return None

    async def _ask(self, errand: Errand) -> Result | None:
        """Write a command and return what comes of it, None where the link is lost."""
        agent, command = errand.agent, errand.command
        self._correlator.send(agent, command, errand.id)
        seconds = self._settings.timeout_seconds
        if isinstance(command, MakeCall):
            seconds = self._settings.make_call_window_seconds
        is_answered, is_back, result = await self._exchange(agent, errand.frame, seconds)
        if is_answered and not is_back:
            return result
        if is_back:
            self._correlator.reset(agent)
            self._take_back(errand)
            return unavailable(f"Tactium did not take it within {seconds:g} s; it was taken back")
        self._correlator.give_up(agent)
        if isinstance(command, MakeCall):  # the manual promises no answer (§4.9)
            return Result(Outcome.SENT)
        if isinstance(command, GetCurrentCall):
            status = await self._fence(errand)
            if status is not None and not status.is_busy:  # no call: nothing to tell
                return Result(Outcome.OK, raw=status.raw)
        return timed_out(seconds)

    async def _fence(self, errand: Errand) -> Result | None:
        """Ask a late agent's status and return it; what comes before it belongs to the past.

        None where it does not come. The link is not to be trusted then: it is
        given up, unless Tactium talks of others and never did of this agent.
        Raises `LinkDown` where the link is lost.
        """
        agent = errand.agent
        two_statuses = isinstance(self._correlator.command(agent), GetStatus)
        frame = self._link.spell(GetStatus(agent=errand.command.agent))
        frames = self._frames
        self._correlator.fence(agent)
        seconds = self._settings.timeout_seconds
        is_answered, _, result = await self._exchange(agent, frame, seconds)
        if is_answered and result is None:
            raise LinkDown("the link was lost before the fence was answered")
        if is_answered:
            if two_statuses:  # which of them this is nobody can tell: let the other come too
                await asyncio.sleep(STRAY_SECONDS)
            return result
        self._correlator.give_up(agent)
        if self._calls.is_heard_of(agent) or self._frames == frames:
            log.warning("fence_unanswered", agent=agent, todo="the link is made anew")
            self._link_is_up.clear()
            self._link.distrust("Tactium did not answer a status query that followed a timeout")
        return None

    async def _exchange(
        self, agent: str, frame: bytes, seconds: float
    ) -> tuple[bool, bool, Result | None]:
        """Write a frame and wait for what answers it, and take it back where nothing does.

        Returns whether anything did, whether it was taken back, and the answer, which
        is None where the link was lost. Raises `LinkDown` where nothing was written.
        """
        answer: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        self._awaited[agent] = answer
        try:
            await self._link.send(frame)
            await asyncio.wait((answer,), timeout=seconds)
            is_back = not answer.done() and await self._link.take_back(frame)
        except Exception as error:  # whatever it was, nothing is awaited any more: it is raised on
            if isinstance(error, LinkDown) and not isinstance(
                error, LinkHeld
            ):  # found out before the link itself has said so
                self._link_is_up.clear()
            self._correlator.reset(agent)
            raise
        finally:
            del self._awaited[agent]
        if not answer.done() and is_back is None:  # as unknown as with a link that is lost
            self._correlator.give_up(agent)
            self._unknown.add(agent)
            return True, False, None
        if not answer.done():
            return False, bool(is_back), None
        if answer.result() is not None:
            self._link.settle(frame)
            return True, False, answer.result()
        return True, bool(is_back), None

    def _settle(self, agent: str, result: Result | None) -> None:
        answer = self._awaited.get(agent)
        if answer is not None and not answer.done():
            answer.set_result(result)
