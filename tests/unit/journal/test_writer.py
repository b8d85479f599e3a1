"""Where commits are written: at once where that is quick, else in a thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from bridge.journal import writer as module
from bridge.journal.writer import Writer


def fail() -> None:
    raise OSError("no")


async def test_what_was_written_is_told_before_anybody_else_has_a_turn() -> None:
    """Whoever waits for it need not be woken first."""
    writer, told = Writer(), list[str]()
    ended = writer.begin(lambda: told.append(threading.current_thread().name), told.clear)
    await asyncio.wait((ended,))
    assert (ended.result(), told) == (None, [])
    writer.close()


async def test_what_fails_is_raised_and_not_told_as_written() -> None:
    """In both ways of writing."""
    writer, told = Writer(), list[str]()
    with pytest.raises(OSError, match="no"):
        await writer.write(fail, lambda: told.append("written"))
    with pytest.raises(OSError, match="no"):
        writer.write_here(fail)
    assert not told
    writer.close()


async def test_who_is_cancelled_waits_for_what_is_being_written() -> None:
    """It is told of: what the thread has written has its number."""
    writer, may_end, told = Writer(), threading.Event(), list[str]()
    writing = asyncio.create_task(writer.write(may_end.wait, lambda: told.append("written")))
    await asyncio.sleep(0.01)
    writing.cancel()
    await asyncio.sleep(0.01)
    assert not writing.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert told == ["written"]
    writer.close()


async def test_a_disk_that_was_slow_once_is_left_to_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For a while, and not for ever."""
    monkeypatch.setattr(module, "SLOW_FOR_SECONDS", 0.05)
    writer = Writer()
    writer.write_here(lambda: None)
    was_quick = [writer.is_quick]
    monkeypatch.setattr(module, "QUICK_SECONDS", -1.0)
    writer.write_here(lambda: None)
    was_quick.append(writer.is_quick)
    await asyncio.sleep(0.1)
    assert [*was_quick, writer.is_quick] == [True, False, True]
    writer.close()
