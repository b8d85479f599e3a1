"""Which rows of Tactium's tables are journaled and not deleted there yet (§2.2).

Whoever reads them deletes what it has noted before it notes more, so the latest
are all that can still be there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from bridge.journal.sqlite import queries

_QUERIES = queries("rows")


@dataclass(frozen=True, slots=True)
class RowsRead:
    """Rows by their number, with a digest of each; none where all are deleted."""

    known: Mapping[str, str]


def write(database: sqlite3.Connection, note: RowsRead) -> None:
    """Note these in place of those before, within a transaction."""
    database.execute(_QUERIES["forget"])
    if note.known:
        database.execute(_QUERIES["note"], (orjson.dumps(note.known).decode(),))


def read(database: sqlite3.Connection) -> dict[str, str]:
    """Return what was noted last."""
    known: dict[str, str] = {}
    for (text,) in database.execute(_QUERIES["read"]):
        known |= orjson.loads(text)
    return known
