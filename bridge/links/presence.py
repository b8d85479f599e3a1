"""Whether Tactium can be heard, told to all whom it concerns; whatever the way to it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import structlog

from bridge.backoff import delays
from bridge.core.ports import Clock, Ear, Observer
from bridge.errors import LinkError, LinkSilent
from bridge.messages.notices import LinkDown, LinkUp

log = structlog.get_logger(__name__)

MaySpeak = Callable[[], bool]
"""Returns whether Tactium may be written to: not while another bridge may lead."""

IN_DOUBT = "another bridge may lead: it is about to be known"

STABLE_SECONDS = 5.0
"""A link that lasted shorter goes on with the longer waits between tries."""


class Presence:
    """Says when the link is up and when it is down, and keeps it.

    `peer` is where Tactium is, as people may read it, and `todo` what they see to
    where nothing is there. `heard_at` is when it was heard last.
    """

    def __init__(
        self, transport: str, peer: str, todo: str, clock: Clock, observer: Observer
    ) -> None:
        self.peer = peer
        self.is_up = False
        self.heard_at = clock()
        self._transport = transport
        self._todo = todo
        self._clock = clock
        self._observer = observer
        self._up_at: float | None = None  # of the try under way

    def __repr__(self) -> str:
        return f"<Presence: {self.peer}, {'up' if self.is_up else 'down'}>"

    async def keep(self, hold: Callable[[], Awaitable[None]]) -> None:
        """Hold the link, which ends only by raising, and hold it again, until cancelled."""
        waits = delays()
        is_explained = False
        while True:
            self._up_at = None
            try:
                await hold()
            except (OSError, LinkError) as error:
                self._observer.changed("link", ok=False, reason=words(error))
                if self._lasted() is None and not is_explained:
                    log.warning(
                        "link_waiting", peer=self.peer, reason=words(error), todo=self._todo
                    )
                is_explained = True
            if (self._lasted() or 0) > STABLE_SECONDS:
                waits = delays()
            await asyncio.sleep(next(waits))

    async def come_up(self, ear: Ear, reason: str, *, is_behind: bool = False) -> None:
        """Say that Tactium can be heard, and written to; `is_behind` as the ear has it."""
        self.is_up = True
        self._up_at = time.monotonic()
        log.info("link_up", peer=self.peer, reason=reason)
        self._observer.changed("link", ok=True, reason=reason)
        notice = LinkUp(self._transport, self.peer, reason)
        await ear.on_up(notice, self._clock(), is_behind=is_behind)

    @asynccontextmanager
    async def until_lost(self, ear: Ear) -> AsyncIterator[None]:
        """Say, where this is left by an exception and it was up, that it is not any more."""
        try:
            yield
        except BaseException as error:
            if self.is_up:
                await self._come_down(error, ear)
            raise

    def _lasted(self) -> float | None:
        """Return for how many seconds it has been up, None where it never came up."""
        return None if self._up_at is None else time.monotonic() - self._up_at

    async def _come_down(self, error: BaseException, ear: Ear) -> None:
        self.is_up = False
        stopped = isinstance(error, asyncio.CancelledError)
        reason = str(error) or "the bridge stopped" if stopped else words(error)
        self._observer.changed("link", ok=False, reason=reason)
        report = log.info if stopped else log.warning
        report("link_down", peer=self.peer, reason=reason)
        was_silent = isinstance(error, LinkSilent | TimeoutError)
        silent_since: datetime | None = self.heard_at if was_silent else None
        notice = LinkDown(self._transport, self.peer, reason)
        await ear.on_down(notice, self._clock(), silent_since=silent_since)


def words(error: BaseException) -> str:
    """Return what an error says of itself."""
    return str(error) or type(error).__name__
