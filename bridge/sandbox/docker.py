"""A broker run in a container, where Docker is at hand and RabbitMQ is not."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import BinaryIO

from bridge.errors import SandboxError
from bridge.sandbox.broker import CTL_TIMEOUT_SECONDS, Broker, free_ports
from bridge.sandbox.command import run_command

IMAGE = "rabbitmq:4.1-alpine"
_DOWNLOAD_TIMEOUT_SECONDS = 600.0
_ENGINE_TIMEOUT_SECONDS = 20.0

# Without a note the engine may just be about to make the container. Old engines
# call it an error if there is none to remove.
_CLEANING = """
[ -n "$noted" ] || sleep 3
docker rm --force --volumes "$2" || ! docker inspect "$2" || exit 1
rm -rf -- "$1"
"""


class DockerRabbitMQ:
    """A Docker engine that answers."""

    def tries(self) -> Sequence[Callable[[], Broker]]:
        """Return what makes a new broker, for the first try to start one, the second..."""
        return DockerBroker, DockerBroker, DockerBroker


def find_docker() -> DockerRabbitMQ | None:
    """Find a Docker engine that answers within 20 s, or return None."""
    if shutil.which("docker") is None:
        return None
    try:
        _docker("version")
    except SandboxError:
        return None
    return DockerRabbitMQ()


class DockerBroker(Broker):
    """A container of its own; the child process is a `docker start --attach`."""

    def __init__(self) -> None:
        super().__init__(_CLEANING, free_ports(1)[0])
        self._is_created = False

    async def start(self, timeout_seconds: float) -> None:
        """Start the container, whose image is downloaded first where it is missing.

        The download may take 10 minutes, which `timeout_seconds` does not count.
        """
        if not self._is_created:
            # Not `--rm`: the data have to outlive `kill`.
            await run_command(
                [
                    *("docker", "create", "--name", self.name, "--hostname", self.name),
                    *("--label", "tactium-bridge.sandbox"),
                    *("--publish", f"127.0.0.1:{self.port}:5672", IMAGE),
                ],
                timeout_seconds=_DOWNLOAD_TIMEOUT_SECONDS,
            )
            self._is_created = True
            self.guard.note("created")
        await super().start(timeout_seconds)

    def suspend(self) -> None:
        """Freeze all processes of the container; takes part of a second."""
        _docker("pause", self.name)

    def resume(self) -> None:
        """Thaw the container; takes part of a second."""
        _docker("unpause", self.name)

    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl in the container; takes one or two seconds."""
        return await run_command(
            ["docker", "exec", self.name, "rabbitmqctl", "-q", *arguments],
            timeout_seconds=CTL_TIMEOUT_SECONDS,
        )

    async def evaluate(self, expression: str) -> None:
        """Use rabbitmqctl, as the image need not have `erl_call`."""
        await self.ctl("eval", f"{expression}.")

    def _spawn(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - the arguments are ours
            ["docker", "start", "--attach", self.name],  # noqa: S607 - as find_docker found it
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _send_kill(self) -> None:
        _docker("kill", self.name)


def _docker(*arguments: str) -> None:
    try:
        subprocess.run(  # noqa: S603 - the arguments are ours
            ["docker", *arguments],  # noqa: S607 - as find_docker found it
            check=True,
            capture_output=True,
            text=True,
            timeout=_ENGINE_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"Docker did not answer within {error.timeout:g} s.") from None
    except (subprocess.CalledProcessError, OSError) as error:
        complaint = getattr(error, "stderr", None) or error
        raise SandboxError(f"docker {arguments[0]} failed: {complaint}") from error
