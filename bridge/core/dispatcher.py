"""Commands in: from a delivered message to its one answer.

A line of commands for each agent, worked off one at a time; different agents
never wait for each other. Whoever asks for the same once more gets the first
answer, and what may have run is never run again: what was begun stands in the
command log before its bytes go out.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog
from ulid_transform import ulid_now

from bridge.core.calls import Calls
from bridge.core.jobs import CommandTurn, Job, Question
from bridge.core.journal import CommandLog, Remembered
from bridge.core.lines import Lines, Tasks
from bridge.core.policy import Policy, ReplyQueues
from bridge.core.ports import Clock, Delivery
from bridge.core.results import (
    Request,
    Result,
    forbidden,
    given_up,
    invalid,
    reply_of,
    seal,
    trace_of,
    unavailable,
    uncertain,
)
from bridge.core.runner import Errand, Runner
from bridge.errors import Flaw, InvalidCommand, JournalError
from bridge.messages.commands import GetAgents, WireCommand, parse
from bridge.messages.replies import AgentData, AgentsData, Outcome, SealedReply
from bridge.messages.trace import trace_text
from bridge.settings import CommandsSettings

log = structlog.get_logger(__name__)

MOST_KEPT_BYTES = 16 * 1024
"""Of a reply that is kept for those who ask again; to a longer one they get a new answer."""

_PATIENCE_SECONDS = 5.0  # with a journal that takes nothing, before a reply goes out all the same
_LAST_WORDS_SECONDS = 0.5  # to send the replies of what a stop has cut short
_CLOCK_STEP = timedelta(seconds=1)  # AMQP tells when a message was sent in whole seconds

_ANOTHER = invalid([Flaw("message_id", "was used for another command before")])
_FORBIDDEN = forbidden("no rule of the policy lets this user give this command")
_CRASHED = uncertain("the bridge failed while running it; see its log")
_ASKED_TOO_OFTEN = unavailable("it was asked for too often before it had an answer")
_TOO_MANY_WAIT = unavailable("too many commands wait for this agent already")

_AGENTS_AT_ONCE = 200


class Dispatcher:
    """Answers commands: by itself, from the command log, or through its `runner`."""

    def __init__(
        self,
        *,
        runner: Runner,
        command_log: CommandLog,
        policy: Policy,
        reply_queues: ReplyQueues,
        settings: CommandsSettings,
        mask: bool,
        clock: Clock,
        calls: Calls,
    ) -> None:
        self.runner = runner
        self._log = command_log
        self._policy = policy
        self._reply_queues = reply_queues
        self._settings = settings
        self._mask = mask
        self._clock = clock
        self._calls = calls
        self._jobs: dict[bytes, Job] = {}  # those without a reply yet, by identity
        self._tasks = Tasks()
        self._lines = Lines(self._tasks)
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Dispatcher: {self._lines}, {self.runner}>"

    def accept(self, delivery: Delivery) -> None:
        """Take one delivered command; it is answered in a task of its own."""
        if self._stopping:
            return  # unacknowledged, it goes back to the queue
        identity = delivery.identity
        job = self._jobs.get(identity) if identity else None
        if job is None:
            try:
                self._take(delivery, identity)
            except (
                Exception
            ):  # a flaw of ours: unanswered, the requester would ask again, and dial twice
                log.exception("command_crashed", command_id=delivery.message_id)
                self._tasks.spawn(self._tell(_refused(delivery, _CRASHED)))
        elif job.digest != delivery.digest:
            self._tasks.spawn(self._tell(_refused(delivery, _ANOTHER)))
        elif not self._may_command(delivery, job.request):
            self._tasks.spawn(self._tell(_refused(delivery, _FORBIDDEN)))
        elif len(job.deliveries) > self._settings.max_waiting:
            self._tasks.spawn(self._tell(_refused(delivery, _ASKED_TOO_OFTEN)))
        else:
            job.deliveries.append(delivery)

    async def stop(self, grace_seconds: float) -> None:
        """Begin nothing more and finish what is in flight.

        What was not begun is left unacknowledged, so it stays in the queue. What
        Tactium has not answered within the grace ends `uncertain`.
        """
        self._stopping = True
        self._lines.stop()
        await self._tasks.finish(grace_seconds)
        self.runner.stop()
        await self._tasks.finish(_LAST_WORDS_SECONDS)
        self._tasks.cancel()
        await self._tasks.finish(_LAST_WORDS_SECONDS)

    async def ask(self, command: WireCommand) -> Result | None:
        """Ask Tactium something for the bridge itself, behind what users want of the agent.

        None where the link is lost before it answers.
        """
        if self._stopping:
            return None
        agent = command.agent.casefold()
        frame = self.runner.spell(command)
        deadline = self._clock() + timedelta(seconds=self._settings.ttl_seconds)
        errand = Errand(ulid_now(), agent, command, frame, None, b"", deadline)
        answer: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        self._lines.add(agent, Question(errand, self.runner, answer), can_wait=True)
        return await answer

    def _take(self, delivery: Delivery, identity: bytes | None) -> None:
        """Find out what a command is and where it goes: into its agent's line, or back at once."""
        request = Request(delivery.message_id or ulid_now(), None, None, None)
        job = Job(request, identity, delivery.digest, [delivery])
        if not self._may_answer(delivery):
            job.result = forbidden("its reply must not go to the queue that it names")
        try:
            command = parse(delivery.body, delivery.content_type)
            agent = command.agent.casefold() if command.agent else None
            job.request = Request(request.id, command.command, agent, command.context)
            job.changes_something = command.changes_something
            job.result = job.result or self._maybe_known_result(job.request, delivery)
            if job.result is None and not isinstance(command, GetAgents):
                job.was_for_tactium = True
                job.errand = Errand(
                    request.id,
                    command.agent.casefold(),
                    command,
                    self.runner.spell(command),
                    job.identity or delivery.fingerprint,
                    job.digest,
                    self._deadline(delivery),
                    trace_text(delivery.trace),
                )
        except InvalidCommand as error:
            if job.request.command is None:
                job.request = Request(request.id, error.command, error.agent, None)
            job.result = job.result or invalid(error.flaws)
        if job.identity is not None:
            self._jobs[job.identity] = job
        if job.errand is not None:
            self._line_up(job, job.errand.agent)
        else:
            self._tasks.spawn(self._answer(job))

    def _maybe_known_result(self, request: Request, delivery: Delivery) -> Result | None:
        """Return the result of a command that is not for Tactium."""
        result = given_up(delivery.failed)
        if result is not None:
            return result
        return None if self._may_command(delivery, request) else _FORBIDDEN

    def _may_command(self, delivery: Delivery, request: Request) -> bool:
        command = request.command
        return command is None or self._policy.allows(delivery.user, command, request.agent)

    def _deadline(self, delivery: Delivery) -> datetime:
        """Return until when a command may begin: from when it was sent, where that is said.

        What the sender says counts only where it can be true: the broker delivers
        nothing that has waited longer than it may.
        """
        seconds = self._settings.ttl_seconds
        if delivery.expiration_seconds is not None:
            seconds = min(seconds, delivery.expiration_seconds)
        life = timedelta(seconds=seconds)
        if delivery.sent_at is not None:
            waited = delivery.received_at - delivery.sent_at - _CLOCK_STEP
            if timedelta() < waited < life:
                return delivery.received_at + life - waited
        return delivery.received_at + life

    def _line_up(self, job: Job, agent: str) -> None:
        if self._lines.length(agent) >= self._settings.max_waiting:
            job.errand, job.result = None, _TOO_MANY_WAIT
            self._tasks.spawn(self._answer(job))
            return
        turn = CommandTurn(job, self._answer)
        self._lines.add(agent, turn)
        if job.errand is not None:
            left = (job.errand.deadline - self._clock()).total_seconds()
            loop = asyncio.get_running_loop()
            turn.timer = loop.call_later(left, self._give_up_waiting, agent, turn)

    def _give_up_waiting(self, agent: str, turn: CommandTurn) -> None:
        """Answer a command whose time is over before its turn has come."""
        if self._stopping or not self._lines.withdraw(agent, turn):
            return
        job = turn.job
        job.errand, job.result = None, self.runner.too_late()
        self._tasks.spawn(self._answer(job))

    async def _answer(self, job: Job) -> None:
        """Answer one command: as it was answered before, or by what comes of it now."""
        try:
            reply = await self._maybe_first_reply(job)
            if reply is None and job.result is not None:
                await self._tell(job)
            elif reply is not None:
                job.has_ended = True
                await self._send(job, reply)
        finally:
            self._forget(job)

    async def _maybe_first_reply(self, job: Job) -> SealedReply | None:
        """Return the reply that a command got before, else set its result.

        There is neither where a stop gives it back to the queue.
        """
        try:
            remembered = await self._recall(job)
            if remembered is not None and remembered.digest != job.digest:
                self._answer_alone(job, _ANOTHER)
            elif remembered is None or remembered.reply is None:
                job.result = await self._result(job, remembered)
            elif job.result is _FORBIDDEN:  # the answer is for those who may ask
                self._answer_alone(job, _FORBIDDEN)
            else:
                return remembered.reply
        except Exception:  # a flaw of ours: the reply says so, and the next command is run
            log.exception("command_crashed", command_id=job.request.id)
            job.result = _CRASHED
        return None

    def _answer_alone(self, job: Job, result: Result) -> None:
        """Let a command end so, and leave what is remembered of the other as it is."""
        self._forget(job)
        job.identity, job.result = None, result

    async def _recall(self, job: Job) -> Remembered | None:
        """Return what the log knows of a command.

        One without an identity can only be looked for by what it looks like: what
        has its answer was another one then, and what has none may be it.
        """
        delivery = job.deliveries[0]
        if job.identity is None and delivery.failed is None:
            return None
        try:
            found = await self._log.recall(job.identity or delivery.fingerprint)
        except JournalError as error:
            log.error(  # noqa: TRY400 - the cause is the disk: where our code met it helps nobody
                "command_log_unreadable",
                reason=str(error),
                todo="see the disk that journal.path is on",
            )
            return Remembered(job.digest, begun=True, reply=None)  # for all that we know
        is_other = job.identity is None and found is not None and found.reply is not None
        return None if is_other else found

    async def _result(self, job: Job, remembered: Remembered | None) -> Result | None:
        """Return how a command ends; None where a stop gives it back."""
        if job.changes_something and self._may_have_run(job, remembered):
            return uncertain("it was delivered before, and may have been run then")
        if job.errand is None:
            return job.result or await self._tell_agents(job)
        return await self.runner.run(job.errand)

    async def _tell_agents(self, job: Job) -> Result:
        """Return what the bridge knows itself, of those agents whom the user may know of."""
        user = job.deliveries[0].user
        known: list[AgentData] = []
        for number, agent in enumerate(self._calls.known(job.request.agent), 1):
            if self._policy.allows(user, "get_agents", agent.agent):
                known.append(agent)
            if number % _AGENTS_AT_ONCE == 0:
                await asyncio.sleep(0)  # a hundred thousand of them hold nobody up
        return Result(Outcome.OK, AgentsData(known))

    def _may_have_run(self, job: Job, remembered: Remembered | None) -> bool:
        """Whether a command may have reached Tactium when it was delivered before."""
        if remembered is not None:
            return remembered.begun
        delivery = job.deliveries[0]
        if delivery.failed is None and not (job.was_for_tactium and delivery.redelivered):
            return False
        if job.identity is None and delivery.failed is None:
            return True
        forgot_at = self._log.forgot_at
        life = timedelta(seconds=self._settings.ttl_seconds)
        return forgot_at is not None and forgot_at > delivery.received_at - life

    async def _tell(self, job: Job) -> None:
        """Tell the audit trail, the command log and then everyone who asked how it ended."""
        if job.result is None:
            return
        job.has_ended = True
        now = self._clock()
        first = job.deliveries[0]
        reply = reply_of(job.request, job.result, first, now)
        sealed = seal(reply)
        is_kept = job.changes_something or len(sealed.body) <= MOST_KEPT_BYTES
        is_kept = is_kept and job.result.outcome is not Outcome.FORBIDDEN
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._log.end(
                    trace_of(reply, first, now, mask=self._mask),
                    now,
                    identity=self._key(job) if is_kept else None,
                    digest=job.digest,
                    reply=sealed,
                )
        except (TimeoutError, JournalError):
            log.warning("command_not_kept", command_id=sealed.id, todo="see the journal's disk")
        except (
            Exception
        ):  # a flaw of ours in the trail must not take the reply from who waits for it
            log.exception("audit_failed", command_id=sealed.id, todo="report this as a bug")
        await self._send(job, sealed)

    async def _send(self, job: Job, reply: SealedReply) -> None:
        """Give everyone who asked the reply; who asks from now on finds it in the log."""
        self._forget(job)
        for delivery in job.deliveries:
            await delivery.conclude(reply, unanswered=not self._may_answer(delivery))

    def _key(self, job: Job) -> bytes | None:
        """Return under what a command stands in the log; what has no identity, if it was begun."""
        if job.identity is None and job.errand is not None and job.changes_something:
            return job.deliveries[0].fingerprint
        return job.identity

    def _may_answer(self, delivery: Delivery) -> bool:
        return not delivery.reply_to or self._reply_queues.allow(delivery.reply_to)

    def _forget(self, job: Job) -> None:
        if job.identity is not None and self._jobs.get(job.identity) is job:
            del self._jobs[job.identity]


def _refused(delivery: Delivery, result: Result) -> Job:
    """Return what answers one delivery alone, and leaves the request that it repeats as it is."""
    request = Request(delivery.message_id or ulid_now(), None, None, None)
    return Job(request, None, delivery.digest, [delivery], result)
