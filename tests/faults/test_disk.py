"""A disk that is full or read-only, under a bridge that runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.sandbox import RabbitMQNode
from tests.faults.conftest import Ledger
from tests.faults.test_faults import assert_nothing_lost
from tests.faults.witness import Sender, judge, prepare, wait_for
from tests.integration.program import ended, environment_of, program, stopped
from tests.integration.site import OpenSite, Site

DISK_BYTES = 24 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0  # noqa: S603 - fixed words
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk takes root on Linux")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607 - fixed words


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


async def next_line(process: asyncio.subprocess.Process, event: str) -> None:
    """Wait for a line of the log."""
    assert process.stderr
    async with asyncio.timeout(30):
        while json.loads(await process.stderr.readline())["event"] != event:
            pass


def on(site: Site, disk: Path) -> dict[str, str]:
    return {**environment_of(site.settings), "BRIDGE_JOURNAL__PATH": str(disk / "bridge.db")}


async def test_a_full_disk(
    open_site: OpenSite, rabbitmq: RabbitMQNode, ledger: Ledger, tmp_path: Path, disk: Path
) -> None:
    """The journal fills it while the broker is away; then all of it arrives, and it works again."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        sender = Sender(site.tactium, per_second=10_000)
        async with program("run", cwd=tmp_path, environment=on(site, disk)) as process:
            await next_line(process, "broker_up")
            await rabbitmq.stop_app()
            sending = asyncio.create_task(sender.run())
            await next_line(process, "journal_unwritable")
            await asyncio.sleep(1)
            sending.cancel()
            await asyncio.wait((sending,))
            await rabbitmq.start_app()
            await next_line(process, "journal_writable")
            await wait_for(url, len(sender.sent))
            await stopped(process)
        verdict = await judge(url, sender)
    ledger.note(verdict)
    assert_nothing_lost(verdict)
    assert not verdict.gaps


async def test_a_disk_that_others_fill(
    open_site: OpenSite, ledger: Ledger, tmp_path: Path, disk: Path
) -> None:
    """To the last byte: events wait in memory until somebody makes room; then they flow."""
    async with open_site() as site:
        url = site.settings.amqp.url.get_secret_value()
        await prepare(url)
        sender = Sender(site.tactium)
        async with program("run", cwd=tmp_path, environment=on(site, disk)) as process:
            await next_line(process, "broker_up")
            sending = asyncio.create_task(sender.run())
            await asyncio.sleep(0.5)
            fill(disk)
            await next_line(process, "journal_unwritable")
            await asyncio.sleep(1)
            (disk / "ballast").unlink()
            await next_line(process, "journal_writable")
            sending.cancel()
            await asyncio.wait((sending,))
            await asyncio.sleep(1)
            await stopped(process)
        verdict = await judge(url, sender)
    ledger.note(verdict)
    assert_nothing_lost(verdict)
    assert not verdict.gaps


async def test_a_read_only_disk_at_the_start(
    open_site: OpenSite, tmp_path: Path, disk: Path
) -> None:
    """The start stops with one line that names the file: nothing could be kept."""
    remount = ["mount", "-o", "remount,ro", str(disk)]
    subprocess.run(remount, check=True)  # noqa: S603, ASYNC221 - fixed words, at once
    async with (
        open_site() as site,
        program("run", cwd=tmp_path, environment=on(site, disk)) as process,
    ):
        code, _, err = await ended(process)
    assert code == 1
    (line,) = err.splitlines()[-1:]
    assert "bridge.db" in line
    assert "Read-only" in line
