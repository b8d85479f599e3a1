"""SQLite's log begins anew, however many commits there are."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.journal import checkpoint
from bridge.journal.checkpoint import Checkpoints
from bridge.journal.reader import Reader
from bridge.journal.store import News
from tests.unit.journal.test_store import NO_LIMIT, message, open_store

LOG_BYTES = 256 * 1024


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With somebody reading all the while, and a disk that is slow at first; nothing is lost."""
    monkeypatch.setattr(checkpoint, "MOST_LOG_BYTES", LOG_BYTES)
    copy, delays = Checkpoints._copy, [1.0]

    def copy_slowly(checkpoints: Checkpoints) -> None:
        if delays:
            time.sleep(delays.pop())
        copy(checkpoints)

    monkeypatch.setattr(Checkpoints, "_copy", copy_slowly)
    store = open_store(tmp_path)
    reader = Reader(store.path)
    log = tmp_path / "bridge.db-wal"
    longest = 0
    for number in range(1, 3_001):
        state = replace(store.state, sequence=number, first=max(1, number - 100))
        agents = {f"a{number % 50}": b"{}"}
        store.commit(News([message(number, 3_000)], agents=agents), state, NO_LIMIT)
        longest = max(longest, log.stat().st_size)
        assert reader.read(number - 1, 1) == [message(number, 3_000)]
    assert LOG_BYTES / 2 < longest < 7 * LOG_BYTES  # 72 MB without a bound
    reader.close()
    store.close()
    again = open_store(tmp_path)
    assert (again.first, again.messages, len(again.agents())) == (2_900, 101, 50)
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
