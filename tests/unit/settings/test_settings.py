"""Where settings come from, and what stops the start (contract.md §7)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.errors import SettingsError
from bridge.settings import Settings, load
from bridge.settings import sources as module

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def _clean_house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's own, wherever the machine may have some."""
    for name in list(os.environ):
        if name.upper().startswith("BRIDGE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "DEFAULT_SECRETS_DIR", tmp_path / "no-secrets")


class House:
    """The places where an operator puts settings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self._monkeypatch = monkeypatch
        self._root = root

    def environment(self, **variables: str) -> None:
        """Set variables, without their prefix."""
        for name, value in variables.items():
            self._monkeypatch.setenv(f"BRIDGE_{name}", value)

    def dotenv(self, text: str) -> None:
        """Write the `.env` file."""
        (self._root / ".env").write_text(text, "utf-8", "surrogateescape")

    def toml(self, text: str) -> None:
        """Write a TOML file and name it."""
        path = self._root / "bridge.toml"
        path.write_text(text, "utf-8", "surrogateescape")
        self.environment(CONFIG=str(path))

    def secrets(self, **files: str) -> None:
        """Write a directory of secrets and name it."""
        path = self._root / "secrets"
        path.mkdir(exist_ok=True)
        for name, value in files.items():
            (path / name).write_text(value, "utf-8", "surrogateescape")
        self.environment(SECRETS_DIR=str(path))


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> House:
    """The places where an operator puts settings, all empty."""
    return House(monkeypatch, tmp_path)


def refusal() -> str:
    """Return the one line that stops the start; no secret is in it."""
    with pytest.raises(SettingsError) as caught:
        load()
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert SECRET not in line
    assert SECRET not in repr(caught.value.__cause__)
    return line


# --- what there is --------------------------------------------------------------

DEFAULTS = {
    "site": "main",
    "link.transport": "socket",
    "link.host": "localhost",
    "link.port": 34025,
    "link.tls": False,
    "link.handshake": "auto",
    "link.encoding": "cp1252",
    "link.timezone": "America/Fortaleza",
    "link.connect_timeout_seconds": 5,
    "link.idle_probe_seconds": 30,
    "link.max_frame_bytes": 65_536,
    "amqp.prefix": "tactium",
    "amqp.queue_type": "quorum",
    "amqp.heartbeat_seconds": 10,
    "commands.timeout_seconds": 5,
    "commands.ttl_seconds": 60,
    "commands.prefetch": 64,
    "commands.make_call_window_seconds": 2,
    "events.schema_base_url": None,
    "log.level": "info",
    "log.format": None,
}

GIVEN = {
    "SITE": ("fortaleza-2", "site", "fortaleza-2"),
    "LINK__HOST": ("pbx", "link.host", "pbx"),
    "LINK__PORT": ("1", "link.port", 1),
    "LINK__TLS": ("true", "link.tls", True),
    "LINK__HANDSHAKE": ("status", "link.handshake", "status"),
    "LINK__ENCODING": ("utf-8", "link.encoding", "utf-8"),
    "LINK__TIMEZONE": ("America/Sao_Paulo", "link.timezone", "America/Sao_Paulo"),
    "LINK__CONNECT_TIMEOUT": ("0.5", "link.connect_timeout_seconds", 0.5),
    "LINK__IDLE_PROBE": ("7", "link.idle_probe_seconds", 7),
    "LINK__MAX_FRAME_BYTES": ("2048", "link.max_frame_bytes", 2048),
    "AMQP__PREFIX": ("tactium.north", "amqp.prefix", "tactium.north"),
    "AMQP__QUEUE_TYPE": ("classic", "amqp.queue_type", "classic"),
    "AMQP__HEARTBEAT": ("30", "amqp.heartbeat_seconds", 30),
    "COMMANDS__TIMEOUT": ("1.5", "commands.timeout_seconds", 1.5),
    "COMMANDS__TTL": ("600", "commands.ttl_seconds", 600),
    "COMMANDS__PREFETCH": ("1", "commands.prefetch", 1),
    "COMMANDS__MAKE_CALL_WINDOW": ("3", "commands.make_call_window_seconds", 3),
    "EVENTS__SCHEMA_BASE_URL": ("https://s.example", "events.schema_base_url", "https://s.example"),
    "LOG__LEVEL": ("debug", "log.level", "debug"),
    "LOG__FORMAT": ("console", "log.format", "console"),
}


def value(settings: Settings, path: str) -> Any:
    found: Any = settings
    for step in path.split("."):
        found = getattr(found, step)
    return found


def test_the_defaults_are_those_of_the_contract() -> None:
    """With nothing given anywhere."""
    settings = load()
    assert {path: value(settings, path) for path in DEFAULTS} == DEFAULTS
    assert settings.amqp.url.get_secret_value() == "amqp://guest:guest@localhost:5672/"
    assert settings.link.zone.key == "America/Fortaleza"


@pytest.mark.parametrize("name", GIVEN)
def test_each_setting_has_its_name_in_the_environment(house: House, name: str) -> None:
    """The name of contract.md §7, in either case; nothing else changes with it."""
    text, path, expected = GIVEN[name]
    house.environment(**{name: text})
    settings = load()
    assert value(settings, path) == expected
    assert {p: value(settings, p) for p in DEFAULTS} == {**DEFAULTS, path: expected}


@pytest.mark.parametrize(
    "url", ["amqp://u:p@h:5672/v", "amqps://u:p@h/", "amqp://h", "amqp://[::1]/"]
)
def test_the_brokers_url_is_kept_secret(house: House, url: str) -> None:
    """It is there for whoever asks for it by name, and in no text of the settings."""
    house.environment(AMQP__URL=url)
    settings = load()
    assert settings.amqp.url.get_secret_value() == url
    for text in (str(settings), repr(settings), settings.model_dump_json()):
        assert url not in text


def test_settings_cannot_be_changed() -> None:
    """What was read at the start holds till the end."""
    settings = load()
    with pytest.raises(ValidationError):
        settings.link.host = "other"
    with pytest.raises(ValidationError):
        settings.site = "other"


# --- where they come from -------------------------------------------------------

SOURCES = ["environment", "dotenv", "toml", "secrets"]


def put(house: House, source: str, site: str) -> None:
    {
        "environment": lambda: house.environment(SITE=site),
        "dotenv": lambda: house.dotenv(f"OTHER=1\nBRIDGE_SITE={site}\n"),
        "toml": lambda: house.toml(f'site = "{site}"'),
        "secrets": lambda: house.secrets(BRIDGE_SITE=f"{site}\n", another="1"),
    }[source]()


@pytest.mark.parametrize("first", range(len(SOURCES)))
def test_what_comes_first_wins(house: House, first: int) -> None:
    """The environment before `.env` before the TOML file before the secrets."""
    for source in SOURCES[first:]:
        put(house, source, source)
    assert load().site == SOURCES[first]


def test_sources_add_up(house: House) -> None:
    """Also within one room: each gives what the ones before it leave open."""
    house.environment(LINK__HOST="from-environment")
    house.dotenv("BRIDGE_LINK__PORT=1111\nBRIDGE_LINK__HOST=no\n")
    house.toml('[link]\nconnect_timeout = 7.5\nport = 2222\n[amqp]\nprefix = "from-toml"\n')
    house.secrets(BRIDGE_AMQP__URL="amqp://u:from-secret@h/\n", BRIDGE_AMQP__PREFIX="no")
    settings = load()
    assert (settings.link.host, settings.link.port) == ("from-environment", 1111)
    assert settings.link.connect_timeout_seconds == 7.5
    assert settings.amqp.prefix == "from-toml"
    assert settings.amqp.url.get_secret_value() == "amqp://u:from-secret@h/"


@pytest.mark.parametrize(
    "name",
    [
        *("BRIDGE_PORT", "BRIDGE_PORT_5672_TCP", "BRIDGE_PORT_5672_TCP_ADDR"),
        *("BRIDGE_SERVICE_HOST", "BRIDGE_SERVICE_PORT", "BRIDGE_SERVICE_PORT_AMQP"),
    ],
)
def test_what_orchestrators_inject_is_let_pass(
    monkeypatch: pytest.MonkeyPatch, house: House, name: str
) -> None:
    """For a service named bridge, in the environment and in a `.env` written from one."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:5672")
    house.dotenv(f"{name}=tcp://10.0.0.1:5672\n")
    assert load().model_dump() == Settings().model_dump()


