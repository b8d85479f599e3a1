"""Make sure that a private RabbitMQ node can be run: `python -m bridge.sandbox.install`.

Uses nothing beyond the standard library, so it can run before anything else is
installed. It does nothing, and says nothing, where a node can be run already.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

from bridge.sandbox.rabbitmq import find_rabbitmq

# Debian starts a service as soon as it is installed, and again at each boot. The
# user asked for neither, and port 5672 may be wanted for something else: a policy
# says no while the package is set up, unless the system has a policy of its own.
APT = """
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
apt-get update
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\\nexit 101\\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get install --yes --no-install-recommends "$@"
"""
"""Installs packages, as a script of the shell that gets their names; starts nothing."""

_AND_NOT_AT_BOOT = "update-rc.d rabbitmq-server disable\n"


def main() -> int:
    """Install RabbitMQ if it is needed; return the process's exit status, 0 or 1."""
    if find_rabbitmq() is not None:
        return 0
    if shutil.which("apt-get") and (os.geteuid() == 0 or shutil.which("sudo")):
        _say("Installing the package rabbitmq-server with apt; its service will not be started.")
        script = APT + _AND_NOT_AT_BOOT
        command = [
            *(() if os.geteuid() == 0 else ("sudo",)),
            "/bin/sh",
            "-c",
            script,
            "apt",
            "rabbitmq-server",
        ]
    elif shutil.which("brew"):
        _say("Installing the formula rabbitmq with Homebrew; its service will not be started.")
        command = ["brew", "install", "rabbitmq"]
    else:
        _say("Install RabbitMQ (package rabbitmq-server) or start Docker, then try again.")
        return 1
    # Ctrl-C reaches the command too. It is given the time to put things in order.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - made of our own text
    if status != 0 or find_rabbitmq() is None:
        _say("That did not work: install RabbitMQ by hand, or start Docker, and try again.")
        return 1
    return 0


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


if __name__ == "__main__":
    sys.exit(main())
