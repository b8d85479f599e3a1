"""What all that touch the journal's file share: its queries, its lock, its times, its errors."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from bridge.errors import JournalBusy, JournalCorrupt, JournalUnwritable

SQL = files("bridge.journal") / "sql"
_NAMED = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def queries(name: str) -> dict[str, str]:
    """Return the queries of one file of `sql/`, by name."""
    return dict(_NAMED.findall((SQL / f"{name}.sql").read_text()))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what SQLite says in the journal's own terms."""
    try:
        yield
    except sqlite3.Error as error:
        raise translation(path, error) from error


def translation(path: Path, error: sqlite3.Error) -> JournalCorrupt | JournalUnwritable:
    """Return what SQLite says in the journal's own terms."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return JournalCorrupt(f"{path}: {error}")
    return JournalUnwritable(f"{path}: {error}")


def lock(path: Path) -> int:
    """Lock the journal for this process; the kernel frees it whatever becomes of us.

    Raises `JournalBusy` where another bridge has it, `JournalUnwritable` where
    the lock cannot be made.
    """
    lock_path = path.with_name(f"{path.name}.lock")
    try:
        taken = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalUnwritable(f"{lock_path}: {error.strerror}") from None
    try:
        fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(taken, 20).decode(errors="replace").strip() or "unknown"
        os.close(taken)
        raise JournalBusy(
            f"{path} is in use by another bridge, process {owner}: "
            f"stop that one, or set journal.path to another file"
        ) from None
    with suppress(OSError):  # a full disk: the lock holds all the same, and only names nobody
        os.ftruncate(taken, 0)
        os.write(taken, str(os.getpid()).encode())
    return taken


def set_aside(path: Path, at: datetime) -> Path:
    """Give a journal's file, and what SQLite keeps beside it, another name; return that."""
    aside = path.with_name(f"{path.name}.corrupt-{at:%Y%m%dT%H%M%SZ}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return aside


@lru_cache(maxsize=256)  # what one read brings has one time
def number(moment: datetime) -> int:
    """Return a moment as the file has it: microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(number: int) -> datetime:
    """Return the moment, in UTC, that the file has as this number."""
    return _EPOCH + timedelta(microseconds=number)
