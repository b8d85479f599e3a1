"""The AsyncAPI document, in the hands of AsyncAPI's own parser."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "schemas" / "asyncapi.yaml"
WARNING = 1
"""The parser's severities: errors are 0, warnings 1; the rest is advice."""


async def test_the_parser_takes_the_document() -> None:
    """Without an error or a warning; it sees every message, and who answers."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(HERE / "parse.mjs"), str(DOCUMENT)), stdout=PIPE
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    answer = json.loads(out)
    assert [each for each in answer["found"] if each["severity"] <= WARNING] == []
    seen = answer["seen"]
    assert {"events.call.started", "bridge.gap", "commands", "replies"} <= set(seen["channels"])
    assert {"commands.make_call", "bridge.command.ok", "reply"} <= set(seen["messages"])
    assert "answer.commands" in seen["operations"]
