"""The journal's file: what a commit keeps, and what it refuses."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from bridge.core.notes import Begun
from bridge.errors import JournalBusy, JournalCorrupt, JournalUnwritable
from bridge.journal import batch
from bridge.journal.commands import SWEEP_EVERY, Memory
from bridge.journal.reader import Reader
from bridge.journal.sqlite import SQL, number
from bridge.journal.state import Dropped
from bridge.journal.store import (
    DELETED_TOGETHER,
    FEW_MESSAGES,
    MOST_BEHIND,
    MOST_UNFOLDED,
    News,
    Store,
)
from bridge.messages.envelope import Sealed

START = datetime(2026, 11, 22, 12, 0, 0, 123456, UTC)
NO_LIMIT = 1 << 62
MEMORY = Memory(timedelta(days=1), 1_000)


def message(sequence: int, size: int = 100) -> Sealed:
    """Return a message as it goes to the broker."""
    at = START + timedelta(seconds=sequence)
    key = "ana.agent.status"
    return Sealed(sequence, "events", key, f"J-{sequence}", "tactium.x", at, b"x" * size)


def open_store(folder: Path) -> Store:
    return Store(folder / "bridge.db", "process", "J", MEMORY)


def commit(store: Store, *sequences: int, settled: int = 0, limit: int = NO_LIMIT) -> None:
    """Commit messages with these numbers."""
    last = max(sequences, default=store.state.sequence)
    state = replace(store.state, sequence=last, first=max(store.first, settled + 1))
    store.commit(News([message(n) for n in sequences]), state, limit)


def copy_of(store: Store, folder: Path) -> Store:
    """Return what a bridge would find that was killed just now."""
    folder.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{store.path}{suffix}", folder)
    return open_store(folder)


@contextmanager
def no_file_more() -> Iterator[None]:
    """Let this process open nothing inside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)  # of the numbers that are free
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    """Messages to the letter, the last number and the journal's id, whoever opens it."""
    store = open_store(tmp_path)
    commit(store, 1, 2, 3)
    store.close()
    again = Store(tmp_path / "bridge.db", "power", "another", MEMORY)
    assert (again.state.journal_id, again.state.sequence) == ("J", 3)
    assert (again.messages, again.bytes, again.first) == (3, 300, 1)
    reader = Reader(again.path)
    assert reader.read(0, 10) == [message(1), message(2), message(3)]
    assert reader.read(1, 1) == [message(2)]
    reader.close()
    again.close()


def test_what_is_settled_is_gone_and_its_number_never_comes_again(tmp_path: Path) -> None:
    """An empty journal still knows the last number it gave."""
    store = open_store(tmp_path)
    commit(store, 1, 2)
    commit(store, 3)
    commit(store, settled=1)
    assert (store.messages, store.first, store.bytes) == (2, 2, 300)
    commit(store, settled=2)
    assert (store.messages, store.first, store.bytes) == (1, 3, 100)
    store.close()
    store = open_store(tmp_path)
    assert (store.messages, store.first, store.bytes) == (1, 3, 100)
    commit(store, settled=3)
    store.close()
    again = open_store(tmp_path)
    assert (again.messages, again.state.sequence, again.first) == (0, 3, 4)
    again.close()


def test_the_oldest_make_way_and_are_counted(tmp_path: Path) -> None:
    """Over the limit whole commits make way; it is known how many messages, from when to when."""
    store = open_store(tmp_path)
    commit(store, 1, 2, 3, limit=450)
    commit(store, 4, settled=1, limit=450)
    commit(store, 5, limit=450)
    at = [START + timedelta(seconds=n) for n in range(8)]
    assert (store.messages, store.first, store.bytes) == (2, 4, 200)
    assert store.state.dropped == Dropped(2, at[2], at[3])  # the first was confirmed
    commit(store, 6, 7, 8, limit=450)
    assert store.state.dropped == Dropped(3, at[2], at[4])
    store.close()
    again = open_store(tmp_path)
    assert (again.messages, again.bytes) == (4, 400)
    assert again.state.dropped == Dropped(3, at[2], at[4])
    again.close()


