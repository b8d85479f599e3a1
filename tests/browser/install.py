"""Make sure that there is a Chromium for the tests of the page: `python -m tests.browser.install`.

It does nothing, and says nothing, where there is one already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_APT = """
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends chromium fonts-dejavu-core
"""


def maybe_chromium() -> str | None:
    """Return the path of a Chromium that is installed, None where none is."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def main() -> int:
    """Install one if it is needed; return the process's exit status, 0 or 1."""
    if maybe_chromium() is not None:
        return 0
    if shutil.which("apt-get") and (os.geteuid() == 0 or shutil.which("sudo")):
        sys.stderr.write("Installing the package chromium with apt, for the tests of the page.\n")
        command = [*(() if os.geteuid() == 0 else ("sudo",)), "/bin/sh", "-c", _APT]
    elif shutil.which("brew"):
        sys.stderr.write("Installing the cask chromium with Homebrew, for the tests of the page.\n")
        command = ["brew", "install", "--cask", "chromium"]
    else:
        sys.stderr.write("Install Chromium, then try again.\n")
        return 1
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - made of our own text
    if status != 0 or maybe_chromium() is None:
        sys.stderr.write("That did not work: install Chromium by hand, and try again.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
