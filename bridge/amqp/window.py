"""What is on its way to the broker and not confirmed yet; pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from bridge.messages.envelope import Sealed

MOST_MESSAGES = 2_048
MOST_BYTES = 4 * 1024 * 1024
"""Bounds memory, and what is sent again when the connection is lost."""


@dataclass(slots=True)
class _Sent:
    message: Sealed
    at: float  # of the clock that the caller reads
    tries: int


class Window:
    """Messages in flight, by the number under which they were sent.

    Confirms come in any order, so `settled` is how far all of them are done: a
    message that was refused is not until it is sent again or given up.
    """

    def __init__(self, settled: int) -> None:
        self._sent: OrderedDict[int, _Sent] = OrderedDict()
        self._open: dict[int, None] = {}  # sequence numbers, in ascending order
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
        return next(iter(self._open), self._last + 1) - 1

    @property
    def room(self) -> int:
        """How many more messages may be sent."""
        return 0 if self._bytes >= MOST_BYTES else max(0, MOST_MESSAGES - len(self._open))

    @property
    def waiting_since(self) -> float | None:
        """When the message was sent that has waited longest for its confirm."""
        return next(iter(self._sent.values())).at if self._sent else None

    def send(self, first: int, messages: Sequence[Sealed], now: float, tries: int = 1) -> None:
        """Note that these go out, under numbers from `first` on."""
        for number, message in enumerate(messages, first):
            self._sent[number] = _Sent(message, now, tries)
            self._bytes += len(message.body)
            if message.sequence > self._last:
                self._open[message.sequence] = None
                self._last = message.sequence

    def confirm(self, number: int, *, multiple: bool, taken: bool) -> list[tuple[Sealed, int]]:
        """Note a confirm; return what was refused by it, and how often it was sent."""
        refused: list[tuple[Sealed, int]] = []
        for each in self._numbers(number, multiple=multiple):
            sent = self._sent.pop(each)
            self._bytes -= len(sent.message.body)
            if taken:
                del self._open[sent.message.sequence]
            else:
                refused.append((sent.message, sent.tries))
        return refused

    def give_up(self, message: Sealed) -> None:
        """Note that a message that was refused is not sent again."""
        del self._open[message.sequence]

    def _numbers(self, number: int, *, multiple: bool) -> list[int]:
        if not multiple:
            return [number] if number in self._sent else []
        numbers = []
        for each in self._sent:
            if each > number:
                break
            numbers.append(each)
        return numbers
