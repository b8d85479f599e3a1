"""The journal as the bridge sees it: over restarts, a full disk, a corrupt file."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.core.calls import Calls
from bridge.core.journal import Remembered
from bridge.core.notes import Begun, Ended, Learned
from bridge.errors import JournalBusy, JournalUnwritable
from bridge.journal import committer, durable, recent, store, writer
from bridge.journal.commands import Memory
from bridge.journal.durable import DurableJournal
from bridge.journal.files import Files
from bridge.journal.store import News, Store
from bridge.messages.envelope import Envelope, Sealed
from bridge.messages.events import AgentStatus
from bridge.messages.notices import CommandEnded
from bridge.messages.replies import Outcome, SealedReply
from bridge.observe.watch import Watch
from bridge.settings import JournalSettings
from tests.integration.site import until

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
PATIENCE_SECONDS = 10.0
NOBODY = Watch(site="main", mask=True, max_bytes=1, agents=Calls(str, str), clock=lambda: START)  # type: ignore[arg-type]
"""Whom nobody asks what it has seen."""


def status(number: int) -> AgentStatus:
    return AgentStatus("ana", number, "unknown", f"<ana><S><{number}>$")


def journal_in(folder: Path, **settings: Any) -> DurableJournal:
    ids = count(1)
    chosen = JournalSettings(path=folder / "bridge.db", **settings)
    files = Files(
        chosen,
        Memory(timedelta(days=1), 1_000),
        envelope_of=lambda journal_id: Envelope(site="main", journal_id=journal_id),
        new_id=lambda: f"J{next(ids)}",
        clock=lambda: datetime.now(UTC),
    )
    return DurableJournal(chosen, files, lambda: datetime.now(UTC), NOBODY)


@asynccontextmanager
async def running(journal: DurableJournal) -> AsyncIterator[DurableJournal]:
    """Open it, run it inside, and close it."""
    journal.open()
    writing = asyncio.create_task(journal.run())
    try:
        yield journal
    finally:
        writing.cancel()
        await asyncio.wait((writing,))
        await journal.close()


async def read(journal: DurableJournal, after: int, most: int = 10_000) -> Sequence[Sealed]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await journal.read(after, most)


async def read_all(journal: DurableJournal, through: int) -> list[Sealed]:
    found: list[Sealed] = []
    while not found or found[-1].sequence < through:
        found += await read(journal, found[-1].sequence if found else journal.settled)
    return found


def codes(messages: Sequence[Sealed]) -> list[int]:
    return [json.loads(message.body)["data"]["code"] for message in messages]


async def test_order_and_numbers(tmp_path: Path) -> None:
    """What comes is read in order, numbered from 1, and stays what it is until it is settled."""
    async with running(journal_in(tmp_path)) as journal:
        await journal.append([status(n) for n in range(3)], START)
        await journal.append([status(3)], START + timedelta(seconds=1))
        first = await read_all(journal, 4)
        assert codes(first) == [0, 1, 2, 3]
        assert [message.sequence for message in first] == [1, 2, 3, 4]
        assert [message.id for message in first] == [f"J1-{n:020}" for n in (1, 2, 3, 4)]
        assert await read(journal, 1, 2) == first[1:3]
        assert await read_all(journal, 4) == first


async def test_what_is_not_settled_comes_again_after_a_restart(tmp_path: Path) -> None:
    """The same ids, the same bodies; and numbering goes on behind the last one."""
    async with running(journal_in(tmp_path)) as journal:
        await journal.append([status(n) for n in range(5)], START)
        before = await read_all(journal, 5)
        journal.settle(2)
    async with running(journal_in(tmp_path)) as journal:
        assert journal.settled == 2
        await journal.append([status(5)], START)
        after = await read_all(journal, 6)
        assert after[:3] == before[2:]
        assert after[3].id == f"J1-{6:020}"
        journal.settle(6)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await journal.drained()
    async with running(journal_in(tmp_path)) as journal:
        assert journal.settled == 6


async def test_what_was_appended_just_before_the_close_is_kept(tmp_path: Path) -> None:
    """Nothing that was taken is left in memory."""
    async with running(journal_in(tmp_path)) as journal:
        await journal.append([status(n) for n in range(5000)], START)
    async with running(journal_in(tmp_path)) as journal:
        assert codes(await read_all(journal, 5000)) == list(range(5000))


async def test_a_stop_in_the_middle_of_a_commit_numbers_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread finishes what it has begun, so the close must not write it again."""
    commit = Store.commit

    def slowly(store: Store, *arguments: Any) -> None:
        time.sleep(0.1)
        commit(store, *arguments)

    monkeypatch.setattr(Store, "commit", slowly)
    for round_number in range(3):
        async with running(journal_in(tmp_path)) as journal:
            await journal.append([status(2 * round_number)], START)
            await asyncio.sleep(0.05)
            await journal.append([status(2 * round_number + 1)], START)
    async with running(journal_in(tmp_path)) as journal:
        assert codes(await read_all(journal, 6)) == list(range(6))
        assert journal._files.store.messages == 6


