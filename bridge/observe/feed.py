"""The page's stream (server-sent events): one text for all who look, a few times a second.

A viewer who does not keep up is let go and comes again; nothing waits for anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from bridge.core.journal import Depth
from bridge.observe.board import Board
from bridge.observe.metrics import Metrics

TICK_SECONDS = 0.5
MOST_VIEWERS = 100
MOST_BEHIND = 8
"""Updates that wait for one viewer: four seconds."""


class Feed:
    """Who looks at the page, and what they are told."""

    def __init__(self, board: Board, metrics: Metrics, depth: Callable[[], Depth]) -> None:
        self._board = board
        self._metrics = metrics
        self._depth = depth
        self._viewers: set[Viewer] = set()
        self._new: set[Viewer] = set()

    def __repr__(self) -> str:
        return f"<Feed: {len(self._viewers) + len(self._new)} viewers>"

    @property
    def is_full(self) -> bool:
        """Whether nobody else may look."""
        return len(self._viewers) + len(self._new) >= MOST_VIEWERS

    async def run(self) -> None:
        """Tell everyone, until cancelled."""
        while True:
            for is_whole in (False, True):
                await asyncio.sleep(TICK_SECONDS)
                if is_whole:
                    self._board.second()
                self._tell()

    def close(self) -> None:
        """Let everyone go."""
        for viewer in self._viewers | self._new:
            viewer.end()

    @contextmanager
    def viewer(self) -> Iterator[Viewer]:
        """Let someone look inside."""
        viewer = Viewer()
        self._new.add(viewer)
        try:
            yield viewer
        finally:
            self._new.discard(viewer)
            self._viewers.discard(viewer)

    def _tell(self) -> None:
        if self._viewers:
            told = _event("update", self._board.update(*self._journal()))
            for viewer in self._viewers:
                viewer.put(told)
        else:
            self._board.forget()
        if self._new:
            told = _event("snapshot", self._board.snapshot(*self._journal()))
            for viewer in self._new:
                viewer.put(told)
            self._viewers |= self._new
            self._new.clear()

    def _journal(self) -> tuple[Depth, int]:
        return self._depth(), self._metrics.dropped_so_far


class Viewer:
    """One who looks; gives the texts to send, and ends where too many of them wait."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_BEHIND)

    def __repr__(self) -> str:
        return f"<Viewer: {self._waiting.qsize()} behind>"

    def put(self, text: bytes) -> None:
        """Have it told a text, or let it go."""
        if self._waiting.full():
            self.end()
        else:
            self._waiting.put_nowait(text)

    def end(self) -> None:
        """Tell it nothing more."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (text := await self._waiting.get()) is not None:
            yield text


def _event(name: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