def test_long_commits_are_cut_into_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In messages and in bytes, and whatever is read of them is the same."""
    monkeypatch.setattr(batch, "MOST_MESSAGES", 3)
    monkeypatch.setattr(batch, "MOST_BYTES", 1_000)
    store = open_store(tmp_path)
    sizes = [1] * 7 + [400, 400, 400, 5_000, 1, 999, 1]
    written = [message(n, size) for n, size in enumerate(sizes, 1)]
    state = replace(store.state, sequence=len(sizes))
    store.commit(News(written), state, NO_LIMIT)
    rows = store._database.execute("SELECT messages, bytes FROM batches").fetchall()
    assert rows == [(3, 3), (3, 3), (3, 801), (1, 400), (1, 5_000), (2, 1_000), (1, 1)]
    reader = Reader(store.path)
    for most in (1, 2, 3, 100):
        found: list[Sealed] = []
        while len(found) < len(written):
            found += reader.read(len(found), most)
        assert found == written
    assert reader.read(5, 100) == written[5:]
    reader.close()
    store.close()


@pytest.mark.parametrize("damage", ["heads = x'5b'", "bodies = x'7b0a7d'", "heads = '[1]'"])
def test_damage_that_sqlite_does_not_see_is_told_too(tmp_path: Path, damage: str) -> None:
    """It checks no page: whoever meets a row that makes no sense says that it is corrupt."""
    store = open_store(tmp_path)
    commit(store, 1)
    commit(store, 2)
    other = sqlite3.connect(store.path)
    other.execute(f"UPDATE batches SET {damage} WHERE last = 1")  # noqa: S608 - our own text
    other.commit()
    other.close()
    reader = Reader(store.path)
    with pytest.raises(JournalCorrupt, match="damaged"):
        reader.read(0, 10)
    with pytest.raises(JournalCorrupt, match="damaged"):
        commit(store, 3, limit=250)
    reader.close()
    store.close()


def test_no_other_file_is_needed(tmp_path: Path) -> None:
    """However many agents changed: a bridge that may open no more files keeps its journal.

    What agents said is in no folder for temporary files either.
    """
    store = open_store(tmp_path)
    names = sorted((f"agent{n:04}" for n in range(3_000)), key=lambda name: name[::-1])
    states: dict[str, bytes | None] = {}
    for last in (1, 2):
        states = {name: orjson.dumps({"raw": "x" * 200 * last}) for name in names}
        state = replace(store.state, sequence=last)
        with no_file_more():
            store.commit(News([message(last)], agents=states), state, NO_LIMIT)
    assert dict(store.agents()) == states
    store.close()


def test_states_come_back_as_they_were(tmp_path: Path) -> None:
    """Whatever the agent's name and the state hold."""
    store = open_store(tmp_path)
    names = ["ana", "é", 'a"b\\c', "a\0b", "\1\x1f", "\U0001f600", "", "$.x", "a.b[0]"]
    states = {name: orjson.dumps({"raw": name, "n": [1.5, None]}) for name in names}
    store.commit(News([], agents=states), store.state, NO_LIMIT)
    assert dict(store.agents()) == states
    store.commit(News([], agents=dict.fromkeys(names[1:])), store.state, NO_LIMIT)
    assert dict(store.agents()) == {"ana": states["ana"]}
    store.close()


def test_what_stands_beside_messages_counts(tmp_path: Path) -> None:
    """Though the other tables hear of it later: a bridge that is killed meanwhile has it all."""
    store = open_store(tmp_path)
    everybody = {"ana": b'{"call":null}', "eva": b"{}", "zoe": b'{"call":{"id":"1"}}'}
    store.commit(News([], agents=everybody), store.state, NO_LIMIT)
    changes: list[dict[str, bytes | None]] = [{"ana": b'{"call":{"id":"2"}}'}, {"zoe": None}, {}]
    dropped = Dropped(3, START, START + timedelta(seconds=1))
    for sequence, agents in enumerate(changes, 1):
        state = replace(store.state, sequence=sequence, heard_at=START, dropped=dropped, epoch=7)
        store.commit(News([message(sequence)], agents=agents), state, NO_LIMIT)
    known = {"ana": b'{"call":{"id":"2"}}', "eva": b"{}"}
    (written,) = store._database.execute("SELECT sequence FROM state").fetchone()
    assert written == 0
    assert dict(store.agents()) == known

    killed = copy_of(store, tmp_path / "killed")
    assert (killed.state, dict(killed.agents())) == (store.state, known)
    assert (killed.messages, killed.bytes) == (3, 300)
    known["eva"] = b'{"code":1}'
    killed.commit(News([], agents={"eva": known["eva"]}), killed.state, NO_LIMIT)  # all tables
    assert dict(killed._database.execute("SELECT agent, state FROM agents")) == known

    later = copy_of(killed, tmp_path / "later")  # where the rows still have what was so before
    assert (later.state, dict(later.agents())) == (store.state, known)
    for each in (store, killed, later):
        each.close()


