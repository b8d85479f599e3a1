"""The programs as processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

from bridge.settings import Settings

STOP_SECONDS = 10.0


@asynccontextmanager
async def program(
    *arguments: str,
    cwd: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    script: Path | None = None,
    log: Path | None = None,
    inside: Sequence[str] = (),
) -> AsyncIterator[Process]:
    """Run `tactium-bridge`, or a script, inside; whatever happens, it is gone afterwards.

    With a `log`, what it says is added to that file. `inside` is a command to run it with.
    """
    kept = log.open("ab") if log is not None else None
    process = await asyncio.create_subprocess_exec(
        *inside,
        sys.executable,
        *([str(script)] if script else ["-m", "bridge"]),
        *arguments,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(cwd), **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=kept or PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        if kept is not None:
            kept.close()


async def ended(process: Process, timeout_seconds: float = STOP_SECONDS) -> tuple[int, str, str]:
    """Return how it ended: exit code, standard output and error."""
    async with asyncio.timeout(timeout_seconds):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def stopped(process: Process) -> str:
    """Stop it as an operator does; it ends with 0 and in time. Return its log."""
    process.send_signal(signal.SIGTERM)
    code, _, err = await ended(process)
    assert code == 0, err
    return err


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment that gives `run` the same settings."""
    link = {
        "BRIDGE_LINK__HOST": settings.link.host,
        "BRIDGE_LINK__PORT": str(settings.link.port),
    }
    if settings.link.database_url is not None:
        link = {
            "BRIDGE_LINK__TRANSPORT": settings.link.transport,
            "BRIDGE_LINK__DATABASE_URL": settings.link.database_url.get_secret_value(),
        }
    return {
        **link,
        "BRIDGE_AMQP__URL": settings.amqp.url.get_secret_value(),
        "BRIDGE_JOURNAL__PATH": str(settings.journal.path),
        "BRIDGE_HTTP__PORT": str(settings.http.port),
    }
