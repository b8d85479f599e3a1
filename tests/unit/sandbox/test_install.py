"""The installer, where there is little or nothing to install with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.sandbox import find_rabbitmq


def install(path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge.sandbox.install"],
        env={"PATH": path},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.skipif(find_rabbitmq() is None, reason="needs RabbitMQ or Docker")
def test_it_is_quiet_where_a_node_can_be_run() -> None:
    """Nothing is done and nothing is said."""
    done = install(os.environ["PATH"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_says_what_to_do_where_it_can_do_nothing(tmp_path: Path) -> None:
    """Without apt, Homebrew and Docker it ends with one sentence and status 1."""
    done = install(str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("Install RabbitMQ")
    assert done.stderr.count("\n") == 1


def test_it_announces_what_it_does_and_admits_when_that_fails(tmp_path: Path) -> None:
    """Homebrew is asked for the right formula, and its failure is our failure."""
    brew = tmp_path / "brew"
    brew.write_text('#!/bin/sh\necho "brew $*" >&2\nexit 1\n')
    brew.chmod(0o755)
    done = install(str(tmp_path))
    announced, brewed, admitted = done.stderr.splitlines()
    assert done.returncode == 1
    assert "with Homebrew" in announced
    assert brewed == "brew install rabbitmq"
    assert admitted.startswith("That did not work")
