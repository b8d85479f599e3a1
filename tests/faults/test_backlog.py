"""A backlog gathers while the broker is away, and drains when it is back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bridge.sandbox import RabbitMQNode
from tests.faults.conftest import Ledger
from tests.faults.test_faults import SETTLING_SECONDS, SOAK, assert_nothing_lost
from tests.faults.witness import Sender, judge, prepare, wait_for
from tests.integration.program import environment_of, program, stopped
from tests.integration.site import OpenSite, until

EVENTS = 1_000_000 if SOAK else 50_000
MOST_MEGABYTES = 150
TIMEOUT_SECONDS = 1800 if SOAK else 120


def peak_megabytes(pid: int) -> float | None:
    """Return the most memory that a process ever had resident; None where nobody says."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1000


@pytest.mark.timeout(2 * TIMEOUT_SECONDS)
async def test_backlog(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger, tmp_path: Path
) -> None:
    """Reading goes on all the while, memory stays bounded, and all arrive in order."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        sender = Sender(site.tactium, per_second=20_000)
        environment = environment_of(site.settings)
        async with program("run", cwd=tmp_path, environment=environment) as process:
            await site.tactium.wait_for(lambda: site.tactium.administrators == 1)
            await asyncio.sleep(SETTLING_SECONDS)
            await rabbitmq.kill()
            begin = time.monotonic()
            sending = asyncio.create_task(sender.run())
            await until(lambda: len(sender.sent) >= EVENTS, TIMEOUT_SECONDS)
            sending.cancel()
            await asyncio.wait((sending,))
            gathered_seconds = time.monotonic() - begin
            await rabbitmq.restart()
            begin = time.monotonic()
            await wait_for(url, len(sender.sent), TIMEOUT_SECONDS)
            drained_seconds = time.monotonic() - begin
            peak = peak_megabytes(process.pid)
            await stopped(process)
        verdict = await judge(url, sender)
    ledger.note(verdict)
    ledger.remark(
        f"{len(sender.sent):,} events gathered in {gathered_seconds:.0f} s, "
        f"the longest pause of reading {sender.longest_pause_seconds:.2f} s, "
        f"drained in {drained_seconds:.0f} s, peak memory {peak or 0:.0f} MB"
    )
    assert_nothing_lost(verdict)
    assert not verdict.gaps
    assert peak is None or peak < MOST_MEGABYTES
