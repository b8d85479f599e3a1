"""Order, numbers and bounds of the journal in memory (contract.md §2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from bridge.journal.memory import MemoryJournal
from bridge.messages.envelope import Envelope, Occurrence, Sealed
from bridge.messages.events import AgentStatus
from bridge.messages.notices import LinkUp

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PATIENCE_SECONDS = 5.0


def journal_of(most: int = 100) -> MemoryJournal:
    return MemoryJournal(Envelope(site="main", journal_id="j"), most)


def said(*codes: int) -> list[Occurrence]:
    return [AgentStatus("jose", code, "unknown", "") for code in codes]


def codes(messages: Sequence[Sealed]) -> list[int]:
    return [json.loads(message.body)["data"]["code"] for message in messages]


async def everything(journal: MemoryJournal, after: int = 0) -> Sequence[Sealed]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await journal.read(after, 1_000_000)


async def test_messages_are_numbered_in_their_order() -> None:
    """From one, without a hole, over many appends and over both exchanges together."""
    journal = journal_of()
    await journal.append(said(10, 11), AT)
    await journal.append([LinkUp("socket", "p", "r"), *said(12)], AT + timedelta(seconds=1))
    messages = await everything(journal)
    assert [message.sequence for message in messages] == [1, 2, 3, 4]
    assert [message.id for message in messages] == [f"j-{n:020}" for n in (1, 2, 3, 4)]
    assert [message.stream for message in messages] == ["events", "events", "bridge", "events"]
    assert [message.time - AT for message in messages] == [timedelta(0)] * 2 + [
        timedelta(seconds=1)
    ] * 2
    assert codes([messages[0], messages[1], messages[3]]) == [10, 11, 12]


@pytest.mark.parametrize(
    ("after", "most", "expected"),
    [
        (0, 100, [1, 2, 3, 4, 5]),
        (0, 2, [1, 2]),
        (2, 2, [3, 4]),
        (4, 2, [5]),
        (3, 1, [4]),
    ],
)
async def test_reading_goes_on_where_one_wants(after: int, most: int, expected: list[int]) -> None:
    """So many at most, of those behind a number; reading takes nothing away."""
    journal = journal_of()
    await journal.append(said(1, 2, 3, 4, 5), AT)
    for _ in range(2):
        assert [message.sequence for message in await journal.read(after, most)] == expected


async def test_reading_behind_the_last_waits_for_the_next() -> None:
    """It returns with the next message and not before, and not with an older one."""
    journal = journal_of()
    await journal.append(said(1, 2), AT)
    reading = asyncio.create_task(journal.read(2, 10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not reading.done()
    await journal.append(said(3), AT)
    assert codes(await reading) == [3]


@pytest.mark.parametrize("through", [0, 1, 3, 5])
async def test_what_is_settled_is_forgotten(through: int) -> None:
    """All up to the number, and no more; numbers go on, whatever was settled."""
    journal = journal_of()
    assert journal.settled == 0
    await journal.append(said(1, 2, 3, 4, 5), AT)
    journal.settle(through)
    assert journal.settled == through
    await journal.append(said(6), AT)
    messages = await everything(journal)
    assert codes(messages) == list(range(through + 1, 7))
    assert [message.sequence for message in messages] == codes(messages)


async def test_settling_never_goes_back() -> None:
    """A confirmation that comes late takes nothing back and brings nothing back."""
    journal = journal_of()
    await journal.append(said(1, 2, 3), AT)
    journal.settle(2)
    journal.settle(1)
    assert journal.settled == 2
    assert codes(await everything(journal)) == [3]


async def test_drained_when_everything_is_settled() -> None:
    """At once where there is nothing; else with the last confirmation and not before."""
    journal = journal_of()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await journal.drained()
        await journal.append(said(1, 2), AT)
        draining = asyncio.create_task(journal.drained())
        await asyncio.sleep(0)
        journal.settle(1)
        await asyncio.sleep(0)
        assert not draining.done()
        journal.settle(2)
        await draining
        await journal.append(said(3), AT)
        again = asyncio.create_task(journal.drained())
        await asyncio.sleep(0)
        assert not again.done()
        again.cancel()


async def test_appending_nothing_changes_nothing() -> None:
    """An empty journal is still drained after it."""
    journal = journal_of()
    await journal.append([], AT)
    async with asyncio.timeout(PATIENCE_SECONDS / 10):
        await journal.drained()


async def test_past_the_bound_the_oldest_make_way() -> None:
    """The newest are kept with their numbers; a reader who was behind finds the next there is."""
    journal = journal_of(most=3)
    await journal.append(said(1, 2, 3), AT)
    with capture_logs():
        await journal.append(said(4, 5), AT)
    for after in (0, 1, 2):
        messages = await everything(journal, after)
        assert [message.sequence for message in messages] == codes(messages) == [3, 4, 5]
    assert codes(await everything(journal, after=3)) == [4, 5]


async def test_more_than_the_bound_at_once() -> None:
    """One read can bring more than there is room for; its newest are kept."""
    journal = journal_of(most=3)
    with capture_logs():
        await journal.append(said(*range(1, 11)), AT)
    assert codes(await everything(journal)) == [8, 9, 10]
    assert journal.settled == 0


async def test_exactly_full_drops_nothing() -> None:
    """The bound is how many there may be."""
    journal = journal_of(most=3)
    with capture_logs() as logs:
        await journal.append(said(1, 2, 3), AT)
        journal.settle(1)
        await journal.append(said(4), AT)
    assert codes(await everything(journal)) == [2, 3, 4]
    assert logs == []


async def test_dropping_is_said_once_an_episode() -> None:
    """An error when it begins, one line with the number of the dropped when it is over."""
    journal = journal_of(most=2)
    for _ in range(2):
        with capture_logs() as logs:
            for code in range(10):
                await journal.append(said(code), AT)
            assert [(line["event"], line["log_level"]) for line in logs] == [
                ("journal_full", "error")
            ]
            journal.settle(journal.settled + 9)
            assert len(logs) == 1
            journal.settle(journal.settled + 1)
        assert len(logs) == 2
        assert logs[1]["dropped"] == 8
