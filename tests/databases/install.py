"""Make sure that there are servers for the tests: `python -m tests.databases.install`.

Debian's packages; their services are not started. Where there is no apt, nothing is
installed, and the tests say why they are skipped.
"""

from __future__ import annotations

import sys

from tests.databases.servers import SERVERS, missing
from tests.packages import install

PACKAGES = {"postgresql": "postgresql", "mariadb": "mariadb-server"}


def main() -> int:
    """Install what is missing; return the process's exit status, always 0."""
    packages = tuple(PACKAGES[kind] for kind in SERVERS if missing(kind))
    if packages:
        install(packages, (), "to play Tactium's database in a test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