# --- what stops the start -------------------------------------------------------

WRONG = {
    "SITE": ["", "a b", "a.b", "a#", "é", "x" * 65, "a\nb"],
    "LINK__TRANSPORT": ["", "udp", "SOCKET "],
    "LINK__HOST": [""],
    "LINK__PORT": ["", "0", "-1", "65536", "http", "1.5"],
    "LINK__TLS": ["", "maybe", "2"],
    "LINK__HANDSHAKE": ["", "both", "Auto"],
    "LINK__ENCODING": ["", "ascii", "utf8mb4"],
    "LINK__TIMEZONE": ["", "Mars/Base", "../etc/passwd", "-03:00"],
    "LINK__CONNECT_TIMEOUT": ["", "0", "-1", "5s", "nan", "inf", "1e9"],
    "LINK__IDLE_PROBE": ["", "0", "nan"],
    "LINK__MAX_FRAME_BYTES": ["", "0", "-1", "64K"],
    "AMQP__PREFIX": ["", "a b", "a#", "a*", "x" * 200],
    "AMQP__QUEUE_TYPE": ["", "stream", "Quorum"],
    "AMQP__HEARTBEAT": ["", "-1", "x"],
    "COMMANDS__TIMEOUT": ["", "0", "-5", "nan"],
    "COMMANDS__TTL": ["", "0", "nan", "inf"],
    "COMMANDS__PREFETCH": ["", "0", "many"],
    "COMMANDS__MAKE_CALL_WINDOW": ["", "0", "nan"],
    "EVENTS__SCHEMA_BASE_URL": ["schemas", "ftp://s.example", "https://a b"],
    "LOG__LEVEL": ["", "loud", "INFO!"],
    "LOG__FORMAT": ["xml"],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_named_with_what_it_may_be(house: House, name: str) -> None:
    """One line: the variable, what it was, and a sentence about what will do."""
    for text in WRONG[name]:
        house.environment(**{name: text})
        line = refusal()
        assert line.startswith(f"BRIDGE_{name}: {text!r} ")
        assert line.removeprefix(f"BRIDGE_{name}: {text!r}").strip()


@pytest.mark.parametrize(
    "url",
    [
        f"http://u:{SECRET}@h/",
        f"u:{SECRET}@h",
        f"amqp:u:{SECRET}@h",
        f"amqp://u:{SECRET}@",
        f"amqp://u:{SECRET}@h:port/",
        f"amqp://u:{SECRET}@h:99999/",
        f"amqp://u:{SECRET}@[::1/",
        SECRET,
        "",
    ],
)
@pytest.mark.parametrize("source", SOURCES)
def test_a_wrong_secret_is_named_and_not_shown(house: House, source: str, url: str) -> None:
    """Wherever it came from, the line says what it may be and not what it was."""
    {
        "environment": lambda: house.environment(AMQP__URL=url),
        "dotenv": lambda: house.dotenv(f"BRIDGE_AMQP__URL='{url}'\n"),
        "toml": lambda: house.toml(f'[amqp]\nurl = "{url}"\n'),
        "secrets": lambda: house.secrets(BRIDGE_AMQP__URL=url),
    }[source]()
    line = refusal()
    assert line.startswith("BRIDGE_AMQP__URL: ")
    assert "amqp://" in line
    assert "amqps://" in line


@pytest.mark.parametrize(
    "text",
    [
        f'amqp = "amqp://u:{SECRET}@h/"',
        f'amqp = ["amqp://u:{SECRET}@h/"]',
        f'[[amqp]]\nurl = "amqp://u:{SECRET}@h/"',
        f'[amqp.url]\npassword = "{SECRET}"',
        f'[amqp]\nurl = ["{SECRET}"]',
        f'[amqp]\npassword = "{SECRET}"',
        f'password = "{SECRET}"',
        f'[amqp\nurl = "{SECRET}"',
        f"[amqp]\nurl = {SECRET}",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(house: House, text: str) -> None:
    """A section written as a value, a key that is none, a file that is no TOML."""
    house.toml(text)
    assert refusal()


@pytest.mark.parametrize("text", [f"amqp://u:{SECRET}@h/", f'"amqp://u:{SECRET}@h/"', SECRET, "5"])
def test_a_whole_section_in_one_variable_is_named_and_not_shown(house: House, text: str) -> None:
    """Who writes the URL into `BRIDGE_AMQP` is told which variable is wrong."""
    house.environment(AMQP=text)
    assert refusal().startswith("BRIDGE_AMQP: ")


UNKNOWN = [
    *("BRIDGE_HOST", "BRIDGE_AMPQ__URL", "BRIDGE_LINK__HOTS", "BRIDGE_SITE__NAME"),
    *("BRIDGE_LINK__CONNECT_TIMEOUT_SECONDS", "BRIDGE_PORTAL", "BRIDGE_SERVICES"),
]


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("source", ["environment", "dotenv", "secrets"])
def test_an_unknown_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, house: House, source: str, name: str
) -> None:
    """It may be a misspelt one, so it is never passed over; its value may be a secret."""
    {
        "environment": lambda: monkeypatch.setenv(name, SECRET),
        "dotenv": lambda: house.dotenv(f"{name}={SECRET}\n"),
        "secrets": lambda: house.secrets(**{name: SECRET}),
    }[source]()
    assert refusal().startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hosts = 1", "BRIDGE_HOSTS"),
        ("[link]\nhots = 1", "BRIDGE_LINK__HOTS"),
        ("[links]\nhost = 1", "BRIDGE_LINKS"),
        ("[link]\nport = 0", "BRIDGE_LINK__PORT"),
        ("[link]\nport = true", "BRIDGE_LINK__PORT"),
        ('[link]\nport = "x"', "BRIDGE_LINK__PORT"),
        ("[link]\nhost = 5", "BRIDGE_LINK__HOST"),
        ("link = 5", "BRIDGE_LINK"),
        ("site = 5", "BRIDGE_SITE"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_alike(house: House, text: str, name: str) -> None:
    """As the variable that would say the same."""
    house.toml(text)
    assert refusal().startswith(f"{name}: ")


def test_an_unknown_setting_is_told_what_there_is(house: House) -> None:
    """The names that would do, as they are spelt."""
    house.environment(LINK__CONNECT_TIMEOUT_SECONDS="5")
    assert "connect_timeout" in refusal().replace("CONNECT_TIMEOUT_SECONDS", "").split(": ", 1)[1]


@pytest.mark.parametrize("name", ["CONFIG", "SECRETS_DIR"])
@pytest.mark.parametrize("source", ["environment", "dotenv"])
def test_a_place_that_is_not_there_is_named(house: House, name: str, source: str) -> None:
    """Starting with the defaults instead would be the worst surprise."""
    if source == "environment":
        house.environment(**{name: "not-there"})
    else:
        house.dotenv(f"BRIDGE_{name}=not-there\n")
    line = refusal()
    assert line.startswith(f"BRIDGE_{name}: ")
    assert "not-there" in line


@pytest.mark.parametrize("name", ["CONFIG", "SECRETS_DIR"])
def test_a_place_of_the_wrong_kind_is_named(house: House, tmp_path: Path, name: str) -> None:
    """A directory is no TOML file, and a file is no directory of secrets."""
    place = tmp_path / "place"
    place.touch() if name == "SECRETS_DIR" else place.mkdir()
    house.environment(**{name: str(place)})
    assert refusal().startswith(f"BRIDGE_{name}: ")


@pytest.mark.parametrize(
    ("source", "file"), [("toml", "bridge.toml"), ("dotenv", ".env"), ("secrets", "BRIDGE_SITE")]
)
def test_a_file_that_is_no_utf8_is_named(house: House, source: str, file: str) -> None:
    """An accent written by an editor of another encoding is easily found then."""
    put(house, source, "\udce9")
    assert file in refusal()


@pytest.mark.parametrize("text", ["[link", "site", "\x00", 'site = "a"\nsite = "b"'])
def test_a_file_that_is_no_toml_is_named(house: House, text: str) -> None:
    """The file, and where in it."""
    house.toml(text)
    assert "bridge.toml" in refusal()
