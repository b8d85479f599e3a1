"""Commands in: from a delivered message to its one answer.

A line of commands for each agent, worked off one at a time; different agents
never wait for each other. A command that was begun is not begun again while the
bridge lives: when the broker brings it once more, it gets the first answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from ulid import ULID

from bridge.core.correlator import Answer, Correlator
from bridge.core.ports import Clock, Delivery, Identity, Link
from bridge.errors import InvalidCommand, LinkDown
from bridge.messages.commands import GetAgents, MakeCall, WireCommand, parse
from bridge.messages.envelope import timestamp
from bridge.messages.events import AgentStatus, CallStarted, Event, FrameUnknown, Heard
from bridge.messages.notices import CommandEnded
from bridge.messages.replies import Failure, Outcome, Reply
from bridge.settings import CommandsSettings

log = structlog.get_logger(__name__)

MOST_REMEMBERED = 10_000
"""Answers kept for commands that come again: many times what can be in flight."""

_LAST_WORDS_SECONDS = 0.5  # to send the replies of what a stop has cut short


@dataclass(frozen=True, slots=True)
class _Request:
    """What every answer repeats of its command."""

    id: str
    command: str | None
    agent: str | None
    context: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class _Result:
    """How a command ended, and when it went out if it did."""

    outcome: Outcome
    data: Any = None
    raw: str | None = None
    failure: Failure | None = None
    sent_at: datetime | None = None


@dataclass(slots=True, eq=False)
class _Job:
    """One command for Tactium; each delivery of it waits for the same answer."""

    request: _Request
    command: WireCommand
    frame: bytes
    deliveries: list[Delivery]
    deadline: datetime
    begun: bool = False


class Dispatcher:
    """Runs commands over a link.

    `known` says what the bridge knows of one agent or of all; `audit` is told of
    each command that ended, before its reply goes out.
    """

    def __init__(
        self,
        *,
        link: Link,
        settings: CommandsSettings,
        clock: Clock,
        known: Callable[[str | None], list[dict[str, Any]]],
        audit: Callable[[CommandEnded, datetime], Awaitable[None]],
    ) -> None:
        self._link = link
        self._settings = settings
        self._clock = clock
        self._known = known
        self._audit = audit
        self._correlator = Correlator()
        self._lines: dict[str, deque[_Job]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._awaited: dict[str, asyncio.Future[_Result | None]] = {}
        self._jobs: dict[Identity, _Job] = {}
        self._answered: OrderedDict[Identity, Reply] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._link_is_up = asyncio.Event()
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Dispatcher: {len(self._lines)} agents have commands, {self._correlator}>"

    def accept(self, delivery: Delivery) -> None:
        """Take one delivered command; it is answered in a task of its own."""
        identity = delivery.identity
        if self._stopping:
            return  # unacknowledged, it goes back to the queue
        if identity is not None and identity in self._answered:
            self._spawn(delivery.conclude(self._answered[identity]))
        elif identity is not None and identity in self._jobs:
            self._jobs[identity].deliveries.append(delivery)
        else:
            self._take(delivery)

    def hear(self, heard: Heard) -> Answer | None:
        """Return which command in flight a frame answers, if any; then `resolve` it."""
        return self._correlator.hear(heard)

    def resolve(self, answer: Answer, heard: Heard, published: Sequence[Event]) -> None:
        """Hand an answer to the command that waits for it.

        `published` is what became of the frame, so that the reply shows a call
        exactly as its event does.
        """
        data: Any = None
        failure = None
        match heard:
            case AgentStatus():
                data = {"code": heard.code, "status": heard.status}
            case CallStarted():
                data = published[-1]
            case FrameUnknown():
                failure = Failure("rejected", "Tactium answered something else: see raw")
        self._settle(heard.agent, _Result(answer.outcome, data, heard.raw, failure))

    def link_up(self) -> None:
        """Let the commands go on that wait for the link."""
        self._link_is_up.set()

    def link_down(self) -> None:
        """Hold what is not written; what is written and not answered has lost its answer."""
        self._link_is_up.clear()
        self._lose_answers()

    async def stop(self, grace_seconds: float) -> None:
        """Begin nothing more and finish what is in flight.

        What was not begun is left unacknowledged, so it stays in the queue. What
        Tactium has not answered within the grace ends `uncertain`.
        """
        self._stopping = True
        for agent, worker in self._workers.items():
            if not self._lines[agent][0].begun:
                worker.cancel()
        await self._finish_tasks(grace_seconds)
        self._lose_answers()
        await self._finish_tasks(_LAST_WORDS_SECONDS)
        for task in self._tasks:
            task.cancel()
        await self._finish_tasks(_LAST_WORDS_SECONDS)

    def _take(self, delivery: Delivery) -> None:
        """Answer at once what needs no Tactium; line up the rest."""
        request_id = delivery.message_id or str(ULID())
        result = _given_up(delivery)
        try:
            command = parse(delivery.body, delivery.content_type)
            frame = None if isinstance(command, GetAgents) else self._link.spell(command)
        except InvalidCommand as error:
            request = _Request(request_id, error.command, error.agent, None)
            failure = Failure("invalid", "the command breaks the contract", error.flaws)
            result = result or _Result(Outcome.INVALID, failure=failure)
            self._spawn(self._conclude(request, [delivery], result))
            return
        agent = command.agent.casefold() if command.agent else None
        request = _Request(request_id, command.command, agent, command.context)
        if result is None and delivery.redelivered and command.changes_something:
            result = _uncertain("it was delivered before, and may have been run then")
        if isinstance(command, GetAgents):
            result = result or _Result(Outcome.OK, {"agents": self._known(agent)})
        elif result is None and agent is not None and frame is not None:
            job = _Job(request, command, frame, [delivery], self._deadline(delivery))
            self._line_up(agent, job)
        if result is not None:
            self._spawn(self._conclude(request, [delivery], result))

    def _deadline(self, delivery: Delivery) -> datetime:
        seconds = self._settings.ttl_seconds
        if delivery.expiration_seconds is not None:
            seconds = min(seconds, delivery.expiration_seconds)
        return delivery.received_at + timedelta(seconds=seconds)

    def _line_up(self, agent: str, job: _Job) -> None:
        if job.deliveries[0].identity is not None:
            self._jobs[job.deliveries[0].identity] = job
        line = self._lines.get(agent)
        if line is not None:
            line.append(job)
            return
        self._lines[agent] = deque([job])
        self._workers[agent] = self._spawn(self._work(agent))

    async def _work(self, agent: str) -> None:
        """Work off one agent's line."""
        line = self._lines[agent]
        try:
            while line and not self._stopping:
                job = line[0]
                try:
                    result = await self._run(agent, job)
                except Exception:
                    log.exception("command_crashed", command_id=job.request.id, agent=agent)
                    result = _uncertain("the bridge failed while running it; see its log")
                if result is not None:
                    job.begun = True
                    await self._conclude(job.request, job.deliveries, result, job)
                line.popleft()
        finally:
            del self._lines[agent], self._workers[agent]

    async def _run(self, agent: str, job: _Job) -> _Result | None:
        """Write one command and return how it ended; None where a stop gives it back."""
        while True:
            refusal = await self._await_link(job.deadline)
            if refusal is not None:
                return refusal
            answer: asyncio.Future[_Result | None] = asyncio.get_running_loop().create_future()
            self._correlator.begin(agent, job.command)
            self._awaited[agent] = answer
            sent_at = self._clock()
            try:
                job.begun = True
                await self._link.send(job.frame)
                await asyncio.wait((answer,), timeout=self._patience(job.command))
            except LinkDown:  # found out before the link itself has said so
                self._link_is_up.clear()
                job.begun = False
                continue
            finally:
                self._correlator.end(agent)
                del self._awaited[agent]
            if not answer.done():
                return self._unanswered(job.command, sent_at)
            result = answer.result()
            if result is not None:
                return replace(result, sent_at=sent_at)
            if job.command.changes_something:
                return _uncertain("the connection to Tactium was lost before it answered", sent_at)
            if self._stopping:
                return None
            job.begun = False

    async def _await_link(self, deadline: datetime) -> _Result | None:
        """Wait until Tactium can be written to; return the refusal where time is over."""
        left = (deadline - self._clock()).total_seconds()
        if left > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._link_is_up.wait()
                return None
            reason = "the link to Tactium was down until the command's deadline"
            return _Result(Outcome.UNAVAILABLE, failure=Failure("unavailable", reason))
        return _expired("its deadline passed while the commands before it were running")

    def _patience(self, command: WireCommand) -> float:
        if isinstance(command, MakeCall):
            return self._settings.make_call_window_seconds
        return self._settings.timeout_seconds

    def _unanswered(self, command: WireCommand, sent_at: datetime) -> _Result:
        if isinstance(command, MakeCall):  # the manual promises no answer (§4.9)
            return _Result(Outcome.SENT, sent_at=sent_at)
        reason = f"Tactium did not answer within {self._settings.timeout_seconds:g} s"
        return _Result(Outcome.TIMEOUT, failure=Failure("timeout", reason), sent_at=sent_at)

    def _settle(self, agent: str, result: _Result | None) -> None:
        answer = self._awaited.get(agent)
        if answer is not None and not answer.done():
            answer.set_result(result)

    def _lose_answers(self) -> None:
        for agent in list(self._awaited):
            self._correlator.end(agent)
            self._settle(agent, None)

    async def _conclude(
        self,
        request: _Request,
        deliveries: Sequence[Delivery],
        result: _Result,
        job: _Job | None = None,
    ) -> None:
        """Tell the audit trail, then everyone who asked, how a command ended."""
        now = self._clock()
        first = deliveries[0]
        reply = _reply(request, result, first, now)
        if job is not None:
            self._remember(job, reply)
        await self._audit(_audited(reply, first, now), now)
        for delivery in deliveries:
            await delivery.conclude(reply)

    def _remember(self, job: _Job, reply: Reply) -> None:
        identity = job.deliveries[0].identity
        if identity is None:
            return
        del self._jobs[identity]
        if job.command.changes_something:  # what only asks can be asked again
            self._answered[identity] = reply
        if len(self._answered) > MOST_REMEMBERED:
            self._answered.popitem(last=False)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("command_task_failed", exc_info=error, todo="report this as a bug")

    async def _finish_tasks(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)


