"""What was written last, kept in memory for a publisher that keeps up."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.messages.envelope import Sealed

MOST_BYTES = 8 * 1024 * 1024
"""Bodies kept: thousands of messages."""


class Recent:
    """The latest messages, without a hole between their numbers."""

    def __init__(self) -> None:
        self._messages: list[Sealed] = []
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Recent: {len(self._messages)} messages, {self._bytes} bytes>"

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, messages: Sequence[Sealed], first: int) -> None:
        """Take what was just written; let go of what lies before number `first`, and of the rest.

        `first` is the lowest number still in the file.
        """
        self._messages += messages
        self._bytes += _size(messages)
        if self._messages:
            self._let_go(min(first - self._messages[0].sequence, len(self._messages)))
        while self._bytes > MOST_BYTES:
            self._let_go(1 + len(self._messages) // 8)

    def maybe_after(self, number: int, most: int) -> list[Sealed] | None:
        """Return up to `most` that follow this number; None where the file must be asked."""
        if not self._messages or self._messages[0].sequence > number + 1:
            return None
        first = number + 1 - self._messages[0].sequence
        return self._messages[first : first + most]

    def _let_go(self, count: int) -> None:
        if count > 0:
            self._bytes -= _size(self._messages[:count])
            del self._messages[:count]


def _size(messages: Sequence[Sealed]) -> int:
    return sum([len(message.body) for message in messages])