async def test_a_reader_far_behind_reads_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory keeps only the latest; from the first to the last everything comes, in order."""
    monkeypatch.setattr(recent, "MOST_BYTES", 4_000)
    async with running(journal_in(tmp_path)) as journal:
        for n in range(200):
            await journal.append([status(n)], START)
            await asyncio.sleep(0)
        found: list[Sealed] = []
        while len(found) < 200:
            found += await read(journal, len(found), 7)
        assert codes(found) == list(range(200))
        await journal.append([status(200)], START)
        assert codes(await read(journal, 200, 7)) == [200]
        assert 0 < len(journal._outlet._recent) <= 10


async def test_a_full_journal_drops_the_oldest_and_says_so(tmp_path: Path) -> None:
    """One error while it is full; one gap with the true count and times when it has room again."""
    journal = journal_in(tmp_path, max_bytes=1024 * 1024)
    with capture_logs() as logs:
        async with running(journal):
            for n in range(4000):
                await journal.append([status(n)], START + timedelta(seconds=n))
            await read(journal, 3999)
            kept = await read_all(journal, 4000)
            dropped = 4000 - len(kept)
            assert 0 < dropped < 4000
            assert codes(kept) == list(range(dropped, 4000))
            journal.settle(4000)
            (told,) = await read(journal, 4000)
            gap = json.loads(told.body)
            journal.settle(told.sequence)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await journal.drained()
    assert gap["type"] == "tactium.bridge.gap"
    last = START + timedelta(seconds=dropped - 1)
    assert gap["data"] == {
        "from": "2026-11-22T12:00:00.000000Z",
        "to": f"{last:%Y-%m-%dT%H:%M:%S}.000000Z",
        "cause": "journal_full",
        "dropped": dropped,
    }
    said = [line["event"] for line in logs if line["event"].startswith("journal")]
    assert said == ["journal_full", "journal_has_room_again"]


async def test_a_full_journal_has_room_again_when_the_broker_takes_some(tmp_path: Path) -> None:
    """Not when much makes way at once: a gap for each of those would fill it as well."""
    journal = journal_in(tmp_path, max_bytes=1024 * 1024)
    long = AgentStatus("ana", 1, "available", "x" * 3_000)
    with capture_logs() as logs:
        async with running(journal):
            for _ in range(20):
                await journal.append([long] * 100, START)
            said = [line["event"] for line in logs if line["event"].startswith("journal")]
            assert said == ["journal_full"]
            journal.settle(2_000)
            (told,) = await read(journal, 2_000)
            gap = json.loads(told.body)["data"]
    said = [line["event"] for line in logs if line["event"].startswith("journal")]
    assert said == ["journal_full", "journal_has_room_again"]
    assert (gap["cause"], gap["dropped"] % 100) == ("journal_full", 0)


async def test_a_full_journal_can_pause_the_reading_instead(tmp_path: Path) -> None:
    """With `pause_reading` nothing is dropped: who appends waits until there is room."""
    journal = journal_in(tmp_path, max_bytes=1024 * 1024, when_full="pause_reading")
    async with running(journal):
        appended = 0

        async def hear() -> None:
            nonlocal appended
            for n in range(20_000):
                await journal.append([status(n)], START)
                appended += 1

        hearing = asyncio.create_task(hear())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while journal._committer._room._free.is_set():  # noqa: ASYNC110 - the pause is what is waited for
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert appended < 20_000
        found: list[Sealed] = []
        while len(found) < 20_000:
            found += await read(journal, len(found))
            journal.settle(len(found))
        await hearing
        assert codes(found) == list(range(20_000))


def told(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the journal has said."""
    return [line["event"] for line in logs if line["event"].startswith("journal_")]