def _reply(request: _Request, result: _Result, delivery: Delivery, now: datetime) -> Reply:
    return Reply(
        request.id,
        request.command,
        request.agent,
        result.outcome,
        result.data,
        result.failure,
        result.raw,
        timestamp(delivery.received_at),
        timestamp(result.sent_at) if result.sent_at else None,
        timestamp(now),
        request.context,
    )


def _audited(reply: Reply, delivery: Delivery, now: datetime) -> CommandEnded:
    return CommandEnded(
        reply.id,
        reply.command,
        reply.agent,
        delivery.user,
        reply.outcome,
        reply.error,
        (now - delivery.received_at).total_seconds(),
        delivery.correlation_id,
        reply.context,
    )


def _given_up(delivery: Delivery) -> _Result | None:
    """Return how a command ended that the broker has given up, None for any other."""
    if delivery.failed is None:
        return None
    if delivery.failed == "delivery_limit":
        return _uncertain("it was delivered too often, and may have been run")
    return _expired("it waited in the queue past its deadline")


def _expired(reason: str) -> _Result:
    return _Result(Outcome.EXPIRED, failure=Failure("expired", reason))


def _uncertain(reason: str, sent_at: datetime | None = None) -> _Result:
    failure = Failure("uncertain", f"{reason}; it is not run again")
    return _Result(Outcome.UNCERTAIN, failure=failure, sent_at=sent_at)
