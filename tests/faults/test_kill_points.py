"""`kill -9` at every step of the journal's cycle."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.faults import dying_bridge
from tests.faults.conftest import Ledger
from tests.faults.witness import Sender, judge, prepare
from tests.integration.site import OpenSite

PROGRAM = Path(dying_bridge.__file__)


@pytest.mark.parametrize("step", dying_bridge.STEPS)
async def test_killed(open_site: OpenSite, ledger: Ledger, tmp_path: Path, step: str) -> None:
    """What was committed arrives, with one id and one body; what was only read is in the gap."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        environment = {
            **os.environ,
            "BRIDGE_LINK__HOST": "127.0.0.1",
            "BRIDGE_LINK__PORT": str(site.tactium.port),
            "BRIDGE_AMQP__URL": url,
            "BRIDGE_JOURNAL__PATH": str(tmp_path / "killed.db"),
            "BRIDGE_LOG__LEVEL": "error",
        }
        sender = Sender(site.tactium)
        sending = asyncio.create_task(sender.run())
        dying = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), step, env=environment
        )
        async with asyncio.timeout(30):
            assert await dying.wait() == -signal.SIGKILL
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge", "run", env=environment
        )
        await site.tactium.wait_for(lambda: site.tactium.administrators == 1)
        await asyncio.sleep(1)
        sending.cancel()
        await asyncio.wait((sending,))
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == 0
        verdict = await judge(url, sender)
    ledger.note(verdict)
    assert verdict.sent > 0
    assert not verdict.lost_outside_gaps
    assert not verdict.disordered
    assert not verdict.changed
    assert [gap["cause"] for gap in verdict.gaps] == ["bridge_down"]
