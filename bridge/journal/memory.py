"""A journal in memory: bounded, and gone with the process.

It keeps order and numbers as a journal must, and holds events while the broker
is away for as long as there is room; then the oldest make way for the newest,
because a slow broker must never stall a telephone system.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

import structlog

from bridge.messages.envelope import Envelope, Occurrence, Sealed

log = structlog.get_logger(__name__)

MOST_MESSAGES = 100_000
"""About 100 MB of events."""


class MemoryJournal:
    """Keeps the messages that the broker has not confirmed, `most` at a time."""

    def __init__(self, envelope: Envelope, most: int = MOST_MESSAGES) -> None:
        self._envelope = envelope
        self._most = most
        self._held: deque[Sealed] = deque()
        self._last = 0
        self._settled = 0
        self._dropped = 0
        self._has_some = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def __repr__(self) -> str:
        return f"<MemoryJournal: {len(self._held)} held, {self._dropped} dropped>"

    @property
    def settled(self) -> int:
        """The highest sequence number of all that the broker has confirmed."""
        return self._settled

    async def append(self, what: Sequence[Occurrence], at: datetime) -> None:
        """Take what happened at one moment; it gets its numbers in this order."""
        for occurrence in what:
            self._last += 1
            self._held.append(self._envelope.seal(occurrence, self._last, at))
        self._make_room()
        if self._held:
            self._has_some.set()
            self._is_empty.clear()

    async def read(self, after: int, most: int) -> Sequence[Sealed]:
        """Return up to `most` messages that follow number `after`; wait until there is one."""
        while not self._held or self._held[-1].sequence <= after:
            self._has_some.clear()
            await self._has_some.wait()
        first = max(0, after + 1 - self._held[0].sequence)
        return list(islice(self._held, first, first + most))

    def settle(self, through: int) -> None:
        """Forget all up to this number: the broker has confirmed it."""
        while self._held and self._held[0].sequence <= through:
            self._held.popleft()
        self._settled = max(self._settled, through)
        if not self._held:
            self._is_empty.set()
            if self._dropped:
                log.warning("journal_has_room_again", dropped=self._dropped)
                self._dropped = 0

    async def drained(self) -> None:
        """Wait until everything is settled."""
        await self._is_empty.wait()

    def _make_room(self) -> None:
        surplus = len(self._held) - self._most
        if surplus <= 0:
            return
        if not self._dropped:
            log.error(
                "journal_full",
                held=self._most,
                todo="bring the broker back: the oldest events are being dropped",
            )
        self._dropped += surplus
        for _ in range(surplus):
            self._held.popleft()
