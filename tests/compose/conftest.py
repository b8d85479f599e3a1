from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose import images
from tests.compose.engine import Engine, private_engine

STARTED = ("rabbitmq", "bridge", "simulator", "prometheus")
"""All that keep running, but for Grafana: there is no stand-in for it."""


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """An engine that has all images."""
    if "COMPOSE" not in os.environ:
        pytest.skip("eleven minutes long: `make compose` runs it")
    # Short, for the path of a socket has little room.
    with tempfile.TemporaryDirectory(prefix="engine-") as name:
        folder = Path(name)
        with private_engine(folder) as engine:
            images.build(engine, folder)
            yield engine


@pytest.fixture(scope="session")
def up(engine: Engine) -> Iterator[Engine]:
    """All services up, as `docker compose up` leaves them."""
    engine.bring_up(*STARTED)
    yield engine
    engine.compose("--profile=demo", "--profile=monitoring", "down", "--volumes")