def fill(database: sqlite3.Connection) -> None:
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")


@pytest.mark.parametrize(
    ("hurt", "heal", "reason"),
    [
        (fill, "PRAGMA max_page_count = 1000000", "full"),
        (
            lambda database: database.execute("PRAGMA query_only = 1"),
            "PRAGMA query_only = 0",
            "read",
        ),
    ],
)
async def test_a_disk_that_takes_nothing_stops_nothing(
    tmp_path: Path, hurt: Callable[[sqlite3.Connection], object], heal: str, reason: str
) -> None:
    """Events wait in memory, in order; one error, and one line when the disk takes them."""
    journal = journal_in(tmp_path)
    with capture_logs() as logs:
        async with running(journal):
            await journal.append([status(0)], START)
            await read(journal, 0)
            hurt(journal._files.store._database)
            for n in range(1, 500):
                await journal.append([status(n)], START)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not told(logs):  # noqa: ASYNC110 - a log line is what is waited for
                    await asyncio.sleep(0.01)
            journal._files.store._database.execute(heal)
            assert codes(await read_all(journal, 500)) == list(range(500))
    assert told(logs) == ["journal_unwritable", "journal_writable"]
    (said,) = [line for line in logs if line["event"] == "journal_unwritable"]
    assert reason in said["reason"]


async def test_a_disk_with_little_room_is_left_to_what_is_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting needs room too: nothing new is taken, but what is settled goes and makes some."""
    monkeypatch.setattr(store, "ROOM_SECONDS", 0.0)
    journal = journal_in(tmp_path)
    with capture_logs() as logs:
        async with running(journal):
            await journal.append([status(n) for n in range(5_000)], START)
            await read_all(journal, 5_000)
            whole = os.statvfs(tmp_path)
            little = SimpleNamespace(f_blocks=whole.f_blocks, f_frsize=whole.f_frsize, f_bavail=1)
            monkeypatch.setattr(os, "statvfs", lambda _: little)
            monkeypatch.setattr(store, "MOST_RESERVED_BYTES", 1024 * 1024)
            await journal.append([status(5_000)], START)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not told(logs):  # noqa: ASYNC110 - a log line is what is waited for
                    await asyncio.sleep(0.01)
            journal.settle(4_999)
            assert codes(await read(journal, 5_000)) == [5_000]
            assert journal._files.store.messages == 2
    assert told(logs) == ["journal_unwritable", "journal_writable"]


async def test_a_sign_of_life_is_no_later_than_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two commits, the gap must begin before what was not in the first."""
    monkeypatch.setattr(committer, "MOST_AT_ONCE", 10)
    journal = journal_in(tmp_path)
    journal.open()
    await journal.append([status(n) for n in range(10)], START)
    await journal.append([status(n) for n in range(10, 15)], START)
    journal.heard(START + timedelta(seconds=1))
    await journal._committer._commit()
    assert journal._files.store.state.heard_at is None
    await journal._committer._commit()
    assert journal._files.store.state.heard_at == START + timedelta(seconds=1)
    await journal.close()


