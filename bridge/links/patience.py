"""A bound on waits that follow each other, with one timer for all of them."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self, cast

EARLY_SECONDS = 0.001
"""How much sooner than it was asked to a loop may call: one of them counts milliseconds."""


class WaitedTooLong(TimeoutError):
    """What was waited for did not come in time."""


class Patience:
    """Bounds what the task waits for in which it is made; `with patience.within(30.0): ...`.

    Raises `WaitedTooLong` where that takes longer. `asyncio.timeout` would set a timer
    for each wait and cancel it, which holds up every event that comes alone. Here a
    timer that fires while a later wait has time left is set anew.
    """

    def __init__(self) -> None:
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._loop = asyncio.get_running_loop()
        self._until: float | None = None  # of the present wait
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0
        self._cancelled_before = 0  # how often others did
        self._is_over = False

    def __repr__(self) -> str:
        return f"<Patience: until {self._until}>"

    def within(self, seconds: float) -> Self:
        """Have the wait that begins now last that long at most."""
        self._until = until = self._loop.time() + seconds
        if self._timer is None or until < self._fires_at:
            self._set_timer(until)
        return self

    def close(self) -> None:
        """Let go of the timer: nothing is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        self._cancelled_before = self._task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._until = None
        if self._is_over:
            self._is_over = False
            is_ours = self._task.uncancel() <= self._cancelled_before
            if is_ours and kind is asyncio.CancelledError:
                raise WaitedTooLong

    def _set_timer(self, at: float) -> None:
        self.close()
        self._fires_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        """End the wait if it has lasted too long, else look again when it will have."""
        self._timer = None
        if self._until is None:
            return
        if self._loop.time() + EARLY_SECONDS >= self._until:
            self._is_over = True
            self._task.cancel()
        else:
            self._set_timer(self._until)
