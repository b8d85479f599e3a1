"""What systemd is told: that the bridge works, how it does, and that its loop still turns.

The protocol is one datagram of a few lines (sd_notify(3)); where nobody asked for
it, nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

STATUS_SECONDS = 10.0


class Systemd:
    """Talks to the socket that `NOTIFY_SOCKET` names, if any does."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_seconds = _watchdog_seconds(environment)

    def __repr__(self) -> str:
        return f"<Systemd: {self._address or 'not there'}>"

    async def run(self, status: Callable[[], str]) -> None:
        """Say that the bridge is up; then, until cancelled, how it is and that it lives."""
        if not self._address:
            return
        self._tell(f"READY=1\nSTATUS={_line(status())}")
        # A late watchdog means a stuck loop: systemd then kills and restarts, and loses nothing.
        every = min(self._watchdog_seconds / 3, STATUS_SECONDS)
        while True:
            await asyncio.sleep(every)
            self._tell(f"WATCHDOG=1\nSTATUS={_line(status())}")

    def stopping(self) -> None:
        """Say that the bridge stops."""
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        if self._address:
            with (
                suppress(OSError),
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told,
            ):
                told.settimeout(0)
                told.connect(self._address)
                told.send(text.encode())


def _line(text: str) -> str:
    """Return a text as one line: another one would tell systemd something else."""
    return " ".join(text.split())


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """Return within which time systemd wants a sign of life; for ever where it wants none."""
    is_ours = environment.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
    microseconds = environment.get("WATCHDOG_USEC", "")
    if is_ours and microseconds.isdecimal() and int(microseconds) > 0:
        return int(microseconds) / 1e6
    return float("inf")
