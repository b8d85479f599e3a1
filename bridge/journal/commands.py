"""Which commands were begun and how they ended, for those that come again; in the journal's file.

A command is noted as begun before its bytes go out, and its reply before it is
sent. What is kept is bounded in age and in number. Those that never were begun go
first: to run one of them is no harm.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.core.journal import Remembered
from bridge.core.notes import Begun, ClearedUp, Ended, Lasting, Learned, Note
from bridge.journal.sqlite import moment, number, queries
from bridge.messages.replies import Outcome, SealedReply

_QUERIES = queries("commands")
SWEEP_EVERY = 256
"""After how many notes it is looked for what can be forgotten."""

MOST_FORGOTTEN = 1_024
"""How many are forgotten in one transaction: more than come in the time between."""


@dataclass(frozen=True, slots=True)
class Memory:
    """For how long a command is remembered, and how many are."""

    keep: timedelta
    most: int


class Commands:
    """The notes, written within a transaction of the journal's."""

    def __init__(self, database: sqlite3.Connection, memory: Memory) -> None:
        self._database = database
        self._memory = memory
        self._unswept = 0

    def __repr__(self) -> str:
        return f"<Commands: kept for {self._memory.keep}, {self._memory.most} at most>"

    def write(self, notes: Sequence[Note]) -> datetime | None:
        """Keep the notes, the first answer to each, and now and then forget the oldest.

        Returns the moment of the latest that was begun and had to go although it
        was not old enough, None where there was none.
        """
        for note in notes:
            match note:
                case ClearedUp(identity, _, was_taken):
                    self._execute("clear_up", was_taken, identity)
                case Learned(lasting, is_old):
                    self._keep(lasting, is_old=is_old)
                case _:
                    self._keep(note)
        self._unswept += len(notes)
        if self._unswept < SWEEP_EVERY:
            return None
        self._unswept = 0
        last = notes[-1]
        return self._sweep(last.note.at if isinstance(last, Learned) else last.at)

    def _keep(self, note: Lasting, *, is_old: bool = False) -> None:
        """Keep what was begun or answered; of what is old, only what nothing newer is known of."""
        match note:
            case Begun(identity, digest, at, frame):
                name = "begin_old" if is_old else "begin"
                self._execute(name, identity, digest, number(at), frame)
            case Ended(identity, digest, at, reply):
                said = (reply.id, reply.outcome, reply.reason, reply.body)
                name = "end_old" if is_old else "end"
                self._execute(name, identity, digest, number(at), *said)

    def _sweep(self, now: datetime) -> datetime | None:
        self._execute("forget_old", number(now - self._memory.keep), MOST_FORGOTTEN)
        (count,) = self._execute("count").fetchone()
        surplus = min(count - self._memory.most, MOST_FORGOTTEN)
        if surplus <= 0:
            return None
        (latest,) = self._execute("latest_begun_of_surplus", surplus).fetchone()
        self._execute("forget_surplus", surplus)
        return moment(latest) if latest is not None else None

    def _execute(self, name: str, *values: object) -> sqlite3.Cursor:
        return self._database.execute(_QUERIES[name], values)


def uncertain(database: sqlite3.Connection) -> list[tuple[bytes, bytes]]:
    """Return the identity and the frame of each command that may have been taken, or not."""
    return database.execute(_QUERIES["uncertain"]).fetchall()


def remembered(database: sqlite3.Connection, after: int, most: int) -> list[tuple[int, Lasting]]:
    """Return up to `most` notes behind row `after`, each with its row: one for each command."""
    found: list[tuple[int, Lasting]] = []
    for row in database.execute(_QUERIES["remembered"], (after, most)):
        rowid, identity, digest, at, frame, reply_id, outcome, reason, body = row
        note: Lasting = Begun(identity, digest, moment(at), frame or b"")
        if body is not None:
            reply = SealedReply(reply_id, Outcome(outcome), reason, body)
            note = Ended(identity, digest, moment(at), reply)
        found.append((rowid, note))
    return found


def recall(database: sqlite3.Connection, identity: bytes) -> Remembered | None:
    """Return what is known of a command, None where it was never begun and never answered."""
    row = database.execute(_QUERIES["recall"], (identity,)).fetchone()
    if row is None:
        return None
    digest, begun, reply_id, outcome, reason, body = row
    reply = None if body is None else SealedReply(reply_id, Outcome(outcome), reason, body)
    return Remembered(digest, bool(begun), reply)
