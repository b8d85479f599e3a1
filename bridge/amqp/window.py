"""What is on its way to the broker and not confirmed yet; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bridge.messages.envelope import Sealed

MOST_MESSAGES = 4_096
MOST_BYTES = 4 * 1024 * 1024
"""Bounds memory, and what is sent again when the connection is lost."""


class Window:
    """Messages in flight, by the number under which they were sent.

    Confirms come in any order, so `settled` is how far all of them are done: a
    message that was refused is not until it is sent again or given up.
    """

    def __init__(self, settled: int) -> None:
        self._sent: dict[int, Sealed] = {}  # by the number under which it was sent, ascending
        self._sends: deque[tuple[int, float, int]] = deque()  # up to which number, when, how large
        self._tries: dict[int, int] = {}  # of those that were refused, by sequence number
        self._last = settled
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Window: {len(self._sent)} messages, {self._bytes} bytes>"

    @property
    def last(self) -> int:
        """The highest sequence number that was sent."""
        return self._last

    @property
    def settled(self) -> int:
        """The highest sequence number up to which everything is done."""
        waiting = next(iter(self._sent.values()), None)
        lowest = waiting.sequence if waiting is not None else self._last + 1
        return min(lowest, *self._tries) - 1 if self._tries else lowest - 1

    @property
    def in_flight(self) -> int:
        """How many were sent of which nobody knows yet."""
        return len(self._sent)

    @property
    def room(self) -> int:
        """How many more messages may be sent."""
        count = len(self._sent) + len(self._tries)
        return 0 if self._bytes >= MOST_BYTES else max(0, MOST_MESSAGES - count)

    @property
    def waiting_since(self) -> float | None:
        """When the message was sent that has waited longest for its confirm."""
        return self._sends[0][1] if self._sends else None

    def send(self, first: int, messages: Sequence[Sealed], now: float) -> None:
        """Note that these go out, under numbers from `first` on; `now` is the caller's clock."""
        self._sent.update(enumerate(messages, first))
        size = sum([len(message.body) for message in messages])
        self._sends.append((first + len(messages) - 1, now, size))
        self._bytes += size
        self._last = max(self._last, messages[-1].sequence)

    def confirm(self, number: int, *, multiple: bool, taken: bool) -> list[tuple[Sealed, int]]:
        """Note a confirm; return what was refused by it, and how often it was sent."""
        numbers = self._up_to(number) if multiple else [number] if number in self._sent else []
        meant = [self._sent.pop(each) for each in numbers]
        lowest = next(iter(self._sent), None)
        while self._sends and (lowest is None or self._sends[0][0] < lowest):
            self._bytes -= self._sends.popleft()[2]
        if not taken:
            return [(message, self._refused(message)) for message in meant]
        for message in meant if self._tries else ():
            self._tries.pop(message.sequence, None)
        return []

    def give_up(self, message: Sealed) -> None:
        """Note that a message that was refused is not sent again."""
        del self._tries[message.sequence]

    def _up_to(self, number: int) -> list[int]:
        """Return the numbers in flight up to this one, in a plain loop: they are hundreds."""
        numbers: list[int] = []
        for each in self._sent:
            if each > number:
                break
            numbers.append(each)
        return numbers

    def _refused(self, message: Sealed) -> int:
        tries = self._tries[message.sequence] = self._tries.get(message.sequence, 0) + 1
        return tries
