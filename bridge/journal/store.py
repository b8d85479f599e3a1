"""The journal's file: one SQLite database in WAL mode; synchronous, used by one thread.

A message is in the file before it is published and leaves it after the broker's
confirm. A commit is one transaction for all that changed together: new messages,
the last number given, what is settled, what had to be dropped.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar, cast

from bridge.errors import JournalUnwritable
from bridge.journal.commands import Commands, Memory, Note
from bridge.journal.sqlite import SQL, lock, moment, number, queries, translated
from bridge.messages.envelope import Sealed

Durability = Literal["power", "process"]
_From = TypeVar("_From")
_To = TypeVar("_To")

_SYNCHRONOUS: dict[Durability, str] = {"power": "FULL", "process": "NORMAL"}
_QUERIES = queries("messages")

MOST_RESERVED_BYTES = 16 * 1024 * 1024
RESERVED_SHARE = 0.25
"""How much of the disk new messages leave free, at most and of a small one.

What is settled is deleted, and SQLite needs room even for that: a journal that
filled its disk to the last byte could never empty itself again.
"""

MOST_DELETED = 2_000
"""Settled messages deleted in one transaction: more would need as much disk as they free."""

_VERSION = 3


@dataclass(frozen=True, slots=True)
class Dropped:
    """What had to make way and was not told of yet: how many, and from when to when."""

    messages: int
    first: datetime
    last: datetime


def both(earlier: Dropped | None, later: Dropped | None) -> Dropped | None:
    """Return what was dropped earlier and what was dropped later as one."""
    if earlier is None or later is None:
        return earlier or later
    return Dropped(earlier.messages + later.messages, earlier.first, later.last)


@dataclass(frozen=True, slots=True)
class State:
    """What outlives the messages."""

    journal_id: str
    sequence: int = 0  # the last number given
    heard_at: datetime | None = None  # when Tactium could last be heard
    dropped: Dropped | None = None
    forgot_at: datetime | None = None  # up to when commands may be forgotten that came again later


@dataclass(frozen=True, slots=True)
class News:
    """What one commit adds: messages, notes on commands, the states of agents."""

    messages: Sequence[Sealed]
    notes: Sequence[Note] = ()
    agents: Mapping[str, bytes | None] = field(default_factory=dict)


class Store:
    """One journal file, locked for as long as it is open.

    Raises `JournalBusy` where another bridge has it, `JournalCorrupt` where it is
    no journal any more, `JournalUnwritable` where the disk or the rights forbid.
    """

    def __init__(
        self, path: Path, durability: Durability, new_journal_id: str, memory: Memory
    ) -> None:
        self.path = path.resolve()
        self._lock = lock(self.path)
        try:
            with translated(path):
                self._database = self._open(durability)
                self._commands = Commands(self._database, memory)
                self.state = self._load(new_journal_id)
                self.messages, self.bytes = self._one("measure_all")
                (self.first,) = self._execute("read_first", self.state.sequence + 1).fetchone()
        except BaseException:
            os.close(self._lock)
            raise

    def __repr__(self) -> str:
        return f"<Store: {self.path}, {self.messages} messages, {self.bytes} bytes>"

    def close(self) -> None:
        """Close the file and give up its lock."""
        with suppress(sqlite3.Error):
            self._database.close()
        os.close(self._lock)

    def agents(self) -> list[tuple[str, bytes]]:
        """Return the state of each agent. Raises `JournalUnwritable` or `JournalCorrupt`."""
        with translated(self.path):
            return self._execute("read_agents").fetchall()

    def commit(self, news: News, settled: int, state: State, max_bytes: int) -> None:
        """Write all that changed, or nothing of it.

        Of what is `settled` it deletes so many at once that memory holds the pages;
        `first` says how far it came. Where the messages would be over `max_bytes`,
        the oldest make way, and `state.dropped` says so. Raises `JournalUnwritable`
        or `JournalCorrupt`.
        """
        new = news.messages
        if new or news.notes:
            self._check_room()
        with translated(self.path), self._transaction():
            settled = min(settled, self.first + MOST_DELETED - 1)
            first = max(self.first, settled + 1)
            messages, size = self._one("measure_through", settled)
            self._execute("delete_through", settled)
            self._database.executemany(_QUERIES["insert_message"], map(_row, new))
            messages = self.messages - messages + len(new)
            size = self.bytes - size + sum(len(message.body) for message in new)
            if size > max_bytes:
                dropped, freed, first = self._drop(size - max_bytes)
                messages, size = messages - dropped.messages, size - freed
                state = replace(state, dropped=both(state.dropped, dropped))
            self._write_agents(news.agents)
            forgot_at = self._commands.write(news.notes)
            if forgot_at is not None:
                state = replace(state, forgot_at=forgot_at)
            self._write(state)
        self.state, self.first, self.messages, self.bytes = state, first, messages, size

    def _check_room(self) -> None:
        """Raise `JournalUnwritable` where the disk is full but for what is reserved."""
        try:
            disk = os.statvfs(self.path.parent)
        except OSError as error:
            raise JournalUnwritable(f"{self.path}: {error.strerror}") from None
        reserved = min(MOST_RESERVED_BYTES, RESERVED_SHARE * disk.f_blocks * disk.f_frsize)
        free = disk.f_bavail * disk.f_frsize
        if free < reserved and free + self._free_inside() < reserved:
            raise JournalUnwritable(f"{self.path}: the disk is full")

    def _free_inside(self) -> int:
        """Return how many bytes of the file deleted messages have left: it never shrinks."""
        with translated(self.path):
            (pages,) = self._database.execute("PRAGMA freelist_count").fetchone()
            (size,) = self._database.execute("PRAGMA page_size").fetchone()
        return cast("int", pages * size)

    def _drop(self, surplus: int) -> tuple[Dropped, int, int]:
        """Delete the oldest messages until `surplus` bytes are free.

        Returns what was dropped, how many bytes are free by it, and the number
        that comes first now.
        """
        count = freed = 0
        first = last = sequence = 0
        oldest = self._execute("read_oldest")
        while freed < surplus:
            sequence, last, size = oldest.fetchone()
            first = first or last
            count, freed = count + 1, freed + size
        oldest.close()
        self._execute("delete_through", sequence)
        return Dropped(count, moment(first), moment(last)), freed, sequence + 1

    def _open(self, durability: Durability) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise JournalUnwritable(
                f"{self.path} was written by a newer bridge (its version is {version}, "
                f"ours {_VERSION}): run that one, or set journal.path to another file"
            )
        for step in range(version + 1, _VERSION + 1):
            script = (SQL / f"schema.{step}.sql").read_text()
            database.executescript(f"BEGIN; {script}; PRAGMA user_version = {step}; COMMIT;")
        return database

    def _load(self, new_journal_id: str) -> State:
        row = self._execute("read_state").fetchone()
        if row is None:
            # Another journal may have been there, which knew of commands that come again.
            state = State(new_journal_id, forgot_at=datetime.now(UTC))
            self._execute("create_state", new_journal_id)
            self._write(state)
            return state
        journal_id, sequence, heard_at, dropped, first, last, forgot_at = row
        return State(
            journal_id,
            sequence,
            _maybe(moment, heard_at),
            Dropped(dropped, moment(first), moment(last)) if dropped else None,
            _maybe(moment, forgot_at),
        )

    def _write_agents(self, agents: Mapping[str, bytes | None]) -> None:
        for agent, state in agents.items():
            if state is None:
                self._execute("forget_agent", agent)
            else:
                self._execute("write_agent", agent, state)

    def _write(self, state: State) -> None:
        dropped = state.dropped
        self._execute(
            "write_state",
            state.sequence,
            _maybe(number, state.heard_at),
            dropped.messages if dropped else 0,
            number(dropped.first) if dropped else None,
            number(dropped.last) if dropped else None,
            _maybe(number, state.forgot_at),
        )

    def _execute(self, name: str, *values: object) -> sqlite3.Cursor:
        return self._database.execute(_QUERIES[name], values)

    def _one(self, name: str, *values: object) -> tuple[int, int]:
        return cast("tuple[int, int]", self._execute(name, *values).fetchone())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise


def _row(message: Sealed) -> tuple[object, ...]:
    return (
        message.sequence,
        message.stream,
        message.routing_key,
        message.id,
        message.type,
        number(message.time),
        message.body,
        message.trace,
    )


def _maybe(convert: Callable[[_From], _To], value: _From | None) -> _To | None:
    return None if value is None else convert(value)
