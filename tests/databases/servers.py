"""Tactium's database as the tests have it: a file, or a private server where one is installed."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from abc import ABC, abstractmethod
from asyncio.subprocess import DEVNULL, PIPE, Process
from glob import glob
from pathlib import Path

from sqlalchemy import text
from typing_extensions import override

from bridge.errors import LinkError
from bridge.links.engine import open_engine, translated

START_SECONDS = 60.0
STOP_SECONDS = 20.0
ALL = ("sqlite", "postgresql", "mariadb")
_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/sbin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/opt/homebrew/bin",
)


class Server(ABC):
    """A private server on a free port of this machine, with all its data in `home`."""

    programs: tuple[str, ...]
    """What has to be installed for it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self._process: Process | None = None

    @abstractmethod
    def url(self, database: str) -> str:
        """Return the URL of a database."""

    @property
    @abstractmethod
    def making(self) -> list[str]:
        """How its data is made."""

    @property
    @abstractmethod
    def running(self) -> list[str]:
        """How it is run."""

    @property
    @abstractmethod
    def own_database(self) -> str:
        """One that is always there."""

    @property
    def user(self) -> str | None:
        """Whom to run it as."""
        return None

    async def make(self) -> None:
        """Make its data."""
        if self.user is not None:
            shutil.chown(self.home, self.user)  # the folder is closed to others
        process = await asyncio.create_subprocess_exec(
            *self.making, user=self.user, cwd=self.home, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
        )
        async with asyncio.timeout(START_SECONDS):
            _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()

    async def start(self) -> None:
        """Start it, and wait until it lets somebody in."""
        self._process = await asyncio.create_subprocess_exec(
            *self.running,
            user=self.user,
            cwd=self.home,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        async with asyncio.timeout(START_SECONDS):
            while True:
                try:
                    await run(self.url(self.own_database), "SELECT 1")
                except LinkError:
                    await asyncio.sleep(0.1)
                else:
                    return

    async def stop(self) -> None:
        """Stop it, politely at first."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """Let it die at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def new_database(self, name: str) -> str:
        """Make a database; return its URL."""
        await run(self.url(self.own_database), f"CREATE DATABASE {name}", in_transaction=False)
        return self.url(name)


class PostgreSQL(Server):
    """Refuses to be run by root."""

    programs = ("initdb", "postgres")
    own_database = "postgres"

    @property
    @override
    def user(self) -> str | None:
        return "postgres" if os.geteuid() == 0 else None

    @property
    @override
    def making(self) -> list[str]:
        command = [_place("initdb"), "--pgdata", "data", "--auth", "trust"]
        return [*command, "--username", "tactium", "--no-sync", "--encoding", "UTF8"]

    @property
    @override
    def running(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [_place("postgres"), "-D", "data", *options]

    @override
    def url(self, database: str) -> str:
        return f"postgresql://tactium@127.0.0.1:{self.port}/{database}"


class MariaDB(Server):
    """Runs as whoever starts it."""

    programs = ("mariadb-install-db", "mariadbd")
    own_database = "mysql"

    @property
    @override
    def making(self) -> list[str]:
        command = [_place("mariadb-install-db"), "--no-defaults", f"--datadir={self.home}/data"]
        rights = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        return [*command, *rights, *self._as_root]

    @property
    @override
    def running(self) -> list[str]:
        place = [f"--datadir={self.home}/data", f"--socket={self.home}/socket"]
        network = ["--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve"]
        files = [f"--pid-file={self.home}/pid", "--innodb-flush-log-at-trx-commit=0"]
        return [_place("mariadbd"), "--no-defaults", *place, *network, *files, *self._as_root]

    @property
    def _as_root(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    @override
    def url(self, database: str) -> str:
        return f"mariadb://root@127.0.0.1:{self.port}/{database}"


SERVERS: dict[str, type[Server]] = {"postgresql": PostgreSQL, "mariadb": MariaDB}


def missing(kind: str) -> list[str]:
    """Return which programs are missing for a kind of server."""
    return [name for name in SERVERS[kind].programs if _maybe_place(name) is None]


async def run(url: str, *statements: str, in_transaction: bool = True) -> list[tuple[object, ...]]:
    """Run statements; return what the last one found."""
    found: list[tuple[object, ...]] = []
    engine = open_engine(url)
    with translated():
        async with engine.connect() as connection:
            if not in_transaction:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
            for statement in statements:
                result = await connection.execute(text(statement))
                found = [tuple(row) for row in result] if result.returns_rows else []
            await connection.commit()
    await engine.dispose()
    return found


def _place(program: str) -> str:
    place = _maybe_place(program)
    assert place is not None, f"{program} is not installed"
    return place


def _maybe_place(program: str) -> str | None:
    folders = [*os.get_exec_path(), *(each for form in _FOLDERS for each in glob(form))]  # noqa: PTH207
    return shutil.which(program, path=os.pathsep.join(folders))
