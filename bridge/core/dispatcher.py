"""Commands in: from a delivered message to its one answer.

A line of commands for each agent, worked off one at a time; different agents
never wait for each other. A command that was begun is not begun again while the
bridge lives: when the broker brings it once more, it gets the first answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import structlog
from ulid import ULID

from bridge.core.correlator import Answer, Correlator
from bridge.core.ports import Clock, Delivery, Identity, Link
from bridge.core.results import (
    Request,
    Result,
    answered,
    audit_of,
    expired,
    given_up,
    invalid,
    reply_of,
    timed_out,
    unavailable,
    uncertain,
)
from bridge.errors import Flaw, InvalidCommand, LinkDown
from bridge.messages.commands import Command, GetAgents, MakeCall, WireCommand, parse
from bridge.messages.events import Event, Heard
from bridge.messages.notices import CommandEnded
from bridge.messages.replies import Outcome, Reply
from bridge.settings import CommandsSettings

log = structlog.get_logger(__name__)

MOST_REMEMBERED = 10_000
"""Requests kept for those who ask again: many times what can be in flight."""

_LAST_WORDS_SECONDS = 0.5  # to send the replies of what a stop has cut short


@dataclass(slots=True, eq=False)
class _Job:
    """One command for Tactium; each delivery of it waits for the same reply.

    `digest` tells another command under the same id. It outlives its reply, for
    those who ask again.
    """

    request: Request
    command: WireCommand
    frame: bytes
    digest: bytes
    deliveries: list[Delivery]
    deadline: datetime
    begun: bool = False
    reply: Reply | None = None


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
        self._awaited: dict[str, asyncio.Future[Result | None]] = {}
        self._jobs: dict[Identity, _Job] = {}  # in the order in which they were first seen
        self._tasks: set[asyncio.Task[None]] = set()
        self._link_is_up = asyncio.Event()
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Dispatcher: {len(self._lines)} agents have commands, {self._correlator}>"

    def accept(self, delivery: Delivery) -> None:
        """Take one delivered command; it is answered in a task of its own."""
        if self._stopping:
            return  # unacknowledged, it goes back to the queue
        job = self._jobs.get(delivery.identity) if delivery.identity else None
        if job is None:
            self._take(delivery)
        elif job.digest != _digest(delivery):
            request = Request(job.request.id, None, None, None)
            result = invalid([Flaw("message_id", "was used for another command before")])
            self._spawn(self._conclude(request, [delivery], result))
        elif job.reply is not None:
            self._spawn(delivery.conclude(job.reply))
        else:
            job.deliveries.append(delivery)

    def hear(self, heard: Heard) -> Answer | None:
        """Return which command in flight a frame answers, if any; then `resolve` it."""
        return self._correlator.hear(heard)

    def resolve(self, answer: Answer, heard: Heard, published: Sequence[Event]) -> None:
        """Hand an answer to the command that waits for it.

        `published` is what became of the frame, so that the reply shows a call
        exactly as its event does.
        """
        self._settle(heard.agent, answered(answer.outcome, heard, published))

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
        request = Request(delivery.message_id or str(ULID()), None, None, None)
        result = given_up(delivery.failed)
        try:
            command = parse(delivery.body, delivery.content_type)
            agent = command.agent.casefold() if command.agent else None
            request = Request(request.id, command.command, agent, command.context)
            if result is None:
                result = self._answer_or_line_up(request, command, delivery)
        except InvalidCommand as error:
            if request.command is None:
                request = Request(request.id, error.command, error.agent, None)
            result = result or invalid(error.flaws)
        if result is not None:
            self._spawn(self._conclude(request, [delivery], result))

    def _answer_or_line_up(
        self, request: Request, command: Command, delivery: Delivery
    ) -> Result | None:
        """Return the result of what needs no Tactium; line up the rest.

        Raises `InvalidCommand` where the link cannot spell it.
        """
        if isinstance(command, GetAgents):
            return Result(Outcome.OK, {"agents": self._known(request.agent)})
        frame = self._link.spell(command)
        if delivery.redelivered and command.changes_something:
            return uncertain("it was delivered before, and may have been run then")
        digest = _digest(delivery)
        job = _Job(request, command, frame, digest, [delivery], self._deadline(delivery))
        if delivery.identity is not None:
            self._remember(delivery.identity, job)
        self._line_up(command.agent.casefold(), job)
        return None

    def _remember(self, identity: Identity, job: _Job) -> None:
        if len(self._jobs) >= MOST_REMEMBERED:
            oldest = next((known for known, old in self._jobs.items() if old.reply), None)
            if oldest is not None:
                del self._jobs[oldest]
        self._jobs[identity] = job

    def _deadline(self, delivery: Delivery) -> datetime:
        seconds = self._settings.ttl_seconds
        if delivery.expiration_seconds is not None:
            seconds = min(seconds, delivery.expiration_seconds)
        return delivery.received_at + timedelta(seconds=seconds)

    def _line_up(self, agent: str, job: _Job) -> None:
        line = self._lines.get(agent)
        if line is not None:
            line.append(job)
            return
        self._lines[agent] = deque([job])
        self._workers[agent] = self._spawn(self._work(agent))

    async def _work(self, agent: str) -> None:
        """Work off one agent's line; what goes wrong with one command ends no other."""
        line = self._lines[agent]
        try:
            while line and not self._stopping:
                job = line[0]
                try:
                    result = await self._run(agent, job)
                except Exception:  # whatever it was, its requester is owed an answer
                    log.exception("command_crashed", command_id=job.request.id, agent=agent)
                    result = uncertain("the bridge failed while running it; see its log")
                if result is not None:
                    job.begun = True
                    concluding = self._conclude(job.request, job.deliveries, result, job)
                    await asyncio.wait((self._spawn(concluding),))
                line.popleft()
        finally:
            del self._lines[agent], self._workers[agent]

    async def _run(self, agent: str, job: _Job) -> Result | None:
        """Write one command and return how it ended; None where a stop gives it back."""
        while True:
            refusal = await self._await_link(job.deadline)
            if refusal is not None:
                return refusal
            answer: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
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
                return uncertain("the connection to Tactium was lost before it answered", sent_at)
            if self._stopping:
                return None
            job.begun = False

    async def _await_link(self, deadline: datetime) -> Result | None:
        """Wait until Tactium can be written to; return the refusal where time is over."""
        left = (deadline - self._clock()).total_seconds()
        if left > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._link_is_up.wait()
                return None
        if self._link_is_up.is_set():
            return expired("its deadline passed before its turn came")
        return unavailable("the link to Tactium was down until the command's deadline")

    def _patience(self, command: WireCommand) -> float:
        if isinstance(command, MakeCall):
            return self._settings.make_call_window_seconds
        return self._settings.timeout_seconds

    def _unanswered(self, command: WireCommand, sent_at: datetime) -> Result:
        if isinstance(command, MakeCall):  # the manual promises no answer (§4.9)
            return Result(Outcome.SENT, sent_at=sent_at)
        return timed_out(self._settings.timeout_seconds, sent_at)

    def _settle(self, agent: str, result: Result | None) -> None:
        answer = self._awaited.get(agent)
        if answer is not None and not answer.done():
            answer.set_result(result)

    def _lose_answers(self) -> None:
        for agent in list(self._awaited):
            self._correlator.end(agent)
            self._settle(agent, None)

    async def _conclude(
        self,
        request: Request,
        deliveries: Sequence[Delivery],
        result: Result,
        job: _Job | None = None,
    ) -> None:
        """Tell the audit trail, then everyone who asked, how a command ended."""
        now = self._clock()
        first = deliveries[0]
        reply = reply_of(request, result, first, now)
        if job is not None:  # whoever asks from now on gets this reply
            job.reply, job.deliveries = reply, []
        try:
            await self._audit(audit_of(reply, first, now), now)
        except Exception:  # the requester gets its reply whatever happens to the trail
            log.exception("audit_failed", command_id=request.id, todo="report this as a bug")
        for delivery in deliveries:
            await delivery.conclude(reply)

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


def _digest(delivery: Delivery) -> bytes:
    return sha256(delivery.body).digest()
