"""Make sure that there is an engine for containers: `python -m tests.compose.install`.

Debian's packages, which also make the images (images.py). Where there is no apt,
nothing is installed, and the tests say why they are skipped.
"""

from __future__ import annotations

import shutil
import sys

from tests.packages import install

PROGRAMS = ("dockerd", "docker", "docker-compose", "debootstrap", "iptables")


def main() -> int:
    """Install what is missing; return the process's exit status, always 0."""
    if not all(map(shutil.which, PROGRAMS)):
        packages = ("docker.io", "docker-compose", "debootstrap", "iptables", "ca-certificates")
        install(packages, (), "to bring compose.yaml up in a test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
