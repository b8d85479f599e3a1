"""Where commits are written: in a thread, or at once where that is sooner done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

QUICK_SECONDS = 0.02
SLOW_FOR_SECONDS = 30.0
"""How long a disk that took longer once is left to the thread, as the loop must not wait."""

Writing = asyncio.Future[Exception | None]
"""Done when something is written, or with why it is not."""


class Writer:
    """One thread that writes, and the judgement whether it is needed."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "journal-writer")
        self._slow_until = 0.0

    def __repr__(self) -> str:
        return f"<Writer: {'quick' if self.is_quick else 'slow'}>"

    @property
    def is_quick(self) -> bool:
        """Whether the disk has kept nobody waiting for a while."""
        return time.monotonic() > self._slow_until

    def write_here(self, work: Callable[[], object]) -> None:
        """Write in the thread that calls, which waits so long. Raises what the work does."""
        begin = time.monotonic()
        work()
        end = time.monotonic()
        if end - begin > QUICK_SECONDS:
            self._slow_until = end + SLOW_FOR_SECONDS

    def begin(self, work: Callable[[], object], then: Callable[[], object]) -> Writing:
        """Have the thread write, and call `then` in the loop as soon as it is written."""
        loop = asyncio.get_running_loop()
        ended: Writing = loop.create_future()

        def write() -> None:
            error: Exception | None = None
            try:
                work()
            except Exception as failure:  # noqa: BLE001 - whatever it is, it is handed on
                error = failure
            loop.call_soon_threadsafe(tell, error)

        def tell(error: Exception | None) -> None:
            if error is None:
                then()
            ended.set_result(error)

        self._thread.submit(write)
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

    def close(self) -> None:
        """End the thread when it has written what it has."""
        self._thread.shutdown()
