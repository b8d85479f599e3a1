"""One external command, run to its end."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from bridge.errors import SandboxError


async def run_command(
    arguments: Sequence[str],
    *,
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
    text: str = "",
) -> str:
    """Run a command, with `text` as its input, and return what it wrote to stdout.

    `environment` replaces this process's own. Raises SandboxError, with what the
    command wrote to stderr, if it fails, cannot be started or takes longer than
    `timeout_seconds`; it is killed then, and also on cancellation.
    """
    name = shlex.join([Path(arguments[0]).name, *arguments[1:]])
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A terminal's Ctrl-C is for us to handle, not for the command.
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxError(f"{name} cannot be run: {error}") from error
    try:
        async with asyncio.timeout(timeout_seconds):
            output, complaint = await process.communicate(text.encode())
    except TimeoutError:
        raise SandboxError(f"{name} took longer than {timeout_seconds:g} s.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise SandboxError(
            f"{name} failed: {(complaint or output).decode(errors='replace').strip()}"
        )
    return output.decode(errors="replace")
