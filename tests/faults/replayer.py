"""A new service that begins with the past: `python replayer.py URL SINCE COUNT`.

Reads until it has seen so many events of numbers from `FIRST` on, and prints as JSON how
many they were, which are missing or out of order, and how long it took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime

from bridge.client import AgentStatus, BridgeClient
from tests.faults.witness import FIRST


async def replay(url: str, since: datetime, count: int) -> dict[str, float]:
    """Read them, each agent's in their order."""
    last: dict[str, int] = {}
    seen: set[int] = set()
    disordered = 0
    begin = time.monotonic()
    async with BridgeClient(url) as bridge:
        async for event in bridge.events("*.agent.status", since=since, prefetch=1_000):
            if isinstance(event.data, AgentStatus) and event.data.code >= FIRST:
                disordered += event.data.code <= last.get(event.subject, 0)
                last[event.subject] = event.data.code
                seen.add(event.data.code)
            if len(seen) >= count:
                break
    missing = max(seen) - FIRST + 1 - len(seen)
    seconds = time.monotonic() - begin
    return {"count": len(seen), "missing": missing, "disordered": disordered, "seconds": seconds}


if __name__ == "__main__":
    told = asyncio.run(replay(sys.argv[1], datetime.fromisoformat(sys.argv[2]), int(sys.argv[3])))
    sys.stdout.write(json.dumps(told))
