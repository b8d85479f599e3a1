"""compose.yaml says what the code says: each setting can be given, the version is the package's."""

from __future__ import annotations

import json
import tomllib
from base64 import b64decode
from collections.abc import Mapping
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from bridge.settings import Settings
from deploy import setup

ROOT = Path(__file__).parents[3]
DECIDED = {"BRIDGE_HTTP__PORT", "BRIDGE_JOURNAL__PATH"}
"""What the image decides."""
SECRET = {"BRIDGE_AMQP__URL", "BRIDGE_HTTP__TOKEN", "BRIDGE_LINK__DATABASE_URL"}


def services() -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return found


def test_each_setting_can_be_given() -> None:
    """But for secrets, which are files, and for what is the image's."""
    names = set()
    for room, field in Settings.model_fields.items():
        slice_ = field.annotation
        if isinstance(slice_, type) and issubclass(slice_, BaseModel):
            fields = slice_.model_fields.items()
            names |= {f"BRIDGE_{room}__{each.alias or name}".upper() for name, each in fields}
        else:
            names.add(f"BRIDGE_{room}".upper())
    assert set(services()["bridge"]["environment"]) == names - DECIDED - SECRET


def test_the_image_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = [each["image"] for each in services().values() if "build" in each]
    assert set(images) == {f"tactium-bridge:{version}"}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The volumes, empty."""
    monkeypatch.setattr(setup, "SECRETS", tmp_path / "secrets")
    monkeypatch.setattr(setup, "SERVICES", tmp_path / "services")
    monkeypatch.setattr(setup, "DEFINITIONS", ROOT / "deploy/rabbitmq/definitions.json")
    (tmp_path / "secrets").mkdir()
    for volume in services()["setup"]["volumes"]:
        where = volume.split(":")[1]
        (tmp_path / where.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return tmp_path


def test_a_secret_stays_what_it_is(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is made up once; RabbitMQ is told a salted hash of what the user is told."""
    assert [setup.main([]), setup.main([]), setup.main(["show", "bridge"])] == [0, 0, 0]
    password = capsys.readouterr().out.strip()
    assert len(password) >= 32
    url = (folders / "services/bridge/BRIDGE_AMQP__URL").read_text()
    assert url == f"amqp://bridge:{password}@rabbitmq/"
    users = json.loads((folders / "services/rabbitmq/definitions.json").read_text())["users"]
    for user in users:
        hashed = b64decode(user["password_hash"])
        word = (folders / "secrets" / user["name"]).read_text()
        assert sha256(hashed[:4] + word.encode()).digest() == hashed[4:]


def test_a_secret_that_cannot_be_made_up_is_given(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The database's URL is the bridge's alone, from when it is set."""
    assert setup.main([]) == 0
    place = folders / "services/bridge/BRIDGE_LINK__DATABASE_URL"
    assert not place.exists()
    assert setup.main(["show", "database_url"]) == 2
    monkeypatch.setattr("sys.stdin", StringIO("postgresql://u:p@h/d\n"))
    assert setup.main(["set", "database_url"]) == 0
    assert place.read_text() == "postgresql://u:p@h/d"
    assert setup.main(["show", "database_url"]) == 0
    assert capsys.readouterr().out == "postgresql://u:p@h/d\n"


@pytest.mark.parametrize("arguments", [["show"], ["show", "root"], ["set", "root"], ["list"]])
def test_wrong_usage_is_told(
    folders: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup.main(arguments) == 2
    assert "NAME is one of bridge, " in capsys.readouterr().err
    assert list((folders / "secrets").iterdir()) == []
