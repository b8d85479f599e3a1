"""`kill -9` at every step of the journal's cycle."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.faults import dying_bridge
from tests.faults.conftest import Ledger
from tests.faults.witness import Sender, Verdict, judge, prepare, quiet
from tests.integration.program import environment_of, program, stopped
from tests.integration.site import OpenSite

DYING = Path(dying_bridge.__file__)


@pytest.mark.parametrize("step", dying_bridge.STEPS)
async def test_killed(open_site: OpenSite, ledger: Ledger, tmp_path: Path, step: str) -> None:
    """What was committed arrives, with one id and one body; what was only read is in the gap."""
    verdict = await killed(open_site, tmp_path, step)
    ledger.note(verdict)
    assert not verdict.lost_outside_gaps


@pytest.mark.each_database
@pytest.mark.parametrize("step", dying_bridge.ROW_STEPS)
async def test_killed_between_rows(
    open_site: OpenSite, ledger: Ledger, tmp_path: Path, step: str
) -> None:
    """A row waits until its event is journaled, and is known where it is met again."""
    verdict = await killed(open_site, tmp_path, step)
    ledger.note(verdict)
    assert not verdict.lost


async def killed(open_site: OpenSite, tmp_path: Path, step: str) -> Verdict:
    """Let a bridge die at a step, and another go on; return what came of all that was said."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        environment = environment_of(site.settings)
        sender = Sender(site.tactium)
        sending = asyncio.create_task(sender.run())
        async with program(step, script=DYING, cwd=tmp_path, environment=environment) as dying:
            async with asyncio.timeout(30):
                assert await dying.wait() == -signal.SIGKILL
        async with program("run", cwd=tmp_path, environment=environment) as process:
            await site.next_data("main.gap")
            await asyncio.sleep(1)
            sending.cancel()
            await asyncio.wait((sending,))
            await quiet(url)
            await stopped(process)
        verdict = await judge(url, sender)
    assert verdict.sent > 0
    assert not verdict.disordered
    assert not verdict.doubled
    assert not verdict.changed
    assert [gap["cause"] for gap in verdict.gaps] == ["bridge_down"]
    return verdict
