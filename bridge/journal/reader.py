"""Reads what a `Store` has committed, from another thread."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bridge.core.journal import Remembered
from bridge.core.notes import Lasting
from bridge.journal import batch
from bridge.journal.commands import recall, remembered, uncertain
from bridge.journal.sqlite import queries, translated
from bridge.messages.envelope import Sealed

MOST_READ_BYTES = 4 * 1024 * 1024
"""Bodies read at once, however few messages that are."""

_READ = queries("messages")["read_batches"]


class Reader:
    """Reads what a `Store` has committed, from another thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
        )
        self._left: list[Sealed] = []  # of what was read last, what nobody asked for

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def read(self, after: int, most: int) -> list[Sealed]:
        """Return up to `most` messages behind number `after`, in order; some 4 MiB at most."""
        found = self._left
        if not found or found[0].sequence != after + 1:
            found = self._read(after, most)
        self._left = found[most:]
        return found[:most]

    def _read(self, after: int, most: int) -> list[Sealed]:
        found: list[Sealed] = []
        size = 0
        with translated(self._path):
            rows = self._database.execute(_READ, (after,))
            for row in map(batch.Row._make, rows):
                found += batch.messages(row)
                size += row.size
                if len(found) >= most or size > MOST_READ_BYTES:
                    break
            rows.close()
        return [message for message in found if message.sequence > after]

    def uncertain(self) -> list[tuple[bytes, bytes]]:
        """Return the identity and the frame of each command that may have been taken, or not."""
        with translated(self._path):
            return uncertain(self._database)

    def remembered(self, after: int, most: int) -> list[tuple[int, Lasting]]:
        """Return up to `most` notes on commands behind row `after`, each with its row."""
        with translated(self._path):
            return remembered(self._database, after, most)

    def recall(self, identity: bytes) -> Remembered | None:
        """Return what is known of a command, None where nobody has seen it."""
        with translated(self._path):
            return recall(self._database, identity)
