"""The journal's file: one SQLite database in WAL mode; synchronous, used by one thread.

A message is in the file before it is published and leaves it after the broker's
confirm. A commit is one transaction for all that changed together: new messages,
the last number given, what is settled, what had to be dropped. What one commit
brings stays together in the file, and makes way together when that is full.

In quiet times a commit is a single row: what changes with a few messages stands
beside them, until a larger commit brings the other tables up to date.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast

import orjson

from bridge.core.notes import Note
from bridge.errors import JournalCorrupt, JournalUnwritable
from bridge.journal import batch, rows
from bridge.journal.checkpoint import Checkpoints
from bridge.journal.commands import Commands, Memory
from bridge.journal.rows import RowsRead
from bridge.journal.sqlite import SQL, lock, queries, translated, translation
from bridge.journal.state import Dropped, State, beside, both, read_beside
from bridge.messages.envelope import Sealed

Durability = Literal["power", "process"]
_SYNCHRONOUS: dict[Durability, str] = {"power": "FULL", "process": "NORMAL"}
_QUERIES = queries("messages")

MOST_RESERVED_BYTES = 32 * 1024 * 1024
RESERVED_SHARE = 0.25
"""How much of the disk new messages leave free, at most and of a small one.

What is settled is deleted, and SQLite needs room even for that: a journal that
filled its disk to the last byte could never empty itself again.
"""

BUSY_SECONDS = 1.0
"""How long a commit waits for somebody else who writes to the file, whoever that may be."""

FEW_AGENTS = 8
"""States that are sooner written one by one."""

MOST_AGENTS = 1_000
"""States in one statement: what it changes, SQLite keeps until it ends."""

CACHE_KIB = 8_000
"""Pages kept in memory: all that is on its way to the broker, so that deleting it reads nothing."""

ROOM_SECONDS = 0.1
"""How long it is taken for granted that there is room on the disk."""

MOST_DELETED = 2_000
"""Confirmed messages deleted in one transaction: more would need as much disk as they free."""

DELETED_TOGETHER = 256
"""Confirmed messages that stay in the file until there are so many, or nothing else to write."""

FEW_MESSAGES = 32
"""Messages beside which all that changed with them can stand, of few agents."""

MOST_UNFOLDED = 64
"""Agents whose states only rows of messages have: the next larger commit writes them all."""

MOST_BEHIND = 2 * DELETED_TOGETHER
"""Messages in the file while what changes stands beside them: who keeps up has no more."""

_VERSION = 7


@dataclass(slots=True)
class News:
    """What one commit adds: messages, notes on commands, the states of agents, rows read.

    `size` is that of all bodies, in bytes, for whoever bounds something by it.
    """

    messages: Sequence[Sealed]
    notes: Sequence[Note] = ()
    agents: Mapping[str, bytes | None] = field(default_factory=dict)
    rows: RowsRead | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum([len(message.body) for message in self.messages])


class Store:
    """One journal file, locked for as long as it is open.

    Raises `JournalBusy` where another bridge has it, `JournalCorrupt` where it is
    no journal any more, `JournalUnwritable` where the disk or the rights forbid.
    """

    def __init__(
        self, path: Path, durability: Durability, new_journal_id: str, memory: Memory
    ) -> None:
        self.path = path.resolve()
        self._room_until = 0.0
        self._unfolded: dict[str, bytes | None] = {}  # states that only rows of messages have
        with translated(path), ExitStack() as opened:
            opened.callback(os.close, lock(self.path))
            self._database = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            opened.callback(self._database.close)
            self._bring_up_to_date(durability)
            self._commands = Commands(self._database, memory)
            self.state = self._load(new_journal_id)
            self.bytes = self._number("measure_all")
            self._gone = self._number("read_gone", self.first - 1)  # up to that number
            self.checkpoints = Checkpoints(self.path)
            opened.callback(self.checkpoints.close)
            self._database.execute("PRAGMA wal_autocheckpoint = 0")
            self._opened = opened.pop_all()

    def __repr__(self) -> str:
        return f"<Store: {self.path}, {self.messages} messages, {self.bytes} bytes>"

    @property
    def first(self) -> int:
        """The lowest number that is neither confirmed nor dropped."""
        return self.state.first

    @property
    def messages(self) -> int:
        """How many messages are neither confirmed nor dropped."""
        return self.state.sequence - self.state.first + 1

    @property
    def is_tidy(self) -> bool:
        """Whether all that is confirmed is gone from the file."""
        return self._gone >= self.first - 1

    def close(self) -> None:
        """Close the file and give up its lock."""
        with suppress(sqlite3.Error):
            self._opened.close()

    def agents(self) -> list[tuple[str, bytes]]:
        """Return the state of each agent. Raises `JournalUnwritable` or `JournalCorrupt`."""
        with translated(self.path):
            known: dict[str, bytes | None] = dict(self._execute("read_agents"))
        known.update(self._unfolded)
        return [(agent, state) for agent, state in known.items() if state is not None]

    def rows(self) -> dict[str, str]:
        """Return the rows that were noted last. Raises as `agents` does."""
        with translated(self.path):
            return rows.read(self._database)

    def commit(self, news: News, state: State, max_bytes: int) -> None:
        """Write all that changed, or nothing of it.

        What is confirmed, before number `state.first`, is deleted later, so many at
        once that memory holds the pages. Where the messages would be over `max_bytes`, the
        oldest make way, and `state.dropped` says so. Raises `JournalUnwritable` or
        `JournalCorrupt`.
        """
        if news.messages or news.notes:
            self._check_room()
        changed = len(news.agents) + len(news.notes)
        try:
            if self._is_little(news, state, max_bytes):
                self._write_row(news, state)
            else:
                self._execute("begin")
                self.state, self.bytes, self._gone = self._write_down(news, state, max_bytes)
                changed += len(self._unfolded)
                self._unfolded = {}
        except sqlite3.Error as error:
            self._roll_back()
            self.checkpoints.end(self._database)
            raise translation(self.path, error) from error
        finally:
            self._roll_back()
        self.checkpoints.committed(self._database, news.size, changed)

    def go_on_from(self, sequence: int) -> None:
        """Count on from this number, as if all up to it had been in this file."""
        self.state = replace(self.state, sequence=sequence, first=sequence + 1)
        self._gone = sequence

    def _is_little(self, news: News, state: State, max_bytes: int) -> bool:
        """Whether all that changes can stand beside the messages, in one row."""
        return (
            0 < len(news.messages) <= FEW_MESSAGES
            and news.size <= min(batch.MOST_BYTES, max_bytes - self.bytes)
            and len(news.agents) <= FEW_AGENTS
            and len(self._unfolded) < MOST_UNFOLDED
            and not (news.notes or news.rows is not None)
            and state.first - 1 - self._gone < DELETED_TOGETHER
            and state.sequence - self._gone <= MOST_BEHIND
        )

    def _write_row(self, news: News, state: State) -> None:
        """Write and commit all of it in one statement."""
        (row,) = batch.rows(news.messages)
        self._execute("insert_batch", *row, beside(state, news.agents))
        self._unfolded.update(news.agents)
        self.state, self.bytes = state, self.bytes + news.size

    def _write_down(self, news: News, state: State, max_bytes: int) -> tuple[State, int, int]:
        """Write and commit; return the state, the size and what is gone by it."""
        new = news.messages
        gone, freed = self._delete(state.first - 1, DELETED_TOGETHER if new else 1)
        size = self.bytes - freed + news.size
        for row in batch.rows(new):
            self._execute("insert_batch", *row, None)
        if size > max_bytes:
            state, freed = self._drop(size - max_bytes, state)
            gone, size = state.first - 1, size - freed
        self._write_agents({**self._unfolded, **news.agents})
        if news.rows is not None:
            rows.write(self._database, news.rows)
        forgot_at = self._commands.write(news.notes)
        if forgot_at is not None:
            state = replace(state, forgot_at=forgot_at)
        self._write(state)
        self._execute("commit")
        return state, size, gone

    def _roll_back(self) -> None:
        if self._database.in_transaction:
            with suppress(sqlite3.Error):
                self._execute("roll_back")

    def _check_room(self) -> None:
        """Raise `JournalUnwritable` where the disk is full but for what is reserved.

        It is looked at now and then: what is reserved lasts for longer.
        """
        if time.monotonic() < self._room_until:
            return
        try:
            disk = os.statvfs(self.path.parent)
        except OSError as error:
            raise JournalUnwritable(f"{self.path}: {error.strerror}") from None
        reserved = min(MOST_RESERVED_BYTES, RESERVED_SHARE * disk.f_blocks * disk.f_frsize)
        free = disk.f_bavail * disk.f_frsize
        if free < reserved and free + self._free_inside() < reserved:
            raise JournalUnwritable(f"{self.path}: the disk is full")
        self._room_until = time.monotonic() + ROOM_SECONDS

    def _free_inside(self) -> int:
        """Return how many bytes of the file deleted messages have left: it never shrinks."""
        with translated(self.path):
            (pages,) = self._database.execute("PRAGMA freelist_count").fetchone()
            (size,) = self._database.execute("PRAGMA page_size").fetchone()
        return cast("int", pages * size)

    def _delete(self, through: int, fewest: int) -> tuple[int, int]:
        """Delete what is confirmed, up to this number, unless that are too few.

        Returns up to which number all is gone, and how many bytes are free by it.
        """
        if through - self._gone < fewest:
            return self._gone, 0
        through = min(through, self._gone + MOST_DELETED)
        freed = self._number("measure_through", through)
        self._execute("delete_through", through)
        return through, freed

    def _drop(self, surplus: int, state: State) -> tuple[State, int]:
        """Delete the oldest messages until `surplus` bytes are free.

        Returns the state that says so, and how many bytes are free by it.
        """
        freed = self._number("measure_through", state.first - 1)
        oldest = self._execute("read_batches", state.first - 1)
        while freed < surplus:
            row = batch.Row(*oldest.fetchone())
            lost = [each for each in batch.messages(row) if each.sequence >= state.first]
            dropped = Dropped(len(lost), lost[0].time, lost[-1].time)
            state = replace(state, first=row.last + 1, dropped=both(state.dropped, dropped))
            freed += row.size
        oldest.close()
        self._execute("delete_through", state.first - 1)
        return state, freed

    def _bring_up_to_date(self, durability: Durability) -> None:
        database = self._database
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        database.execute("PRAGMA temp_store = MEMORY")  # else it would keep some in /tmp
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise JournalUnwritable(
                f"{self.path} was written by a newer bridge (its version is {version}, "
                f"ours {_VERSION}): run that one, or set journal.path to another file"
            )
        for step in range(version + 1, _VERSION + 1):
            script = (SQL / f"schema.{step}.sql").read_text()
            database.executescript(f"BEGIN; {script}; PRAGMA user_version = {step}; COMMIT;")

    def _load(self, new_journal_id: str) -> State:
        row = self._execute("read_state").fetchone()
        if row is None:
            # Another journal may have been there, which knew of commands that come again.
            state = State(new_journal_id, forgot_at=datetime.now(UTC))
            self._execute("create_state", new_journal_id)
            self._write(state)
            return state
        state = State.of(row[0], row[1:])
        try:
            for last, text in self._execute("read_beside", state.sequence):
                state, agents = read_beside(state.journal_id, last, text)
                self._unfolded.update(agents)
        except (ValueError, TypeError, OverflowError) as error:  # SQLite checks no page
            what = "what stands beside messages is damaged"
            raise JournalCorrupt(f"{self.path}: {what}: {error}") from None
        return state

    def _write_agents(self, agents: Mapping[str, bytes | None]) -> None:
        """Keep the states: many in one statement, but for what JSON cannot bring to SQLite."""
        together: list[tuple[str, orjson.Fragment]] = []
        for agent, state in agents.items():
            if state is None:
                self._execute("forget_agent", agent)
            elif len(agents) <= FEW_AGENTS or "\0" in agent:  # would end the text there
                self._execute("write_agent", agent, state)
            else:
                together.append((agent, orjson.Fragment(state)))
        for first in range(0, len(together), MOST_AGENTS):
            some = dict(together[first : first + MOST_AGENTS])
            self._execute("write_agents", orjson.dumps(some).decode())

    def _write(self, state: State) -> None:
        self._execute("write_state", *state.row())

    def _execute(self, name: str, *values: object) -> sqlite3.Cursor:
        return self._database.execute(_QUERIES[name], values)

    def _number(self, name: str, *values: object) -> int:
        (found,) = self._execute(name, *values).fetchone()
        return cast("int", found)
