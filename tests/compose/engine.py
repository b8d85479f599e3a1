"""An engine for containers with its own folder, and compose.yaml in it.

It touches no engine, image or container that the machine has beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bridge.sandbox.broker import free_ports
from tests.compose.install import PROGRAMS

ROOT = Path(__file__).parents[2]
PROJECT = "site"
START_SECONDS = 30
STOP_SECONDS = 60
COMMAND_SECONDS = 300


class Engine:
    """Runs `docker` and `docker-compose` with an engine of its own."""

    def __init__(self, address: str) -> None:
        ports = ("RABBITMQ_PORT", "RABBITMQ_MANAGEMENT_PORT", "BRIDGE_HTTP_PORT", "PROMETHEUS_PORT")
        self._environment = {
            **os.environ,
            "DOCKER_HOST": address,
            "DOCKER_BUILDKIT": "0",  # Debian brings the engine's own builder alone
            "COMPOSE_PROJECT_NAME": PROJECT,
            **dict(zip(ports, map(str, free_ports(len(ports))), strict=True)),
        }

    def docker(self, *arguments: str, given: str = "") -> str:
        """Run `docker`; return what it says. Fails the test where it fails."""
        return self._run("docker", arguments, given)

    def compose(self, *arguments: str, given: str = "") -> str:
        """Run `docker-compose` with the repository's own compose.yaml; see `docker`."""
        return self._run("docker-compose", arguments, given)

    def bring_up(self, *services: str) -> None:
        """Bring services up, of images that are there; see `docker`."""
        self.compose("up", "--detach", "--no-build", *services)

    def first_line(self, *arguments: str) -> str:
        """Return the first line that `docker-compose` shows; it is ended then."""
        with subprocess.Popen(  # noqa: S603
            ["docker-compose", *arguments],  # noqa: S607
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as running:
            assert running.stdout is not None
            line = running.stdout.readline()
            running.terminate()
        return line

    def container(self, service: str) -> dict[str, Any]:
        """Return all that the engine knows about a service's container."""
        name = self.compose("ps", "--quiet", service).strip()
        found: dict[str, Any] = json.loads(self.docker("inspect", name))[0]
        return found

    def port(self, service: str, port: int) -> int:
        """Return where on this machine a service's port is."""
        return int(self.compose("port", service, str(port)).rpartition(":")[2])

    def is_well(self, service: str) -> bool:
        """Whether it runs, and its health check (where it has one) says so."""
        state = self.container(service)["State"]
        return bool(state["Running"]) and state.get("Health", {}).get("Status") in (None, "healthy")

    def choose(self, *profiles: str, **settings: str) -> None:
        """Have these profiles and settings from now on, as `.env` gives them."""
        chosen = {"COMPOSE_PROFILES": ",".join(profiles), **settings}
        self._environment = {**self._environment, **chosen}

    def kill_process(self, service: str) -> None:
        """End a service's process as a crash does: the engine thinks nobody wanted it."""
        os.kill(self.container(service)["State"]["Pid"], signal.SIGKILL)

    def _run(self, program: str, arguments: tuple[str, ...], given: str) -> str:
        done = subprocess.run(  # noqa: S603
            [program, *arguments],
            cwd=ROOT,
            env=self._environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            shown = (done.stdout + done.stderr)[-4_000:]
            if "up" in arguments:  # what a service says explains it
                with suppress(pytest.fail.Exception):
                    shown += self._run("docker-compose", ("logs", "--tail=40", "--no-color"), "")
            pytest.fail(f"{program} {' '.join(arguments)}: exit {done.returncode}\n{shown}")
        return done.stdout


def why_not() -> str | None:
    """Return why this machine can't run an engine, None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "an engine of its own needs Linux and root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return (
        f"{', '.join(missing)} is missing: `make compose` installs it with apt" if missing else None
    )


@contextmanager
def private_engine(folder: Path) -> Iterator[Engine]:
    """Start an engine, and stop it with all that it runs. Skips the tests where it can't be."""
    if reason := why_not():
        pytest.skip(reason)
    address = f"unix://{folder}/socket"
    engine = Engine(address)
    places = {"data-root": "data", "exec-root": "run", "pidfile": "pid"}
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(  # noqa: S603
            ["dockerd", "-H", address, *(f"--{of}={folder / at}" for of, at in places.items())],  # noqa: S607
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        if not _answers(daemon, folder / "socket"):
            last = (folder / "log").read_text(errors="replace").splitlines()[-1:]
            pytest.skip(f"no engine starts here: {last}")
        yield engine
    finally:
        daemon.terminate()
        daemon.wait(STOP_SECONDS)
        left = folder / "run/netns/default"  # a mount, which the engine leaves behind
        subprocess.run(["umount", left], check=False, capture_output=True)  # noqa: S603, S607


def _answers(daemon: subprocess.Popen[bytes], socket: Path) -> bool:
    """Wait until the engine takes connections; return whether it does."""
    end = time.monotonic() + START_SECONDS
    while daemon.poll() is None and time.monotonic() < end:
        if socket.exists():
            return True
        time.sleep(0.1)
    return False
