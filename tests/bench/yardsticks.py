"""What the bridge is held against: other publishers, on the same broker, with the same bodies."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from aio_pika.abc import AbstractQueue

from bridge.sandbox.broker import free_ports
from tests.bench.bare import KEY, WINDOW
from tests.bench.rig import EXCHANGE, PATIENCE_SECONDS, Rig
from tests.integration.site import until

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("ceiling.c")
START_SECONDS = 10.0

Properties = Literal["few", "all"]
"""Of a message: its content type and delivery mode, under one key, or all that an event of
the bridge has, under as many keys."""

Pairs = Literal["", 'value-pairs(scope("none"))']
"""What of a line's fields syslog-ng puts into a message's headers: as it comes, or nothing."""

BODY_ALONE: Pairs = 'value-pairs(scope("none"))'

_SYSLOG_NG_FILES = ("persist-file", "control", "pidfile")

_SYSLOG_NG = """@version: {version}
options {{ stats-freq(0); }};
source said {{
    network(transport("tcp") ip("127.0.0.1") port({port}) flags(no-parse)
            log-iw-size(50000) log-fetch-limit(1000));
}};
destination broker {{
    amqp(host("127.0.0.1") port({broker}) vhost("{vhost}") username("guest") password("guest")
         exchange("{exchange}") exchange-declare(no) exchange-type("topic")
         routing-key("{key}") body("$MSG") persistent(yes) {pairs});
}};
log {{ source(said); destination(broker); flags(flow-control); }};
"""


class Ceiling:
    """The fastest publisher that this machine can build: in C, or what comes closest to it."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "ceiling"
        self.is_c = _compile(self._program)
        self.name = (
            "C client" if self.is_c else "bare pamqp publisher (no C compiler, or no librabbitmq)"
        )

    def __repr__(self) -> str:
        return f"<Ceiling: {self.name}>"

    async def rate(
        self, rig: Rig, warm_up: int, count: int, size: int, properties: Properties = "few"
    ) -> float:
        """Return how many messages a second the broker confirms."""
        if not self.is_c:
            return await _printed(_bare("pamqp", rig.url, warm_up, count, size))
        given = (rig.port, rig.vhost, EXCHANGE, KEY, warm_up, count, WINDOW, size, properties)
        return await _printed([str(self._program), *map(str, given)])


async def aio_pika_rate(rig: Rig, warm_up: int, count: int, size: int) -> float:
    """Return how many messages a second aio-pika publishes, as its users do it."""
    return await _printed(_bare("rate", rig.url, warm_up, count, size))


@asynccontextmanager
async def bare(what: str, *given: object) -> AsyncIterator[Process]:
    """Run one of the bare programs inside."""
    process = await asyncio.create_subprocess_exec(*_bare(what, *given), cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class SyslogNg:
    """syslog-ng as it is installed here, which brings lines from a socket to the broker in C."""

    def __init__(self, program: str, version: str) -> None:
        self._program = program
        self._version = version

    def __repr__(self) -> str:
        return f"<SyslogNg: {self._version}>"

    @classmethod
    def maybe_here(cls) -> SyslogNg | None:
        """Return it, None where it is not there or has no AMQP destination."""
        program = shutil.which("syslog-ng", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            return None
        told = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stdout  # noqa: S603
        version = re.search(r"Config version: ([\d.]+)", told)
        return cls(program, version[1]) if version and "afamqp" in told else None

    async def rate(
        self,
        rig: Rig,
        queue: AbstractQueue,
        warm_up: int,
        count: int,
        size: int,
        pairs: Pairs = "",
    ) -> float:
        """Return how many lines a second come to a queue; none of them is confirmed."""
        (port,) = free_ports(1)
        configuration = rig.folder / "syslog-ng.conf"
        configuration.write_text(
            _SYSLOG_NG.format(
                version=self._version,
                port=port,
                broker=rig.port,
                vhost=rig.vhost,
                exchange=EXCHANGE,
                key=KEY,
                pairs=pairs,
            )
        )
        process = await asyncio.create_subprocess_exec(
            self._program,
            *("--foreground", "--no-caps", f"--cfgfile={configuration}"),
            *(f"--{name}={rig.folder}/syslog-ng.{name}" for name in _SYSLOG_NG_FILES),
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        try:
            writer = await _connected(port)
            writer.write((b"x" * size + b"\n") * (warm_up + count))
            begin, first = await rig.wait_for(queue, warm_up)
            end, _ = await rig.wait_for(queue, warm_up + count)
            writer.close()
        finally:
            process.terminate()
            await process.wait()
        return (warm_up + count - first) / (end - begin)


async def _connected(port: int) -> asyncio.StreamWriter:
    found: list[asyncio.StreamWriter] = []

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        found.append(writer)
        return True

    await until(listens, START_SECONDS)
    return found[0]


def _compile(program: Path) -> bool:
    """Build the client in C; return whether that can be done here."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return False
    command = [compiler, "-O2", str(SOURCE), "-o", str(program), "-lrabbitmq"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


def _bare(what: str, *given: object) -> list[str]:
    return [sys.executable, "-m", "tests.bench.bare", what, *map(str, given)]


async def _printed(command: list[str]) -> float:
    """Return the number that a program prints."""
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return float(out)
