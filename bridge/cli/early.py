"""What a signal does while modules are imported, which takes a second; imports next to none."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """End the process with 0 on SIGTERM or SIGINT inside, where nothing has begun.

    `KeyboardInterrupt` would not do: Python loses it where it falls into a callback, of
    which there is one for each module that is imported, and the program goes on.
    """
    before = [signal.signal(number, _end) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)
