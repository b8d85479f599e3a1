"""What was written last, kept in memory for a publisher that keeps up."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bridge.messages.envelope import Sealed

MOST_BYTES = 8 * 1024 * 1024
"""Bodies kept: thousands of messages."""


class Recent:
    """The latest messages, without a hole between their numbers."""

    def __init__(self) -> None:
        self._messages: list[Sealed] = []
        self._commits: deque[tuple[int, int]] = deque()  # how many each brought, their size
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Recent: {len(self._messages)} messages, {self._bytes} bytes>"

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, messages: Sequence[Sealed], size: int, first: int) -> None:
        """Take what a commit brought; let go of those that the file has no more, and of the rest.

        `size` is that of their bodies, `first` the lowest number still in the file.
        """
        if messages:
            self._messages += messages
            self._commits.append((len(messages), size))
            self._bytes += size
        gone = 0
        while self._commits:
            count, weight = self._commits[0]
            if self._messages[gone + count - 1].sequence >= first and self._bytes <= MOST_BYTES:
                break
            self._commits.popleft()
            self._bytes -= weight
            gone += count
        del self._messages[:gone]

    def maybe_after(self, number: int, most: int) -> list[Sealed] | None:
        """Return up to `most` that follow this number; None where the file must be asked."""
        if not self._messages or self._messages[0].sequence > number + 1:
            return None
        first = number + 1 - self._messages[0].sequence
        return self._messages[first : first + most]
