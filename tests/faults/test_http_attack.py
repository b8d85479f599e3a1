"""HTTP is no way in: whatever is asked, events flow as before, and memory has a bound.

What is compared is a bridge under attack with the same bridge while another one is
attacked on the same machine: the attackers need their share of the machine as well.
"""

from __future__ import annotations

import socket
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.bench.measures import sustained
from tests.bench.rig import NOWHERE, Bridge, Rig, rig_on
from tests.faults.conftest import Ledger
from tests.faults.test_faults import SOAK
from tests.integration.program import program

ROUNDS = 5 if SOAK else 1
EVENTS = 40_000 if SOAK else 5_000
MOST_MEGABYTES = 150
ATTACK = Path(__file__).with_name("attack.py")


@asynccontextmanager
async def under_attack(port: int) -> AsyncIterator[None]:
    """Attack what listens on a port inside."""
    async with program(str(port), cwd=Path.cwd(), script=ATTACK) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"under way\n"
        yield


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def rate(rig: Rig, bridge: Bridge, port: int) -> float:
    """Return how fast events go through while a port is attacked."""
    async with rig.queue() as queue, under_attack(port):
        return (await sustained(rig, bridge, queue, EVENTS)).per_second


@pytest.mark.timeout(600)
async def test_no_request_slows_the_events(vhost_url: str, tmp_path: Path, ledger: Ledger) -> None:
    """Nothing is lost, memory stays bounded; the ratio of the rates is in the table."""
    own, other = free_port(), free_port()
    async with (
        rig_on(vhost_url, tmp_path) as rig,
        rig.bridge(http_port=own) as bridge,
        rig.bridge(url=NOWHERE, http_port=other),
    ):
        ratios = []
        for _ in range(ROUNDS):
            elsewhere = await rate(rig, bridge, other)
            ratios.append(await rate(rig, bridge, own) / elsewhere)
        assert bridge.most_megabytes < MOST_MEGABYTES
    ledger.remark(
        f"{ROUNDS}×, rate ÷ that while another bridge is attacked "
        f"{statistics.median(ratios):.2f}, most memory {bridge.most_megabytes:.0f} MB"
    )