def test_what_stands_beside_messages_outlives_them(tmp_path: Path) -> None:
    """When they are confirmed and deleted, the other tables have it."""
    store = open_store(tmp_path)
    for sequence in range(1, DELETED_TOGETHER + 1):
        state = replace(store.state, sequence=sequence)
        agents = {f"agent{sequence % 20}": b'{"code":%d}' % sequence}
        store.commit(News([message(sequence)], agents=agents), state, NO_LIMIT)
    known = dict(store.agents())
    assert len(known) == 20
    commit(store, DELETED_TOGETHER + 1, settled=DELETED_TOGETHER)
    store.close()
    again = open_store(tmp_path)
    assert dict(again.agents()) == known
    assert (again.messages, again.bytes, again.first) == (1, 100, DELETED_TOGETHER + 1)
    again.close()


def test_little_stands_beside_messages_only_while_there_are_few(tmp_path: Path) -> None:
    """Where the broker takes none, all tables are kept up to date: nothing grows without need."""
    store = open_store(tmp_path)
    count = MOST_BEHIND + 100
    for sequence in range(1, count + 1):
        state = replace(store.state, sequence=sequence)
        agents: dict[str, bytes | None] = {f"agent{sequence}": b'{"code":%d}' % sequence}
        store.commit(News([message(sequence)], agents=agents), state, NO_LIMIT)
    (written,) = store._database.execute("SELECT sequence FROM state").fetchone()
    assert written == count
    query = "SELECT count(*) FROM batches WHERE beside IS NOT NULL"
    (rows,) = store._database.execute(query).fetchone()
    assert MOST_BEHIND - MOST_BEHIND // MOST_UNFOLDED <= rows < MOST_BEHIND
    assert len(store.agents()) == count
    store.close()


NUMBER_9 = "[[9,1,null,0,null,null,null,0,true],{}]"
FAR_FUTURE = f"[[1,1,{10**18},0,null,null,null,0,true],{{}}]"
TEXTS = ["[", "[1,2]", "[[1,2],{}]", "[[],[]]", "null", NUMBER_9, FAR_FUTURE]


@pytest.mark.parametrize("damage", ["x'ff'", *(f"'{text}'" for text in TEXTS)])
def test_what_stands_beside_messages_may_be_damaged(tmp_path: Path, damage: str) -> None:
    """Then the file is corrupt, and nothing stays locked."""
    store = open_store(tmp_path)
    commit(store, 1)
    store._database.execute(f"UPDATE batches SET beside = {damage}")  # noqa: S608 - our own text
    store.close()
    for _ in range(2):
        with pytest.raises(JournalCorrupt, match="damaged"):
            open_store(tmp_path)


def test_when_tactium_was_last_heard_is_kept(tmp_path: Path) -> None:
    """To the microsecond, for the gap after a restart."""
    store = open_store(tmp_path)
    store.commit(News([]), replace(store.state, heard_at=START), NO_LIMIT)
    store.close()
    again = open_store(tmp_path)
    assert again.state.heard_at == START
    again.close()


@pytest.mark.parametrize("step", ["messages", "state"])
def test_a_commit_is_whole_or_nothing(tmp_path: Path, step: str) -> None:
    """Where one of its steps fails, the file is as before and can be used on."""
    store = open_store(tmp_path)
    commit(store, 1)
    other = sqlite3.connect(store.path)
    event = "BEFORE INSERT ON batches" if step == "messages" else "BEFORE UPDATE ON state"
    other.execute(f"CREATE TRIGGER refusal {event} BEGIN SELECT raise(FAIL, 'no'); END")
    other.commit()
    with pytest.raises(JournalUnwritable, match="no"):
        commit(store, *range(2, 3 + FEW_MESSAGES), settled=1)
    with pytest.raises(JournalUnwritable, match="no"):
        commit(store, *([2] if step == "messages" else []), settled=1)
    other.execute("DROP TRIGGER refusal")
    other.commit()
    other.close()
    assert (store.messages, store.state.sequence) == (1, 1)
    commit(store, 2)
    store.close()
    again = open_store(tmp_path)
    assert (again.messages, again.state.sequence) == (2, 2)
    again.close()


