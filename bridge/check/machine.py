"""What the bridge needs of its own machine: a place for the journal, a port, a clock."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile

from bridge.check.line import Line
from bridge.journal.store import MOST_RESERVED_BYTES
from bridge.settings import HttpSettings, JournalSettings

NOT_SYNCHRONIZED = 5
"""What `adjtimex(2)` returns where nobody sets the clock (TIME_ERROR)."""

MEGABYTE = 1024 * 1024


def is_in_use(path: Path) -> bool:
    """Return whether a bridge has the journal, without making anything."""
    try:
        taken = os.open(f"{path}.lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(taken)
    return False


def check_journal(settings: JournalSettings, *, is_in_use: bool) -> Iterator[Line]:
    """Say whether the journal can be written, and has room to grow."""
    path = settings.path.absolute()
    folder = path.parent
    files = (path, *(Path(f"{path}{suffix}") for suffix in (".lock", "-wal", "-shm")))
    if not folder.is_dir():
        yield Line.failed("journal", f"there is no folder {folder}", f"make it, or {_ELSEWHERE}")
        return
    closed = [str(each) for each in files if each.exists() and not os.access(each, os.W_OK)]
    try:
        with TemporaryFile(dir=folder):  # it never has a name there
            pass
    except OSError as error:
        closed.insert(0, f"{folder}: {error.strerror}")
    if path.is_dir():
        yield Line.failed("journal", f"{path} is a folder", f"name a file in it: {_ELSEWHERE}")
    elif closed:
        todo = f"let the bridge's user write there, or {_ELSEWHERE}"
        yield Line.failed("journal", f"cannot be written: {', '.join(closed)}", todo)
    else:
        state = "a bridge has it open" if is_in_use else "can be written"
        yield Line.ok("journal", f"{path} {state}", shows_a_bridge=is_in_use)
        yield _check_room(folder, settings.max_bytes - _size(files))


def _check_room(folder: Path, may_grow_by: int) -> Line:
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    found = f"{free // MEGABYTE:,} MiB free"
    if free < MOST_RESERVED_BYTES:
        todo = f"make room: the journal leaves the last {MOST_RESERVED_BYTES // MEGABYTE} MiB alone"
        return Line.failed("journal's disk", found, todo)
    if free >= may_grow_by:
        return Line.ok("journal's disk", found)
    todo = f"it may grow by {may_grow_by // MEGABYTE:,} MiB: make room, or lower journal.max_bytes"
    return Line.warning("journal's disk", found, todo)


def _size(files: tuple[Path, ...]) -> int:
    return sum(each.stat().st_size for each in files if each.exists())


_ELSEWHERE = "set journal.path to another place"


async def check_http(settings: HttpSettings, *, is_running: bool) -> Line:
    """Say whether the port of the page and the metrics can be had."""
    where = f"{settings.host}:{settings.port}"
    try:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, *_, address = found[0]
        with closing(socket.socket(family, socket.SOCK_STREAM)) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        if is_running:
            return Line.ok("http", f"{where} is taken, by the bridge that runs as it seems")
        todo = "set http.host and http.port to what is free here"
        return Line.warning("http", f"{where}: {error.strerror}", todo)
    return Line.ok("http", f"{where} is free")


def check_clock() -> Line:
    """Say whether somebody sees to the clock, which the time of every event is from."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)  # Linux alone has it
    if adjtimex is None or adjtimex(ctypes.create_string_buffer(512)) != NOT_SYNCHRONIZED:
        return Line.ok("clock", now)
    todo = "let chrony or systemd-timesyncd set it: events carry its time"
    return Line.warning("clock", f"{now}, and nobody synchronizes it", todo)
