"""A link and a broker to break in every way, at every step."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from bridge.core.dispatcher import Dispatcher
from bridge.core.ports import Delivery, Ear
from bridge.messages.commands import WireCommand
from bridge.messages.events import Event
from bridge.messages.notices import CommandEnded
from bridge.messages.replies import Reply
from bridge.settings import CommandsSettings
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import Speller, understand

PATIENCE_SECONDS = 2.0

Fault = Callable[[], Awaitable[None]]


class ScriptedLink:
    """Keeps what is written; before it is, the next of `faults` happens, if there is one."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.faults: deque[Fault] = deque()
        self._speller = Speller("cp1252", ZoneInfo("America/Fortaleza"))

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


@dataclass(frozen=True, slots=True, eq=False)
class Letter(Delivery):
    """One command message; `replies` is what came back."""

    replies: list[Reply] = field(default_factory=list)

    async def conclude(self, reply: Reply) -> None:
        """Keep the reply."""
        self.replies.append(reply)

    async def reply(self) -> Reply:
        """Wait for the one reply."""
        await until(lambda: bool(self.replies))
        (reply,) = self.replies
        return reply


def letter(
    command: dict[str, Any] | bytes,
    *,
    message_id: str | None = None,
    reply_to: str | None = "mailbox",
    correlation_id: str | None = None,
    expiration_seconds: float | None = None,
    redelivered: bool = False,
    failed: str | None = None,
) -> Letter:
    return Letter(
        body=command if isinstance(command, bytes) else json.dumps(command).encode(),
        content_type="application/json",
        message_id=message_id,
        correlation_id=correlation_id,
        reply_to=reply_to,
        user="crm",
        expiration_seconds=expiration_seconds,
        redelivered=redelivered,
        failed=failed,
        received_at=datetime.now(UTC),
    )


class Desk:
    """A dispatcher between the two, its link up."""

    def __init__(self, **settings: Any) -> None:
        self.link = ScriptedLink()
        self.published: list[Event] = []
        self.audited: list[CommandEnded] = []
        self.audit_fault: Exception | None = None
        self.asked_for: list[str | None] = []
        self.dispatcher = Dispatcher(
            link=self.link,
            settings=CommandsSettings.model_validate(settings),
            clock=lambda: datetime.now(UTC),
            known=self._known,
            audit=self._audit,
        )
        self.dispatcher.link_up()

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
        answer = self.dispatcher.hear(heard)
        if answer is not None:
            self.published += [heard] if isinstance(heard, Event) else []
            self.dispatcher.resolve(answer, heard, self.published)

    def _known(self, agent: str | None) -> list[dict[str, Any]]:
        self.asked_for.append(agent)
        return [{"agent": agent or "jose"}]

    async def _audit(self, notice: CommandEnded, _at: datetime) -> None:
        fault, self.audit_fault = self.audit_fault, None
        if fault is not None:
            raise fault
        self.audited.append(notice)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that nothing announces."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if holds():
                return
            await asyncio.sleep(0.001)
