"""A broker run from the RabbitMQ package that is installed on this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from bridge.errors import SandboxError
from bridge.sandbox.broker import CTL_TIMEOUT_SECONDS, LOOPBACK, Broker, free_ports
from bridge.sandbox.command import run_command

_NODE = "sandbox@localhost"
_QUICK_CALL_TIMEOUT_SECONDS = 10.0

# The package's own scripts. What Debian and others put on the PATH is a wrapper
# that switches to the user `rabbitmq` and insists on the system's node.
_SCRIPTS = (
    Path("/usr/lib/rabbitmq/bin"),
    Path("/opt/homebrew/opt/rabbitmq/sbin"),
    Path("/usr/local/opt/rabbitmq/sbin"),
    Path("/home/linuxbrew/.linuxbrew/opt/rabbitmq/sbin"),
    Path("/opt/rabbitmq/sbin"),
)

_CONFIGURATION = """
cluster_name = {name}
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 1MB
"""

# What is noted are process groups, as each program was started in a session of its
# own. So were the broker's helpers, by the broker: they end by themselves when it
# does, but one may be busy, and on Linux it can be told by its environment. Until
# all are quite dead the folder may still fill, hence more than one attempt.
_CLEANING = """
for group in $noted; do kill -s KILL -- "-$group"; done
for environment in $(grep -lsF "HOME=$1" /proc/[0-9]*/environ); do
    helper=${environment#/proc/}
    kill -s KILL "${helper%/environ}"
done
for attempt in 1 2 3 4 5; do
    rm -rf -- "$1" && exit 0
    sleep 1
done
exit 1
"""


@dataclass(frozen=True)
class NativeRabbitMQ:
    """RabbitMQ and Erlang as they are installed on this machine."""

    scripts: Path
    erlang: Path
    epmd: str
    maybe_erl_call: str | None

    def tries(self) -> Sequence[Callable[[], Broker]]:
        """Return what makes a new broker, for the first try to start one, the second..."""
        plain = partial(NativeBroker, self, short_library_path=False)
        return partial(NativeBroker, self, short_library_path=True), plain, plain


def find_native() -> NativeRabbitMQ | None:
    """Find a RabbitMQ package and its Erlang, or return None."""
    maybe_erl, maybe_epmd = shutil.which("erl"), shutil.which("epmd")
    maybe_scripts = next((each for each in _SCRIPTS if (each / "rabbitmq-server").exists()), None)
    if maybe_erl is None or maybe_epmd is None or maybe_scripts is None:
        return None
    erlang = Path(maybe_erl).resolve().parent.parent
    unlinked = next(map(str, erlang.glob("lib/erl_interface-*/bin/erl_call")), None)
    return NativeRabbitMQ(maybe_scripts, erlang, maybe_epmd, shutil.which("erl_call") or unlinked)


@dataclass(frozen=True)
class Seat:
    """Where a broker's node is, and whom it belongs to; by default to nobody, on this machine.

    The members of a cluster share the broker's `name`, the `cookie`, and on one machine
    the epmd of the first. `inside` is what a program is run with to be elsewhere, such
    as `ip netns exec …`, and then has the `address`.
    """

    node: str = _NODE
    address: str = LOOPBACK
    name: str | None = None
    cookie: str | None = None
    epmd_port: int | None = None
    starts_epmd: bool = True
    inside: tuple[str, ...] = ()
    configuration: str = ""
    erlang: str = ""

    @property
    def has_long_name(self) -> bool:
        """Whether Erlang must be told that the name of the node's host has dots."""
        return "." in self.node.partition("@")[2]


class NativeBroker(Broker):
    """A broker and an epmd of its own, both children of this process."""

    def __init__(
        self, installed: NativeRabbitMQ, *, short_library_path: bool, seat: Seat | None = None
    ) -> None:
        self.seat = seat or Seat()
        port, self._distribution_port, self.epmd_port = free_ports(3)
        self.epmd_port = self.seat.epmd_port or self.epmd_port
        super().__init__(_CLEANING, port, address=self.seat.address, name=self.seat.name)
        self._installed = installed
        self._epmd: subprocess.Popen[bytes] | None = None
        self._write_files()
        self._environment = self._compose_environment()
        if short_library_path:
            self._shorten_library_path()

    def suspend(self) -> None:
        """Send SIGSTOP to the broker's process."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT to the broker's process."""
        self._signal(signal.SIGCONT)

    async def ctl(self, *arguments: str) -> str:
        """Run the package's rabbitmqctl; takes about a second."""
        return await run_command(
            [*self.seat.inside, str(self._installed.scripts / "rabbitmqctl"), "-q", *arguments],
            timeout_seconds=CTL_TIMEOUT_SECONDS,
            environment=self._environment,
        )

    async def evaluate(self, expression: str) -> None:
        """Use Erlang's `erl_call`, some 20 ms, and rabbitmqctl where it is not installed."""
        if self._installed.maybe_erl_call is None:
            await self.ctl("eval", f"{expression}.")
            return
        answer = await run_command(
            [self._installed.maybe_erl_call, "-r", "-sname", self.seat.node, "-e"],
            timeout_seconds=_QUICK_CALL_TIMEOUT_SECONDS,
            environment=self._environment,
            text=f"{expression}.\n",
        )
        if not answer.startswith("{ok,"):
            raise SandboxError(f"The private RabbitMQ node answered {answer.strip()}")

    def _spawn(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        # RabbitMQ would start an epmd too, but as a daemon that outlives it.
        if self._epmd is None and self.seat.starts_epmd:
            self._epmd = self._popen([self._installed.epmd], log)
            self.guard.note(f"{self._epmd.pid}")
        server = self._popen([str(self._installed.scripts / "rabbitmq-server")], log)
        epmd = f"{self._epmd.pid} " if self._epmd is not None else ""
        self.guard.note(f"{epmd}{server.pid}")
        return server

    def _popen(self, command: list[str], log: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - found by find_native
            [*self.seat.inside, *command],
            env=self._environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Out of reach of a terminal's Ctrl-C, and a group to kill at once.
            start_new_session=True,
        )

    def _children(self) -> list[subprocess.Popen[bytes]]:
        return [*super()._children(), *([self._epmd] if self._epmd is not None else [])]

    def _send_kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # A child that was not waited for keeps its id, so nobody else can be hit.
        if self._process is None or self._process.poll() is not None:
            raise SandboxError("The private RabbitMQ node does not run; restart it first.")
        os.killpg(self._process.pid, number)

    def _write_files(self) -> None:
        files = {
            ".erlang.cookie": self.seat.cookie or secrets.token_hex(20),
            "environment": "",
            "plugins": "[].",
            "rabbitmq.conf": _CONFIGURATION.format(name=self.name) + self.seat.configuration,
            "advanced.config": "[].",
        }
        for name, content in files.items():
            (self.folder / name).write_text(content)
        (self.folder / ".erlang.cookie").chmod(0o400)
        (self.folder / "conf.d").mkdir()

    def _compose_environment(self) -> dict[str, str]:
        """Return the environment of the node's programs: nothing of the system's node in it."""
        interface = "{" + self.seat.address.replace(".", ",") + "}"
        loopback = f"-kernel inet_dist_use_interface {interface} {self.seat.erlang}".rstrip()
        return {
            **({"RABBITMQ_USE_LONGNAME": "true"} if self.seat.has_long_name else {}),
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_EPMD_ADDRESS": self.seat.address,
            "ERL_EPMD_PORT": f"{self.epmd_port}",
            # The start script then becomes the broker instead of waiting for it, so
            # that our child is the broker itself.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.folder / "conf.d"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "environment"),
            "RABBITMQ_CTL_ERL_ARGS": f"+fnu {loopback}",
            "RABBITMQ_DIST_PORT": f"{self._distribution_port}",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_NODENAME": self.seat.node,
            "RABBITMQ_NODE_IP_ADDRESS": self.seat.address,
            "RABBITMQ_NODE_PORT": f"{self.port}",
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S 2:2 {loopback}",
        }

    def _shorten_library_path(self) -> None:
        """Let the node look for its code where that is, which halves its start.

        It loads about a thousand modules, and looks for each in every plugin
        before it comes to Erlang's own libraries: 50,000 files that are not there.
        So it sees the libraries of the broker but no plugin, and all come first.
        """
        libraries = self.folder / "libraries"
        libraries.mkdir()
        package = (self._installed.scripts / "rabbitmq-server").resolve().parent.parent
        for library in package.glob("plugins/*-*"):
            is_plugin = library.name.startswith("rabbitmq_")
            if not is_plugin or library.name.startswith("rabbitmq_prelaunch-"):
                (libraries / library.name).symlink_to(library)
        folders = [*libraries.glob("*/ebin"), *self._installed.erlang.glob("lib/*/ebin")]
        self._environment["RABBITMQ_PLUGINS_DIR"] = str(libraries)
        self._environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] += " -pa " + " ".join(
            map(str, folders)
        )
