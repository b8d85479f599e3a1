"""What a RabbitMQ broker of our own is, whether it runs natively or in Docker.

Either way one child process lives as long as the broker, its output is the
node's log, and a guard removes everything at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import socket
import struct
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO

from bridge.errors import SandboxError
from bridge.sandbox.guard import Guard

CTL_TIMEOUT_SECONDS = 60.0
LOOPBACK = "127.0.0.1"
_DEATH_TIMEOUT_SECONDS = 10.0
_GREETING_TIMEOUT_SECONDS = 2.0
_POLL_SECONDS = 0.05
_LOG_LINES = 12


class BrokerExited(SandboxError):
    """The broker stopped by itself before it was ready."""


class Broker(ABC):
    """One broker and all that belongs to it.

    `port` of `address` takes AMQP; `name` is in what the broker says to a client
    first, so that another one on the same port is not mistaken for it.
    """

    def __init__(
        self, cleaning: str, port: int, *, address: str = LOOPBACK, name: str | None = None
    ) -> None:
        self.port = port
        self.address = address
        self.name = name or f"sandbox-{secrets.token_hex(6)}"
        self.folder = Path(tempfile.mkdtemp(prefix="rabbitmq-sandbox-"))
        self.guard = Guard(cleaning, str(self.folder), self.name)
        self._log = self.folder / "node.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, timeout_seconds: float) -> None:
        """Start the broker and wait until it accepts AMQP.

        Raises BrokerExited if it stops instead, and SandboxError after
        `timeout_seconds`; both end with the last lines of the node's log.
        """
        with self._log.open("ab") as log:
            self._process = self._spawn(log)
        await self.wait_until_ready(timeout_seconds)

    async def wait_until_ready(self, timeout_seconds: float) -> None:
        """Wait until the broker accepts AMQP; raises what `start` raises."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not await _greets(self.address, self.port, self.name):
                    if self._has_exited():
                        raise BrokerExited(
                            self._complaint(
                                "stopped before it was ready. Repair what its log names, or try "
                                "again if another program took one of its ports."
                            )
                        )
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise SandboxError(
                self._complaint(
                    f"was not ready within {timeout_seconds:g} s; if it was only slow, "
                    "allow it more."
                )
            ) from None

    async def kill(self) -> None:
        """Kill the broker, if it runs, and wait until it is gone; its data stay."""
        if self._process is not None and self._process.poll() is None:
            await asyncio.to_thread(self._send_kill)
            await asyncio.to_thread(_reap, self._process)

    async def close(self) -> None:
        """Remove the broker with its processes and data; raises SandboxError if it cannot."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self.guard.finish()
        for process in self._children():
            _reap(process)

    def _children(self) -> list[subprocess.Popen[bytes]]:
        return [self._process] if self._process is not None else []

    def _has_exited(self) -> bool:
        return any(process.poll() is not None for process in self._children())

    def log_lines(self) -> list[str]:
        """Return what the broker has logged."""
        return [line for line in self._log.read_text(errors="replace").splitlines() if line]

    def _complaint(self, what: str) -> str:
        lines = self.log_lines()
        # A node that gives up says why about here, and goes on with pages of details.
        end = next((at + 8 for at, line in enumerate(lines) if "BOOT FAILED" in line), len(lines))
        shown = "\n".join(f"    {line[:200]}" for line in lines[:end][-_LOG_LINES:])
        return f"The private RabbitMQ node {what} Its log:\n{shown or '    (empty)'}"

    @abstractmethod
    def _spawn(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        """Start a process that lives as long as the broker, with `log` as its output."""

    @abstractmethod
    def _send_kill(self) -> None:
        """Kill the broker, which runs, without asking it."""

    @abstractmethod
    def suspend(self) -> None:
        """Stop the broker's clock: its connections stay open, and it says nothing."""

    @abstractmethod
    def resume(self) -> None:
        """Let a suspended broker go on."""

    @abstractmethod
    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against the broker and return its stdout."""

    @abstractmethod
    async def evaluate(self, expression: str) -> None:
        """Run an Erlang expression in the broker, by the quickest way there is."""


def free_ports(count: int) -> list[int]:
    """Return that many different ports of 127.0.0.1 on which nothing listens.

    All are below those which systems give to outgoing connections (Linux from
    32768 on, macOS from 49152 on). A client that keeps trying to reach a stopped
    broker may otherwise be given the broker's own port, is then connected to
    itself, and the broker cannot come back.
    """
    ports: list[int] = []
    for port in random.sample(range(20_000, 30_000), k=1_000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise SandboxError("No free port from 20000 to 29999; stop what occupies them.")


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_DEATH_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise SandboxError(f"Process {process.pid} was killed and does not end.") from None


async def _greets(address: str, port: int, name: str) -> bool:
    """Say whether the broker of that name takes AMQP connections on the port."""
    try:
        reader, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    try:
        # Whoever else took the port may say nothing at all.
        async with asyncio.timeout(_GREETING_TIMEOUT_SECONDS):
            writer.write(b"AMQP\x00\x00\x09\x01")
            kind, _channel, size = struct.unpack(">BHI", await reader.readexactly(7))
            # Connection.Start carries the cluster's name among the server's properties.
            return kind == 1 and name.encode() in await reader.readexactly(size)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
