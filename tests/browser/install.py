"""Make sure that there is a Chromium for the tests of the page: `python -m tests.browser.install`.

It does nothing, and says nothing, where there is one already.
"""

from __future__ import annotations

import shutil
import sys

from tests.packages import install

PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def maybe_chromium() -> str | None:
    """Return the path of a Chromium that is installed, None where none is."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def main() -> int:
    """Install one if it is needed; return the process's exit status, 0 or 1."""
    if maybe_chromium() is not None:
        return 0
    packages = (("chromium", "fonts-dejavu-core"), ("--cask", "chromium"))
    if not install(*packages, "for the tests of the page") or maybe_chromium() is None:
        sys.stderr.write("That did not work: install Chromium by hand, and try again.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
