"""One line for each agent: what waits in it has its turn one after another.

Different agents never wait for each other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

log = structlog.get_logger(__name__)


class Turn(Protocol):
    """What stands in a line."""

    @property
    def begun(self) -> bool:
        """Whether it cannot be sent away any more."""

    async def take(self) -> None:
        """Do what it is there for."""


@dataclass(slots=True)
class _Line:
    turns: deque[Turn] = field(default_factory=deque)
    questions: deque[Turn] = field(default_factory=deque)  # when nobody else waits
    worker: asyncio.Task[None] | None = None
    now: Turn | None = None  # whose turn it is


class Tasks:
    """Tasks that end by themselves; one that fails says so."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Tasks: {len(self._tasks)}>"

    def spawn(self, work: Any) -> asyncio.Task[None]:
        """Begin a task."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self, seconds: float) -> None:
        """Wait for all of them, but not longer than that."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def cancel(self) -> None:
        """Cancel those that have not ended."""
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task_failed", exc_info=error, todo="report this as a bug")


class Lines:
    """The lines of all agents for whom something waits."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._lines: dict[str, _Line] = {}
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Lines: {len(self._lines)} agents>"

    def length(self, agent: str) -> int:
        """Return how many wait in an agent's line that cannot, and whose turn has not come."""
        line = self._lines.get(agent)
        return len(line.turns) - (line.now is None) if line else 0

    def add(self, agent: str, turn: Turn, *, can_wait: bool = False) -> None:
        """Put one at the end of an agent's line; `can_wait`: behind all that cannot."""
        line = self._lines.get(agent)
        if line is None:
            line = self._lines[agent] = _Line()
            line.worker = self._tasks.spawn(self._work(agent, line))
        (line.questions if can_wait else line.turns).append(turn)

    def withdraw(self, agent: str, turn: Turn) -> bool:
        """Take one out of its line, unless its turn has come; return whether it was taken."""
        line = self._lines.get(agent)
        if line is None or turn not in line.turns:
            return False
        line.turns.remove(turn)
        return True

    def stop(self) -> None:
        """Let nobody begin any more."""
        self._stopping = True
        for line in self._lines.values():
            if line.worker and not (line.now and line.now.begun):
                line.worker.cancel()

    async def _work(self, agent: str, line: _Line) -> None:
        try:
            while (line.turns or line.questions) and not self._stopping:
                line.now = (line.turns or line.questions).popleft()
                try:
                    await line.now.take()
                except asyncio.CancelledError:
                    if _is_cancelled():
                        raise
                    log.exception("turn_failed", agent=agent, todo="report this as a bug")
                except Exception:  # a flaw of ours in one turn must not stop those behind it
                    log.exception("turn_failed", agent=agent, todo="report this as a bug")
        finally:
            del self._lines[agent]


def _is_cancelled() -> bool:
    """Return whether somebody cancels the present task, and not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
