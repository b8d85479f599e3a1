"""A link and a broker to break in every way, at every step."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from bridge.core.calls import Calls
from bridge.core.correlator import Answer, Late
from bridge.core.dispatcher import Dispatcher
from bridge.core.journal import Remembered
from bridge.core.policy import Policy, ReplyQueues
from bridge.core.ports import Delivery, Ear
from bridge.core.runner import Runner
from bridge.messages.commands import WireCommand
from bridge.messages.events import Event
from bridge.messages.notices import CommandEnded
from bridge.messages.replies import SealedReply
from bridge.settings import CommandsSettings
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import Speller, reread, understand

PATIENCE_SECONDS = 2.0

Fault = Callable[[], Awaitable[None]]


class Certain:
    """A `Fence` that knows that no other bridge leads."""

    is_sure = True

    async def until_sure(self) -> None:
        """Return at once."""


class ScriptedLink:
    """Keeps what is written; before it is, the next of `faults` happens, if there is one."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.faults: deque[Fault] = deque()
        self.distrusted: list[str] = []
        self._speller = Speller("cp1252", ZoneInfo("America/Fortaleza"))

    keeps_answers = False

    async def run(self, ear: Ear) -> None:
        """Say nothing: the test does."""

    def spell(self, command: WireCommand) -> bytes:
        """Return the frame of a command."""
        return self._speller.spell(command)

    async def send(self, frame: bytes) -> None:
        """Write one frame, or fail as scripted."""
        if self.faults:
            await self.faults.popleft()()
        self.written.append(frame)

    async def take_back(self, _frame: bytes) -> bool:
        """Say that nothing can be taken back."""
        return False

    def settle(self, frame: bytes) -> None:
        """Take note of nothing."""

    def distrust(self, reason: str) -> None:
        """Note that it is given up; the test lets it come down."""
        self.distrusted.append(reason)


class ScriptedLog:
    """Keeps in memory what the journal keeps on disk; `fault` is raised by the next `end`."""

    def __init__(self) -> None:
        self.known: dict[bytes, Remembered] = {}
        self.traces: list[CommandEnded] = []
        self.forgot_at: datetime | None = None
        self.fault: Exception | None = None
        self.steps: list[str] = []

    async def recall(self, identity: bytes) -> Remembered | None:
        """Return what is known of a command."""
        return self.known.get(identity)

    async def begin(
        self,
        identity: bytes,
        digest: bytes,
        _frame: bytes,
        _at: datetime,
        _states: Mapping[str, bytes | None],
    ) -> None:
        """Note that a command's bytes go out."""
        self.steps.append("begun")
        self.known[identity] = Remembered(digest, begun=True, reply=None)

    async def end(
        self,
        trace: CommandEnded,
        _at: datetime,
        *,
        identity: bytes | None,
        digest: bytes,
        reply: SealedReply,
    ) -> None:
        """Keep the trace of a command and its reply."""
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        self.traces.append(trace)
        if identity is not None:
            begun = identity in self.known
            self.known[identity] = Remembered(digest, begun=begun, reply=reply)


class Answered:
    """A reply as its requester reads it."""

    def __init__(self, reply: SealedReply) -> None:
        self.body = reply.body
        said = json.loads(reply.body)
        self.id: str = said["id"]
        self.command: str | None = said["command"]
        self.agent: str | None = said["agent"]
        self.outcome: str = said["outcome"]
        self.data: Any = said["data"]
        self.error: dict[str, Any] | None = said["error"]
        self.raw: str | None = said["raw"]
        self.received_at: str = said["received_at"]
        self.sent_at: str | None = said["sent_at"]
        self.replied_at: str = said["replied_at"]
        self.context: dict[str, Any] | None = said["context"]


@dataclass(frozen=True, slots=True, eq=False)
class Letter(Delivery):
    """One command message; `replies` is what came back, None where it was let go unanswered."""

    replies: list[Answered | None] = field(default_factory=list)

    async def conclude(self, reply: SealedReply, *, unanswered: bool = False) -> None:
        """Keep the reply."""
        self.replies.append(None if unanswered else Answered(reply))

    async def reply(self) -> Answered:
        """Wait for the one reply."""
        await until(lambda: bool(self.replies))
        (reply,) = self.replies
        assert reply is not None
        return reply


def letter(  # noqa: PLR0913 - a message has that many properties
    command: dict[str, Any] | bytes,
    *,
    message_id: str | None = None,
    reply_to: str | None = "mailbox",
    correlation_id: str | None = None,
    user: str | None = "crm",
    expiration_seconds: float | None = None,
    redelivered: bool = False,
    failed: str | None = None,
    sent_at: datetime | None = None,
) -> Letter:
    return Letter(
        body=command if isinstance(command, bytes) else json.dumps(command).encode(),
        content_type="application/json",
        message_id=message_id,
        correlation_id=correlation_id,
        reply_to=reply_to,
        user=user,
        trace={},
        sent_at=sent_at,
        expiration_seconds=expiration_seconds,
        redelivered=redelivered,
        failed=failed,
        received_at=datetime.now(UTC),
    )


class Desk:
    """A dispatcher between the two, its link up."""

    def __init__(self, *, mask: bool = True, **settings: Any) -> None:
        self.link = ScriptedLink()
        self.log = ScriptedLog()
        self.published: list[Event] = []
        self.late: list[Late] = []
        ids = (f"call-{n}" for n in range(1, 1000))
        self.calls = Calls(lambda: next(ids), reread)
        self.calls.reconnected()
        self.open(mask=mask, **settings)

    def open(self, *, mask: bool = True, **settings: Any) -> None:
        """Begin anew, as after a restart: only the link and the log are the same."""
        given = CommandsSettings.model_validate(settings)

        def clock() -> datetime:
            return datetime.now(UTC)

        self.runner = Runner(
            link=self.link,
            command_log=self.log,
            fence=Certain(),
            settings=given,
            clock=clock,
            calls=self.calls,
        )
        self.dispatcher = Dispatcher(
            runner=self.runner,
            command_log=self.log,
            policy=Policy(given.policy),
            reply_queues=ReplyQueues(given.reply_to_pattern, ["tactium.commands"]),
            settings=given,
            mask=mask,
            clock=clock,
            calls=self.calls,
        )
        self.runner.link_up()

    @property
    def audited(self) -> list[CommandEnded]:
        """The audit trail."""
        return self.log.traces

    def post(self, command: dict[str, Any] | bytes, **properties: Any) -> Letter:
        """Deliver one command."""
        posted = letter(command, **properties)
        self.dispatcher.accept(posted)
        return posted

    async def wrote(self, *frames: bytes) -> None:
        """Wait until exactly these have been written."""
        await until(lambda: len(self.link.written) >= len(frames))
        assert self.link.written == [*frames]

    def hear(self, text: str) -> None:
        """Let Tactium say this; if it answers a command, the command gets it."""
        (frame,) = Decoder().feed(text.encode())
        assert isinstance(frame, Frame)
        heard = understand(frame)
        meaning = self.runner.hear(heard, datetime.now(UTC))
        answers = meaning.command if meaning else None
        events = self.calls.hear(heard, datetime.now(UTC), answers=answers)
        self.published += events
        if isinstance(meaning, Late):
            self.late.append(meaning)
        if isinstance(meaning, Answer):
            self.runner.resolve(meaning, heard, events)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that nothing announces."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if holds():
                return
            await asyncio.sleep(0.001)
