"""In what order a command's end becomes known: here first, its trace with it, then elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from bridge.core import shared_log
from bridge.core.journal import CommandLog
from bridge.core.shared_log import SharedLog
from bridge.errors import JournalUnwritable
from bridge.messages.notices import CommandEnded
from bridge.messages.replies import Outcome, SealedReply
from tests.integration.site import until

NOW = datetime(2026, 11, 26, tzinfo=UTC)
REPLY = SealedReply("1", Outcome.OK, "", b"{}")


class Site:
    """A journal that takes what it is given once it `may`, and the one who stands by."""

    def __init__(self, failure: Exception | None = None, *, are_there: bool = True) -> None:
        self.may = asyncio.Event()
        self.knew: list[str] = []
        self.are_there = are_there
        self._failure = failure

    async def end(self, *_: Any, **__: Any) -> None:
        """Keep how a command ended."""
        await self.may.wait()
        if self._failure is not None:
            raise self._failure
        self.knew.append("journal")

    async def tell(self, *_: Any) -> None:
        """Let the other one know it, if it is there."""
        if self.are_there:
            self.knew.append("standby")


def ending(site: Site, identity: bytes | None = b"1") -> asyncio.Task[None]:
    log = SharedLog(cast("CommandLog", site), site)
    trace = cast("CommandEnded", None)  # it is passed on as it is
    return asyncio.create_task(log.end(trace, NOW, identity=identity, digest=b"", reply=REPLY))


async def test_the_other_one_hears_what_the_journal_has() -> None:
    """Killed in between, this bridge left no answer elsewhere whose trace nobody has."""
    site = Site()
    task = ending(site)
    await asyncio.sleep(0.05)
    assert site.knew == []
    site.may.set()
    await task
    assert site.knew == ["journal", "standby"]


async def test_a_disk_that_hangs_keeps_the_end_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply goes out after a while all the same, so the other one has to know it."""
    monkeypatch.setattr(shared_log, "PATIENCE_SECONDS", 0.02)
    site = Site()
    task = ending(site)
    await until(lambda: site.knew == ["standby"])
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_disk_that_takes_nothing_keeps_the_end_from_nobody() -> None:
    """For the same reason; whoever waits hears that it is not kept."""
    site = Site(JournalUnwritable("full"))
    site.may.set()
    with pytest.raises(JournalUnwritable):
        await ending(site)
    await until(lambda: site.knew == ["standby"])


@pytest.mark.parametrize("failure", [None, JournalUnwritable("full")])
async def test_one_who_comes_meanwhile_hears_it_too(failure: Exception | None) -> None:
    """What is told to one who begins may have been read before this was kept."""
    site = Site(failure, are_there=False)
    task = ending(site)
    await asyncio.sleep(0.05)
    site.are_there = True
    site.may.set()
    with suppress(JournalUnwritable):
        await task
    assert site.knew == ["journal", "standby"][failure is not None :]


async def test_what_has_no_identity_is_told_to_nobody() -> None:
    """It cannot come again."""
    site = Site()
    site.may.set()
    await ending(site, identity=None)
    assert site.knew == ["journal"]
