"""SQLite's log begins anew, however many commits there are."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.journal import checkpoint
from bridge.journal.reader import Reader
from bridge.journal.store import News
from tests.unit.journal.test_store import NO_LIMIT, message, open_store

LOG_BYTES = 256 * 1024
COMMITS = 10_000


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With somebody reading all the while; what was committed is in the file."""
    monkeypatch.setattr(checkpoint, "MOST_LOG_BYTES", LOG_BYTES)
    store = open_store(tmp_path)
    reader = Reader(store.path)
    log = tmp_path / "bridge.db-wal"
    longest = 0
    for number in range(1, COMMITS + 1):
        state = replace(store.state, sequence=number, first=max(1, number - 100))
        agents = {f"a{number % 50}": b"{}"}
        store.commit(News([message(number, 3_000)], agents=agents), state, NO_LIMIT)
        longest = max(longest, log.stat().st_size)
        assert reader.read(number - 1, 1) == [message(number, 3_000)]
    assert LOG_BYTES / 2 < longest < COMMITS * 3_000 / 2  # without a bound, more than all of it
    reader.close()
    store.close()
    again = open_store(tmp_path)
    assert (again.first, again.messages, len(again.agents())) == (COMMITS - 100, 101, 50)
    again.close()


def test_a_checkpoint_that_fails_fails_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes again; what is wrong with the disk, a commit says."""
    monkeypatch.setattr(checkpoint, "MOST_LOG_BYTES", 0)
    monkeypatch.setattr(checkpoint, "_COPY", "PRAGMA no_such_pragma; oops")
    store = open_store(tmp_path)
    for number in range(1, 50):
        store.commit(News([message(number)]), replace(store.state, sequence=number), NO_LIMIT)
    store.close()
    database = sqlite3.connect(tmp_path / "bridge.db")
    assert database.execute("SELECT sum(messages) FROM batches").fetchone() == (49,)
    database.close()
