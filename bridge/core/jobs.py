"""What stands in an agent's line: a command and who waits for its reply, or a question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bridge.core.ports import Delivery
from bridge.core.results import Request, Result
from bridge.core.runner import Errand, Runner


@dataclass(slots=True, eq=False)
class Job:
    """One command, and each delivery of it that waits for the same reply.

    Either it is an `errand` for Tactium, or its `result` is known without it.
    """

    request: Request
    identity: bytes | None
    digest: bytes
    deliveries: list[Delivery]
    result: Result | None = None
    errand: Errand | None = None
    changes_something: bool = False
    was_for_tactium: bool = False
    has_ended: bool = False


@dataclass(slots=True, eq=False)
class CommandTurn:
    """A command's turn in its agent's line; `timer` rings when its time is over."""

    job: Job
    work: Callable[[Job], Awaitable[None]]
    timer: asyncio.TimerHandle | None = None

    @property
    def begun(self) -> bool:
        """Whether it cannot be given back to the queue any more."""
        return self.job.has_ended or (self.job.errand is not None and self.job.errand.begun)

    async def take(self) -> None:
        """Answer the command."""
        if self.timer is not None:
            self.timer.cancel()
        await self.work(self.job)


@dataclass(slots=True, eq=False)
class Question:
    """A question of the bridge's own, in its agent's line."""

    errand: Errand
    runner: Runner
    answer: asyncio.Future[Result | None]

    @property
    def begun(self) -> bool:
        """Whether it is on the wire; a stop need not wait for it all the same."""
        return False

    async def take(self) -> None:
        """Ask, unless nobody wants to know any more."""
        if self.answer.done():
            return
        result = None
        try:
            result = await self.runner.run(self.errand, only_now=True)
        finally:
            if not self.answer.done():
                self.answer.set_result(result)
