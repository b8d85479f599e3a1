"""The journal's file: one SQLite database in WAL mode; synchronous, used by one thread.

A message is in the file before it is published and leaves it after the broker's
confirm. A commit is one transaction for all that changed together: new messages,
the last number given, what is settled, what had to be dropped.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Literal, cast

from bridge.errors import JournalBusy, JournalCorrupt, JournalUnwritable
from bridge.messages.envelope import Sealed

Durability = Literal["power", "process"]

_SYNCHRONOUS: dict[Durability, str] = {"power": "FULL", "process": "NORMAL"}
_SQL = files("bridge.journal") / "sql"
_NAMED = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)
_QUERIES: dict[str, str] = dict(_NAMED.findall((_SQL / "queries.sql").read_text()))
MOST_READ_BYTES = 4 * 1024 * 1024
"""Bodies read at once, however few messages that are."""

MOST_RESERVED_BYTES = 16 * 1024 * 1024
RESERVED_SHARE = 0.25
"""How much of the disk new messages leave free, at most and of a small one.

What is settled is deleted, and SQLite needs room even for that: a journal that
filled its disk to the last byte could never empty itself again.
"""

MOST_DELETED = 2_000
"""Settled messages deleted in one transaction: more would need as much disk as they free."""

_VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What had to make way and was not told of yet: how many, and from when to when."""

    messages: int
    first: datetime
    last: datetime

    def and_then(self, later: Dropped) -> Dropped:
        """Return both as one."""
        return Dropped(self.messages + later.messages, self.first, later.last)


@dataclass(frozen=True, slots=True)
class State:
    """What outlives the messages."""

    journal_id: str
    sequence: int = 0  # the last number given
    heard_at: datetime | None = None  # when Tactium could last be heard
    dropped: Dropped | None = None


class Store:
    """One journal file, locked for as long as it is open.

    Raises `JournalBusy` where another bridge has it, `JournalCorrupt` where it is
    no journal any more, `JournalUnwritable` where the disk or the rights forbid.
    """

    def __init__(self, path: Path, durability: Durability, new_journal_id: str) -> None:
        self.path = path
        self._lock = _lock(path)
        try:
            with _translated(path):
                self._database = self._open(durability)
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

    def commit(self, new: Sequence[Sealed], settled: int, state: State, max_bytes: int) -> None:
        """Write all that changed, or nothing of it.

        Of what is `settled` it deletes so many at once that memory holds the pages;
        `first` says how far it came. Where the messages would be over `max_bytes`,
        the oldest make way, and `state.dropped` says so. Raises `JournalUnwritable`
        or `JournalCorrupt`.
        """
        if new:
            self._check_room()
        with _translated(self.path), self._transaction():
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
                earlier = state.dropped
                state = replace(state, dropped=earlier.and_then(dropped) if earlier else dropped)
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
        with _translated(self.path):
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
        return Dropped(count, _moment(first), _moment(last)), freed, sequence + 1

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
            script = (_SQL / f"schema.{step}.sql").read_text()
            database.executescript(f"BEGIN; {script}; PRAGMA user_version = {step}; COMMIT;")
        return database

    def _load(self, new_journal_id: str) -> State:
        row = self._execute("read_state").fetchone()
        if row is None:
            self._execute("create_state", new_journal_id)
            return State(new_journal_id)
        journal_id, sequence, heard_at, dropped, first, last = row
        return State(
            journal_id,
            sequence,
            _moment(heard_at) if heard_at is not None else None,
            Dropped(dropped, _moment(first), _moment(last)) if dropped else None,
        )

    def _write(self, state: State) -> None:
        dropped = state.dropped
        self._execute(
            "write_state",
            state.sequence,
            _number(state.heard_at) if state.heard_at else None,
            dropped.messages if dropped else 0,
            _number(dropped.first) if dropped else None,
            _number(dropped.last) if dropped else None,
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
        with _translated(self._path):
            rows = self._database.execute(_QUERIES["read_messages"], (after, most))
            for sequence, stream, key, message_id, kind, time, body in rows:
                found.append(Sealed(sequence, stream, key, message_id, kind, _moment(time), body))
                size += len(body)
                if size > MOST_READ_BYTES:
                    break
            rows.close()
        return found


def _lock(path: Path) -> int:
    """Lock the journal for this process; the kernel frees it whatever becomes of us."""
    lock_path = path.with_name(f"{path.name}.lock")
    try:
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalUnwritable(f"{lock_path}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise JournalBusy(
            f"{path} is in use by another bridge, process {owner}: "
            f"stop that one, or set journal.path to another file"
        ) from None
    with suppress(OSError):  # a full disk: the lock holds all the same, and only names nobody
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
    return lock


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise JournalCorrupt(f"{path}: {error}") from error
        raise JournalUnwritable(f"{path}: {error}") from error


def _row(message: Sealed) -> tuple[object, ...]:
    return (
        message.sequence,
        message.stream,
        message.routing_key,
        message.id,
        message.type,
        _number(message.time),
        message.body,
    )


def _number(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(number: int) -> datetime:
    return _EPOCH + timedelta(microseconds=number)
