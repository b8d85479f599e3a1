"""What was written last, kept in memory for a publisher that keeps up."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from bridge.messages.envelope import Sealed

MOST_BYTES = 1024 * 1024
"""Bodies kept: thousands of messages."""


class Recent:
    """The latest messages, without a hole between them."""

    def __init__(self) -> None:
        self._messages: deque[Sealed] = deque()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Recent: {len(self._messages)} messages, {self._bytes} bytes>"

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, messages: Iterable[Sealed], first: int) -> None:
        """Take what was just written; let go of what lies before number `first`, and of the rest.

        `first` is the lowest number still in the file.
        """
        for message in messages:
            self._messages.append(message)
            self._bytes += len(message.body)
        while self._messages and (self._messages[0].sequence < first or self._bytes > MOST_BYTES):
            self._bytes -= len(self._messages.popleft().body)

    def maybe_after(self, number: int, most: int) -> list[Sealed] | None:
        """Return up to `most` that follow this number; None where the file must be asked."""
        if not self._messages or self._messages[0].sequence > number + 1:
            return None
        first = number + 1 - self._messages[0].sequence
        return list(islice(self._messages, first, first + most))
