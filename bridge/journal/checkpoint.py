"""Brings what was committed from SQLite's log into its file, beside the commits.

A commit that did it by itself, as SQLite has it by default, would take as long as a
hundred others, and every event that comes meanwhile would wait. So a thread copies
most of it, and a commit does what is left then, after which the log begins anew.
Where more is written than the disk takes, a commit waits for the thread.
"""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

MOST_LOG_BYTES = 8 * 1024 * 1024
LOG_SHARE = 1 / 32
"""How long the log grows, about: on a small disk up to that share of it.

A quarter of what new messages leave free of the disk, so that it can always be copied.
"""
MOST_AHEAD = 1
"""How many times that length may be written while it is copied."""

PAGE_BYTES = 4_096
COMMIT_BYTES = 4 * PAGE_BYTES
"""What a commit writes that brings next to nothing."""

_COPY = "PRAGMA wal_checkpoint(PASSIVE)"


class Checkpoints:
    """Those of one file."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._thread = ThreadPoolExecutor(1, "journal-checkpoint")
        disk = os.statvfs(path.parent)
        self._most = min(MOST_LOG_BYTES, LOG_SHARE * disk.f_blocks * disk.f_frsize)
        self._logged = 0
        self._copying: Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Checkpoints: {self._logged} bytes logged, due={self.is_due}>"

    @property
    def is_due(self) -> bool:
        """Whether the next commit is to end a checkpoint, which takes long."""
        copying = self._copying  # asked for in the loop, while a commit may end it
        is_too_long = self._logged > MOST_AHEAD * self._most
        return copying is not None and (copying.done() or is_too_long)

    def committed(self, writer: sqlite3.Connection, size: int, rows: int) -> None:
        """Note a commit of so many bytes, and rows beside them; do what is due after it."""
        self._logged += COMMIT_BYTES + size + PAGE_BYTES * rows
        if self._copying is None:
            if self._logged > self._most:
                self._logged, self._copying = 0, self._thread.submit(self._copy)
        elif self.is_due:
            self.end(writer)

    def end(self, writer: sqlite3.Connection) -> None:
        """Copy all that is logged, so that the next commit has the log to itself."""
        if self._copying is not None:
            self._copying.result()
            self._copying = None
        with suppress(sqlite3.Error):  # what is wrong with the disk, the next commit tells
            writer.execute(_COPY)

    def close(self) -> None:
        """Wait for the thread, which takes moments, and close its connection."""
        self._thread.shutdown()
        self._database.close()

    def _copy(self) -> None:
        with suppress(sqlite3.Error):
            self._database.execute(_COPY)