def test_a_journal_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """What it held is there, to the letter, and commands can be noted in it."""
    database = sqlite3.connect(tmp_path / "bridge.db")
    database.executescript((SQL / "schema.1.sql").read_text())
    database.execute("PRAGMA user_version = 1")
    database.execute("INSERT INTO state (journal_id, sequence, dropped) VALUES ('old', 7, 0)")
    kept = [message(5), message(6), message(7)]
    for m in kept:
        row = (m.sequence, m.stream, m.routing_key, m.id, m.type, number(m.time), m.body)
        database.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    database.commit()
    database.close()
    store = open_store(tmp_path)
    assert (store.state.journal_id, store.state.sequence) == ("old", 7)
    assert (store.first, store.messages, store.bytes) == (5, 3, 300)
    reader = Reader(store.path)
    assert reader.read(0, 10) == kept
    reader.close()
    store.commit(News([], [Begun(b"7", b"body", START, b"<jose>$")]), store.state, NO_LIMIT)
    store.close()


def test_commands_are_bounded_in_age_and_number(tmp_path: Path) -> None:
    """The old ones go; past the number the oldest do, and it is known since when they may."""
    store = Store(tmp_path / "bridge.db", "process", "J", Memory(timedelta(hours=1), 300))
    reader = Reader(store.path)
    notes = [Begun(b"%d" % n, b"", START + timedelta(seconds=n), b"") for n in range(1_000)]
    for note in notes:
        store.commit(News([], [note]), store.state, NO_LIMIT)
    known = [n for n in range(1_000) if reader.recall(b"%d" % n)]
    assert known == list(range(known[0], 1_000))
    assert 300 <= len(known) <= 300 + SWEEP_EVERY
    assert store.state.forgot_at == START + timedelta(seconds=known[0] - 1)
    for n in range(SWEEP_EVERY):
        late = Begun(b"late%d" % n, b"", START + timedelta(days=1), b"")
        store.commit(News([], [late]), store.state, NO_LIMIT)
    assert not [n for n in range(1_000) if reader.recall(b"%d" % n)]
    reader.close()
    store.close()


def test_two_bridges_do_not_share_a_journal(tmp_path: Path) -> None:
    """The second is told which process has it; the lock ends with its owner, however it ends."""
    code = (
        "import sys, time; from datetime import timedelta; from pathlib import Path\n"
        "from bridge.journal.commands import Memory; from bridge.journal.store import Store\n"
        "memory = Memory(timedelta(days=1), 1000)\n"
        "store = Store(Path(sys.argv[1]), 'process', 'J', memory); print('open', flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "bridge.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:  # noqa: S603 - our own code
        assert owner.stdout
        assert owner.stdout.readline() == b"open\n"
        with pytest.raises(JournalBusy, match=f"process {owner.pid}"):
            open_store(tmp_path)
        owner.kill()
    open_store(tmp_path).close()


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 8000]
)
def test_a_corrupt_file_is_told_from_one_that_cannot_be_written(
    tmp_path: Path, content: bytes
) -> None:
    """It is no journal, whatever the rights are; nothing stays locked."""
    (tmp_path / "bridge.db").write_bytes(content)
    for _ in range(2):
        with pytest.raises(JournalCorrupt, match=r"bridge\.db"):
            open_store(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message says which file, and why not."""
    with pytest.raises(JournalUnwritable, match="No such file or directory"):
        Store(tmp_path / "nowhere" / "bridge.db", "power", "J", MEMORY)


def test_a_newer_journal_is_left_alone(tmp_path: Path) -> None:
    """A file that a newer bridge has written is not touched, and the message says what to do."""
    store = open_store(tmp_path)
    store.close()
    database = sqlite3.connect(store.path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    before = store.path.read_bytes()
    with pytest.raises(JournalUnwritable, match="newer bridge"):
        open_store(tmp_path)
    assert store.path.read_bytes() == before


@pytest.mark.parametrize(("durability", "synchronous"), [("power", 2), ("process", 1)])
def test_durability_is_sqlites_synchronous(
    tmp_path: Path, durability: str, synchronous: int
) -> None:
    """`power` is FULL and survives a power cut; `process` is NORMAL and survives a kill."""
    store = Store(tmp_path / "bridge.db", durability, "J", MEMORY)  # type: ignore[arg-type]
    (mode,) = store._database.execute("PRAGMA journal_mode").fetchone()
    (level,) = store._database.execute("PRAGMA synchronous").fetchone()
    store.close()
    assert (mode, level) == ("wal", synchronous)