async def test_what_waits_for_the_disk_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the bound the oldest go, and a gap says how many when the disk is back."""
    monkeypatch.setattr(committer, "MOST_WAITING", 100)
    journal = journal_in(tmp_path)
    journal.open()
    for n in range(150):
        await journal.append([status(n)], START)
    writing = asyncio.create_task(journal.run())
    found = await read_all(journal, 101)
    assert codes(found[:100]) == list(range(50, 150))
    assert json.loads(found[100].body)["data"]["dropped"] == 50
    writing.cancel()
    await asyncio.wait((writing,))
    await journal.close()


async def test_a_corrupt_file_is_set_aside(tmp_path: Path) -> None:
    """A new journal begins, the old file is kept, and a gap can begin where it ended."""
    (tmp_path / "bridge.db").write_bytes(b"this is no database" * 100)
    with capture_logs() as logs:
        async with running(journal_in(tmp_path)) as journal:
            assert journal.heard_at is not None
            await journal.append([status(1)], START)
            (message,) = await read(journal, 0)
            assert message.sequence == 1
    (line,) = logs
    assert line["event"] == "journal_corrupt"
    with open(line["set_aside"], "rb") as kept:  # noqa: ASYNC230, PTH123 - a small local file
        assert kept.read().startswith(b"this is no database")


TRACE = CommandEnded("7", "pause", "ana", "crm", "ok", None, 0.1, None, None)
REPLY = SealedReply("7", Outcome.OK, "", b"{}")


async def test_commands_are_remembered_over_a_restart(tmp_path: Path) -> None:
    """First as begun, then with the first reply; its trace is published with it."""
    async with running(journal_in(tmp_path)) as journal:
        assert await journal.recall(b"7") is None
        await journal.begin(b"7", b"body", b"<jose><L><OFF>$", START)
        assert await journal.recall(b"7") == Remembered(b"body", begun=True, reply=None)
    async with running(journal_in(tmp_path)) as journal:
        assert await journal.recall(b"7") == Remembered(b"body", begun=True, reply=None)
        await journal.end(TRACE, START, identity=b"7", digest=b"body", reply=REPLY)
        (message,) = await read(journal, 0)
        assert message.type == "tactium.bridge.command.ok"
    async with running(journal_in(tmp_path)) as journal:
        assert await journal.recall(b"7") == Remembered(b"body", begun=True, reply=REPLY)


async def test_what_is_old_says_nothing_against_what_is_newer(tmp_path: Path) -> None:
    """Another bridge tells what it noted before, while it tells what it notes now."""
    begun = Begun(b"7", b"body", START, b"<jose><L><OFF>$")
    ended = Ended(b"7", b"body", START, REPLY)
    later = Begun(b"7", b"body", START + timedelta(seconds=1), b"<jose><L><OFF>$")
    async with running(journal_in(tmp_path)) as journal:

        async def knows(*learned: Learned) -> Remembered | None:
            for each in learned:
                journal.learn(each)
            await journal.begin(b"other", b"body", b"<jose><L><OFF>$", START)
            return await journal.recall(b"7")

        answered = Remembered(b"body", begun=True, reply=REPLY)
        assert await knows(Learned(begun, is_old=True)) == replace(answered, reply=None)
        assert await knows(Learned(ended, is_old=True)) == answered
        assert await knows(Learned(begun, is_old=True)) == answered
        assert await knows(Learned(later, is_old=False)) == replace(answered, reply=None)
        assert await knows(Learned(ended, is_old=True)) == replace(answered, reply=None)
        assert await knows(Learned(replace(ended, at=later.at), is_old=True)) == answered


async def test_who_takes_over_knows_all_that_was_learned_or_that_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last command of the one that died is on the disk before the next one is run."""
    monkeypatch.setattr(durable, "DISK_PATIENCE_SECONDS", 0.05)
    note = Learned(Begun(b"7", b"body", START, b"frame"), is_old=False)
    journal = journal_in(tmp_path)
    journal.open()
    await journal.met_new_queue()
    journal.learn(note)
    await journal.know_all()
    assert journal.forgot_at is not None
    writing = asyncio.create_task(journal.run())
    await journal.know_all()
    assert await journal.recall(b"7") == Remembered(b"body", begun=True, reply=None)
    writing.cancel()
    await asyncio.wait((writing,))
    await journal.close()


