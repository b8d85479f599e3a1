"""Brings what was committed from SQLite's log into its file, beside the commits.

A commit that did it by itself, as SQLite has it by default, would take as long as a
hundred others, and every event that comes meanwhile would wait. So a thread copies
most of it, and a commit does what is left then, after which the log begins anew.
"""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

MOST_LOG_BYTES = 8 * 1024 * 1024
LOG_SHARE = 1 / 32
"""How long the log grows, about: on a small disk up to that share of it.

A quarter of what new messages leave free of the disk, so that it can always be copied.
"""

PAGE_BYTES = 4_096
COMMIT_BYTES = 4 * PAGE_BYTES
"""What a commit writes that brings next to nothing."""

_COPY = "PRAGMA wal_checkpoint(PASSIVE)"


class Checkpoints:
    """Those of one file. `is_half_done`: the next commit is to do the rest."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._thread = ThreadPoolExecutor(1, "journal-checkpoint")
        disk = os.statvfs(path.parent)
        self._most = min(MOST_LOG_BYTES, LOG_SHARE * disk.f_blocks * disk.f_frsize)
        self._logged = 0
        self._is_under_way = False
        self.is_half_done = False

    def __repr__(self) -> str:
        return f"<Checkpoints: {self._logged} bytes logged, half_done={self.is_half_done}>"

    @property
    def most_pages(self) -> int:
        """How long the log may grow at the very most; then a commit does it all by itself."""
        return int(4 * self._most / PAGE_BYTES)

    def committed(self, writer: sqlite3.Connection, size: int, rows: int) -> None:
        """Note a commit of so many bytes, and rows beside them; do what is due after it."""
        self._logged += COMMIT_BYTES + size + PAGE_BYTES * rows
        if self.is_half_done:
            self.is_half_done, self._is_under_way = False, False
            with suppress(sqlite3.Error):  # what is wrong with the disk, the next commit tells
                writer.execute(_COPY)
        elif self._logged > self._most and not self._is_under_way:
            self._logged, self._is_under_way = 0, True
            self._thread.submit(self._copy)

    def close(self) -> None:
        """Wait for the thread, which takes moments, and close its connection."""
        self._thread.shutdown()
        self._database.close()

    def _copy(self) -> None:
        with suppress(sqlite3.Error):
            self._database.execute(_COPY)
        self.is_half_done = True
