"""Make sure that there is Node.js with what the tests need: `python -m tests.node.install`.

It does nothing, and says nothing, where all of it is there already.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.packages import install

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
_QUIETLY = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")


def main() -> int:
    """Install what is missing; return the process's exit status, 0 or 1."""
    is_there = shutil.which("node") and shutil.which("npm")
    if not is_there and not install(("nodejs", "npm"), ("node",), "for the tests"):
        sys.stderr.write("Install Node.js and npm, then try again.\n")
        return 1
    if _are_there():
        return 0
    sys.stderr.write("Installing what the tests run in Node.js with npm, into tests/node.\n")
    return subprocess.run(["npm", "install", *_QUIETLY], cwd=HERE, check=False).returncode  # noqa: S603, S607


def _are_there() -> bool:
    """Whether each module is there in the version that is asked for."""
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        package = MODULES / name / "package.json"
        if not package.is_file() or json.loads(package.read_text())["version"] != version:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
