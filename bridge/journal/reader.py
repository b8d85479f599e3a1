"""Reads what a `Store` has committed, from another thread."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bridge.core.ports import Remembered
from bridge.journal.commands import recall
from bridge.journal.sqlite import moment, queries, translated
from bridge.messages.envelope import Sealed

MOST_READ_BYTES = 4 * 1024 * 1024
"""Bodies read at once, however few messages that are."""

_READ = queries("messages")["read_messages"]


class Reader:
    """Reads what a `Store` has committed, from another thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def read(self, after: int, most: int) -> list[Sealed]:
        """Return up to `most` messages behind number `after`, in order; some 4 MiB at most."""
        found: list[Sealed] = []
        size = 0
        with translated(self._path):
            rows = self._database.execute(_READ, (after, most))
            for sequence, stream, key, message_id, kind, time, body, trace in rows:
                at = moment(time)
                found.append(Sealed(sequence, stream, key, message_id, kind, at, body, trace))
                size += len(body)
                if size > MOST_READ_BYTES:
                    break
            rows.close()
        return found

    def recall(self, identity: bytes) -> Remembered | None:
        """Return what is known of a command, None where nobody has seen it."""
        with translated(self._path):
            return recall(self._database, identity)
