"""Where commits are written: in a thread, or at once where that is sooner done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

QUICK_SECONDS = 0.02
SLOW_FOR_SECONDS = 30.0
"""How long a disk that took longer once is left to the thread, as the loop must not wait."""

Writing = asyncio.Future[Exception | None]
"""Done when something is written, or with why it is not."""


class Writer:
    """One thread that writes, and the judgement whether it is needed.

    It takes its work from a bare queue: an executor's futures cost each commit a tenth.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._slow_until = 0.0
        self._began: float | None = None  # what is being written

    def __repr__(self) -> str:
        return f"<Writer: {'quick' if self.is_quick else 'slow'}>"

    @property
    def is_quick(self) -> bool:
        """Whether the disk has kept nobody waiting for a while, and does not just now."""
        now, began = time.monotonic(), self._began
        return now > self._slow_until and (began is None or now - began < QUICK_SECONDS)

    def write_here(self, work: Callable[[], object]) -> None:
        """Write in the thread that calls, which waits so long. Raises what the work does."""
        began = time.monotonic()
        try:
            work()
        finally:
            self._judge(began)

    def begin(self, work: Callable[[], object], then: Callable[[], object]) -> Writing:
        """Have the thread write, and call `then` in the loop as soon as it is written."""
        loop = asyncio.get_running_loop()
        ended: Writing = loop.create_future()

        def write() -> None:
            error: Exception | None = None
            began = self._began = time.monotonic()
            try:
                work()
            except Exception as failure:  # noqa: BLE001 - raised in the loop, where it is waited for
                error = failure
            self._began = None
            self._judge(began)
            loop.call_soon_threadsafe(tell, error)

        def tell(error: Exception | None) -> None:
            try:
                if error is None:
                    then()
            except Exception as failure:  # noqa: BLE001 - raised by who waits for `ended`, not here
                error = failure
            finally:
                ended.set_result(error)

        if self._thread is None:
            self._thread = Thread(target=self._run, name="journal-writer", daemon=True)
            self._thread.start()
        self._work.put(write)
        return ended

    async def write(self, work: Callable[[], object], then: Callable[[], object]) -> None:
        """Have the thread write, and wait for it. Raises what the work does.

        Cancelled or not, the thread writes on; what it has written has its number.
        """
        ended = self.begin(work, then)
        try:
            await asyncio.wait((ended,))
        finally:
            if not ended.done():
                await asyncio.wait((ended,))
        error = ended.result()
        if error is not None:
            raise error

    def _judge(self, began: float) -> None:
        now = time.monotonic()
        if now - began > QUICK_SECONDS:
            self._slow_until = now + SLOW_FOR_SECONDS

    def close(self) -> None:
        """End the thread when it has written what it has."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (write := self._work.get()) is not None:
            write()