async def test_what_is_learned_and_waits_for_the_disk_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest notes go, and it is known that they are missing; states stay, one for each."""
    monkeypatch.setattr(committer, "MOST_WAITING", 100)
    monkeypatch.setattr(durable, "DISK_PATIENCE_SECONDS", 0.01)
    journal = journal_in(tmp_path)
    journal.open()
    await journal.met_new_queue()
    before = journal.forgot_at
    for n in range(150):
        await journal.append([], START, {f"agent{n % 7}": b'{"code":%d}' % n})
    for n in range(150):
        journal.learn(Learned(Begun(b"%d" % n, b"body", START, b"frame"), is_old=False))
    assert (before is None, journal.forgot_at is None) == (True, False)
    assert "<Waiting: 100 entries>" in repr(journal)
    await journal.close()
    async with running(journal_in(tmp_path)) as again:
        assert dict(again.agents())["agent6"] == b'{"code":146}'


async def test_a_new_journal_knows_that_it_knows_nothing(tmp_path: Path) -> None:
    """Another may have been there before, unless the queue of the commands is new as well."""
    async with running(journal_in(tmp_path)) as journal:
        assert journal.forgot_at is not None
    async with running(journal_in(tmp_path)) as journal:
        before = journal.forgot_at
        await journal.met_new_queue()
        after = journal.forgot_at
    assert (before is None, after is None) == (False, True)
    async with running(journal_in(tmp_path)) as journal:
        assert journal.forgot_at is None


async def test_a_command_that_nobody_waits_for_any_more_is_not_noted(tmp_path: Path) -> None:
    """Its deadline passed while the disk took nothing: it was never begun."""
    journal = journal_in(tmp_path)
    journal.open()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await journal.begin(b"7", b"body", b"<jose><L><OFF>$", START)
    writing = asyncio.create_task(journal.run())
    await journal.begin(b"8", b"body", b"<jose><L><OFF>$", START)
    assert await journal.recall(b"7") is None
    assert await journal.recall(b"8") is not None
    writing.cancel()
    await asyncio.wait((writing,))
    await journal.close()


async def test_a_journal_set_aside_has_forgotten(tmp_path: Path) -> None:
    """Who asks for a command that may have been in it must not be told that it never was."""
    (tmp_path / "bridge.db").write_bytes(b"this is no database" * 100)
    async with running(journal_in(tmp_path)) as journal:
        assert journal.forgot_at is not None
        await journal.begin(b"7", b"body", b"<jose><L><OFF>$", START)
    async with running(journal_in(tmp_path)) as journal:
        assert journal.forgot_at is not None


async def test_what_the_reader_finds_corrupt_is_set_aside(tmp_path: Path) -> None:
    """A bad page under a backlog: a new file, a gap that says what is lost, and on it goes."""
    journal = journal_in(tmp_path)
    with capture_logs() as logs:
        async with running(journal):
            await journal.append([status(n) for n in range(5_000)], START)
            await journal.begin(b"7", b"body", b"<jose><L><OFF>$", START)
            journal._outlet._recent = recent.Recent()
            other = sqlite3.connect(tmp_path / "bridge.db")
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            other.close()
            with (tmp_path / "bridge.db").open("r+b") as file:
                file.seek(200 * 4096)
                file.write(b"\xff" * 4096 * 100)
            found: list[Sealed] = []
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not found or found[-1].type != "tactium.bridge.gap":
                    found += await journal.read(found[-1].sequence if found else 0, 500)
    assert "journal_corrupt" in told(logs)
    assert found[-1].sequence > 5_000


async def test_a_stop_waits_for_no_room(tmp_path: Path) -> None:
    """With `pause_reading` and a full journal, whoever appends goes on once a stop is under way."""
    journal = journal_in(tmp_path, max_bytes=1024 * 1024, when_full="pause_reading")
    async with running(journal):
        hearing = asyncio.create_task(journal.append([status(n) for n in range(9_000)], START))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not journal._committer._room._is_full:  # noqa: ASYNC110 - that is what is waited for
                await asyncio.sleep(0.01)
        blocked = asyncio.create_task(journal.append([status(0)], START))
        await asyncio.sleep(0.05)
        assert not blocked.done()
        journal.hurry()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await blocked
            await hearing


async def test_a_journal_behind_a_link_is_the_same(tmp_path: Path) -> None:
    """However it is called, it is in use."""
    (tmp_path / "other.db").symlink_to(tmp_path / "bridge.db")
    async with running(journal_in(tmp_path)):
        settings = JournalSettings(path=tmp_path / "other.db")
        with pytest.raises(JournalBusy):
            store.Store(settings.path, "process", "J", Memory(timedelta(days=1), 1_000))


def states(count_of_them: int) -> dict[str, bytes | None]:
    return {f"agent{n}": b"{}" for n in range(count_of_them)}


async def test_states_cost_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come at once, what waits to be published is not dropped for them."""
    monkeypatch.setattr(committer, "MOST_WAITING", 100)
    journal = journal_in(tmp_path)
    journal.open()
    await journal.append([status(n) for n in range(10)], START)
    await journal.append([], START, states(5_000))
    writing = asyncio.create_task(journal.run())
    assert codes(await read_all(journal, 10)) == list(range(10))
    writing.cancel()
    await asyncio.wait((writing,))
    await journal.close()
    again = journal_in(tmp_path)
    again.open()
    assert len(list(again.agents())) == 5_000
    await again.close()


