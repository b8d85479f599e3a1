from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
import structlog
from ulid_transform import ulid_now

from bridge.sandbox import RabbitMQNode, private_rabbitmq
from tests.databases.servers import ALL, SERVERS, Server, missing

TRANSPORTS = ("socket", *(ALL if "DATABASES" in os.environ else ["sqlite"]))
"""The ways to Tactium: with `DATABASES` set, over each kind of database."""

LOG_LINES = 120
LINE_CHARACTERS = 160


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let what is the same whichever way leads to Tactium hold over all of them."""
    marked = metafunc.definition.get_closest_marker
    if marked("each_transport") and not marked("socket_only"):
        metafunc.parametrize("transport", TRANSPORTS, indirect=True)
    if marked("each_database"):
        metafunc.parametrize("transport", TRANSPORTS[1:], indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the broker said, which is gone with its node."""
    report = yield
    node = getattr(item, "funcargs", {}).get("rabbitmq")
    if report.failed and node is not None:
        lines = (line[:LINE_CHARACTERS] for line in node.log_lines()[-LOG_LINES:])
        report.sections.append(("End of RabbitMQ's log", "\n".join(lines)))
    return report


@pytest.fixture(scope="session")
async def rabbitmq() -> AsyncIterator[RabbitMQNode]:
    """One private node for the whole run."""
    async with private_rabbitmq() as node:
        yield node


@pytest.fixture(scope="session")
async def database_servers() -> AsyncIterator[dict[str, Server]]:
    """The private servers of this run, each from the first test on that needs it."""
    servers: dict[str, Server] = {}
    yield servers
    for server in servers.values():
        await server.stop()
        shutil.rmtree(server.home)


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Logging may be configured inside; it is left as it was."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> str:
    """The way to Tactium: the socket, or a kind of database."""
    way: str = getattr(request, "param", "socket")
    return way


@pytest.fixture
async def database_url(
    transport: str, database_servers: dict[str, Server], tmp_path: Path
) -> str | None:
    """An empty database of Tactium's, None where the socket leads there."""
    if transport == "socket":
        return None
    if transport == "sqlite":
        return f"sqlite:///{tmp_path}/tactium.db"
    return await (await database_server(transport, database_servers)).new_database(
        f"t{ulid_now().lower()}"
    )


async def database_server(kind: str, servers: dict[str, Server]) -> Server:
    """Return the server of a kind, started where it is not yet."""
    if lacking := missing(kind):
        pytest.skip(f"{kind} is not installed here: there is no {', '.join(lacking)}")
    if kind not in servers:
        home = Path(tempfile.mkdtemp(prefix="tactium-bridge-"))
        servers[kind] = SERVERS[kind](home)
        await servers[kind].make()
        await servers[kind].start()
    return servers[kind]
