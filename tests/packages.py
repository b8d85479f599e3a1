"""Installing what the tests need beside Python, with apt or Homebrew."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from bridge.sandbox.install import APT


def install(apt: tuple[str, ...], brew: tuple[str, ...], why: str) -> bool:
    """Install packages and say so, and `why`; return whether that was done."""
    if shutil.which("apt-get") and (os.geteuid() == 0 or shutil.which("sudo")):
        sys.stderr.write(f"Installing {', '.join(apt)} with apt, {why}.\n")
        command = ["/bin/sh", "-c", APT, "apt", *apt]
        command = command if os.geteuid() == 0 else ["sudo", *command]
    elif brew and shutil.which("brew"):
        sys.stderr.write(f"Installing {', '.join(brew)} with Homebrew, {why}.\n")
        command = ["brew", "install", *brew]
    else:
        return False
    return subprocess.run(command, check=False).returncode == 0  # noqa: S603