async def test_the_latest_state_is_what_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the disk fails, and where memory had to let events go meanwhile."""
    monkeypatch.setattr(committer, "MOST_WAITING", 5)
    journal = journal_in(tmp_path)
    journal.open()
    await journal.append([status(1)], START, {"ana": b'{"n":1}'})
    with monkeypatch.context() as broken:
        broken.setattr(Store, "commit", _refuse)
        with pytest.raises(JournalUnwritable):
            await journal._committer._commit()
        await journal.append([status(2)], START, {"ana": b'{"n":2}'})
        await journal.append([status(n) for n in range(10)], START)  # the second is shed
        with pytest.raises(JournalUnwritable):
            await journal._committer._commit()
    await journal.close()
    again = journal_in(tmp_path)
    again.open()
    assert list(again.agents()) == [("ana", b'{"n":2}')]
    await again.close()


def _refuse(*_: object) -> None:
    raise JournalUnwritable("no")


async def test_what_happened_together_is_committed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event is never on the disk without the state that it led to."""
    monkeypatch.setattr(committer, "MOST_AT_ONCE", 3)
    journal = journal_in(tmp_path)
    journal.open()
    await journal.append([status(n) for n in range(10)], START, {"ana": b'{"after":"all"}'})
    await journal.append([status(10)], START, {"ana": b'{"later":true}'})
    await journal._committer._commit()
    assert journal._files.store.messages == 10
    assert journal._files.store.agents() == [("ana", b'{"after":"all"}')]
    await journal.close()


