"""`pip install .` into an empty environment gives all that a user needs."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("py.typed", "observe/page/index.html", "journal/sql/schema.1.sql", "schemas/event.json")

USER = """
from bridge.client import BridgeClient, CallStarted, Outcome


async def main(url: str) -> str | None:
    async with BridgeClient(url) as bridge:
        async for event in bridge.events("*.call.started.*", queue="subscriber.crm"):
            if isinstance(event.data, CallStarted):
                reply = await bridge.pause(event.data.agent, code="1")
                if reply.outcome is Outcome.OK:
                    return reply.raw
    return None
"""
WRONG = """
from bridge.client import BridgeClient


async def main(bridge: BridgeClient) -> None:
    await bridge.pause("jose", code=1)
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the package, and nothing else that was asked for."""
    home = tmp_path_factory.mktemp("user")
    venv.create(home / "venv", with_pip=False)
    python = home / "venv" / "bin" / "python"
    # The environment of the tests has no pip; the Python that it was made with has.
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    pip = (base, "-m", "pip", "--python", python)
    done = run(*pip, "install", "--quiet", "--constraint", ROOT / "constraints.txt", ROOT, cwd=home)
    assert done.returncode == 0, done.stderr
    return python.parent


def test_the_command_works(installed: Path, tmp_path: Path) -> None:
    """Away from the repository, with schemas that are those in it."""
    command = installed / "tactium-bridge"
    assert run(command, "--help", cwd=tmp_path).returncode == 0
    done = run(command, "schemas", "--check", "--dir", ROOT / "schemas", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_wheel_has_page_sql_and_schemas(installed: Path, tmp_path: Path) -> None:
    """They lie in the package, where `importlib.resources` finds them."""
    script = (
        "import sys; from importlib.resources import files; package = files('bridge')\n"
        "print(*(name for name in sys.argv[1:] if not package.joinpath(name).is_file()))"
    )
    done = run(installed / "python", "-c", script, *FILES, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "")


@pytest.mark.parametrize(("program", "status"), [(USER, 0), (WRONG, 1)])
def test_py_typed_serves_a_strict_user(
    installed: Path, tmp_path: Path, program: str, status: int
) -> None:
    """What is right passes, and what is wrong does not."""
    (tmp_path / "user.py").write_text(program)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", installed / "python")
    done = run(*mypy, "user.py", cwd=tmp_path)
    assert done.returncode == status, done.stdout
