"""What asks a bridge over HTTP, and understands the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from bridge.app import Program
from tests.integration.site import PATIENCE_SECONDS, until


class Http:
    """Somebody who asks one bridge."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """Return the status and the answer of `/readyz`."""
        async with self.session.get("/readyz") as response:
            return response.status, await response.json()

    async def metrics(self) -> dict[str, float]:
        """Return all numbers, each under its name with its labels, without the prefix."""
        async with self.session.get("/metrics") as response:
            assert response.status == 200
            text = await response.text()
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                name = sample.name.removeprefix("tactium_bridge_")
                found[f"{name}{{{labels}}}" if labels else name] = sample.value
        return found

    async def until_part(self, part: str, *, ok: bool) -> dict[str, Any]:
        """Wait until a part is well, or is not; return the whole answer."""
        answer: dict[str, Any] = {}

        async def holds() -> bool:
            nonlocal answer
            _, answer = await self.ready()
            return bool(answer[part]["ok"]) is ok

        await until(holds)
        return answer

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
        """Look at the page's stream: its events, each with its name and data."""
        async with self.session.get("/events") as response:
            assert response.status == 200

            async def told() -> AsyncIterator[tuple[str, dict[str, Any]]]:
                while True:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        text = (await response.content.readuntil(b"\n\n")).decode()
                    name, data = text.rstrip().split("\n")
                    yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))

            yield told()


@asynccontextmanager
async def asking(program: Program, token: str | None = None) -> AsyncIterator[Http]:
    """Ask a bridge inside, with a token or without."""
    await until(lambda: program.face.address is not None)
    assert program.face.address is not None
    host, port = program.face.address
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with ClientSession(f"http://{host}:{port}", headers=headers) as session:
        yield Http(session)
