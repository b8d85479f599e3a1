"""A backlog waits in Tactium's table, and drains when the bridge is there."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import column, insert, table

from bridge.links.engine import open_engine
from bridge.simulator.rows import make_tables
from tests.faults.conftest import Ledger
from tests.faults.test_backlog import MOST_MEGABYTES, peak_megabytes
from tests.faults.test_faults import SOAK
from tests.faults.witness import FIRST, NAMES, Sender, judge, prepare, received, wait_for
from tests.integration.program import environment_of, program, stopped
from tests.integration.site import OpenSite

ROWS = 1_000_000 if SOAK else 10_000
PATIENCE_SECONDS = 1_200 if SOAK else 60
TOGETHER = 5_000


@pytest.mark.each_database
@pytest.mark.timeout(3 * PATIENCE_SECONDS)
async def test_rows_that_wait(
    open_site: OpenSite, ledger: Ledger, tmp_path: Path, database_url: str
) -> None:
    """Memory stays bounded, all arrive in order, and none is left."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        sender = Sender(site.tactium)
        sender.sent = await fill(database_url)
        environment = environment_of(site.settings)
        async with program("run", cwd=tmp_path, environment=environment) as process:
            await wait_for(url, 1, PATIENCE_SECONDS)
            begin, before = time.monotonic(), await received(url) or 0
            await wait_for(url, ROWS, PATIENCE_SECONDS)
            rate = (ROWS - before) / (time.monotonic() - begin)
            peak = peak_megabytes(process.pid)
            await stopped(process)
        verdict = await judge(url, sender)
    ledger.note(verdict)
    ledger.remark(f"{ROWS:,} rows at {rate:,.0f} a second, peak memory {peak or 0:.0f} MB")
    assert not verdict.lost
    assert not verdict.disordered
    assert not verdict.doubled
    assert not verdict.changed
    assert peak is None or peak < MOST_MEGABYTES


async def fill(url: str) -> dict[tuple[str, int], datetime]:
    """Put numbered events into T_TTO; return who said which, and when."""
    engine = open_engine(url)
    await make_tables(engine)
    named = table("T_TTO", column("IS_TTO"), column("DS_TTO"))
    said: dict[tuple[str, int], datetime] = {}
    for start in range(FIRST, FIRST + ROWS, TOGETHER):
        numbers = range(start, min(start + TOGETHER, FIRST + ROWS))
        names = [(NAMES[number % len(NAMES)], number) for number in numbers]
        rows = [{"IS_TTO": n, "DS_TTO": f"<{agent}><S><{n}>$"} for agent, n in names]
        async with engine.begin() as connection:
            await connection.execute(insert(named), rows)
        said.update(dict.fromkeys(names, datetime.now(UTC)))
    await engine.dispose()
    return said