@pytest.mark.parametrize("comes", [True, False])
async def test_what_belongs_together_is_committed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, comes: bool
) -> None:
    """The answer to a command and the command's end: or by itself, a moment later."""
    commits: list[int] = []
    async with running(journal_in(tmp_path)) as journal:
        await asyncio.sleep(0.1)
        store = journal._files.store
        commit = store.commit

        def counted(news: News, *others: Any) -> None:
            commits.append(len(news.messages))
            commit(news, *others)

        monkeypatch.setattr(store, "commit", counted)
        await journal.append([status(1)], START, more_comes=True)
        assert commits == []
        if comes:
            await journal.end(TRACE, START, identity=b"7", digest=b"body", reply=REPLY)
            assert commits == [2]
        found = await read_all(journal, 2 if comes else 1)
        assert [each.type for each in found] == [
            "tactium.agent.status",
            "tactium.bridge.command.ok",
        ][: 1 + comes]
        assert commits == [1 + comes]


async def test_nobody_waits_until_it_is_watched(tmp_path: Path) -> None:
    """Whoever waits for a commit goes on before it is counted and shown."""
    seen: list[str] = []
    async with running(journal_in(tmp_path)) as journal:
        await asyncio.sleep(0.1)
        watched = SimpleNamespace(**{name: getattr(NOBODY, name) for name in dir(NOBODY)})
        watched.committed = lambda messages, _agents: seen.append(messages[0].type)
        journal._committer._observer = watched
        await journal.end(TRACE, START, identity=b"7", digest=b"body", reply=REPLY)
        seen.append("told")
        await until(lambda: len(seen) == 2)
    assert seen == ["told", "tactium.bridge.command.ok"]


async def test_damaged_states_are_set_aside_with_their_file(tmp_path: Path) -> None:
    """Whatever page is bad: the bridge starts."""
    async with running(journal_in(tmp_path)) as journal:
        await journal.append(
            [status(1)], START, {f"a{n}": b"[%s]" % b"1,".ljust(999, b"2") for n in range(500)}
        )
        await read(journal, 0)
        await asyncio.sleep(0.1)
    with (tmp_path / "bridge.db").open("r+b") as file:
        file.seek(0, os.SEEK_END)
        size = file.tell()
        for at in range(20 * 4096, size, 4096):
            file.seek(at)
            file.write(b"\xff" * 4096)
    with capture_logs() as logs:
        async with running(journal_in(tmp_path)) as journal:
            assert list(journal.agents()) == []
    assert "journal_corrupt" in told(logs)


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("is_slow", [False, True])
async def test_every_way_of_writing_keeps_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str, *, is_slow: bool
) -> None:
    """Few at once and many, on a quick disk and on a slow one, at a steady pace and in bursts."""
    monkeypatch.setattr(writer, "QUICK_SECONDS", -1.0 if is_slow else 60.0)
    async with running(journal_in(tmp_path, durability=durability)) as journal:
        await asyncio.sleep(0.01)
        sent = 0
        for turn in range(200):
            count = 300 if turn % 50 == 0 else 1 + turn % 3
            await journal.append([status(sent + n) for n in range(count)], START)
            sent += count
            if turn % 7 == 0:
                await asyncio.sleep(0)
        assert codes(await read_all(journal, sent)) == list(range(sent))


async def test_few_messages_are_written_at_once(tmp_path: Path) -> None:
    """Nothing has to be waited for: they can be read when they are appended."""
    async with running(journal_in(tmp_path, durability="process")) as journal:
        await asyncio.sleep(0.05)
        await journal.append([status(1)], START)
        assert journal._files.store.state.sequence == 1


async def test_a_journal_in_use_is_refused(tmp_path: Path) -> None:
    """A second bridge on the same file is told so, and disturbs nothing."""
    async with running(journal_in(tmp_path)) as journal:
        with pytest.raises(JournalBusy):
            journal_in(tmp_path).open()
        await journal.append([status(1)], START)
        assert codes(await read(journal, 0)) == [1]


async def test_the_last_sign_of_life_outlives_the_process(tmp_path: Path) -> None:
    """It is what the gap after a restart begins with; a new journal has none."""
    async with running(journal_in(tmp_path)) as journal:
        assert journal.heard_at is None
        journal.heard(START)
    async with running(journal_in(tmp_path)) as journal:
        assert journal.heard_at == START
