"""The settings: one frozen slice for each room (contract.md §7).

They come from the environment (`BRIDGE_LINK__HOST`), a `.env` file, a TOML file
and a directory of secrets, in this order of precedence. A wrong or unknown one
stops the start with one line that names it, what it was and what it may be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Literal, TypeGuard, get_args
from zoneinfo import ZoneInfo, available_timezones

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableError
from yarl import URL

from bridge.errors import SettingsError

PREFIX = "BRIDGE_"
CONFIG_VARIABLE = "BRIDGE_CONFIG"
SECRETS_VARIABLE = "BRIDGE_SECRETS_DIR"
ENV_FILE = ".env"
DEFAULT_SECRETS_DIR = Path("/run/secrets")

_LET_PASS = re.compile(r"BRIDGE_(PORT|SERVICE_.*|PORT_.*|CONFIG|SECRETS_DIR)", re.IGNORECASE)
"""Orchestrators inject BRIDGE_PORT… and BRIDGE_SERVICE_… for a service named bridge."""


def _amqp_url(secret: SecretStr) -> SecretStr:
    try:
        url = URL(secret.get_secret_value())
    except ValueError:
        url = URL()
    if url.scheme not in ("amqp", "amqps") or not url.host or not _is_host(url.host):
        raise ValueError("must be amqp://user:password@host:port/vhost, or amqps:// for TLS")
    return secret


def _is_host(name: str) -> bool:
    try:
        return bool(name.strip()) and bool(name.encode("idna"))
    except UnicodeError:
        return False


def _host(name: str) -> str:
    if not _is_host(name):
        raise ValueError("must be the name or the address of a host")
    return name


def _prefix(name: str) -> str:
    if name == "amq" or name.startswith("amq."):
        raise ValueError("must not begin with amq., which RabbitMQ keeps for itself")
    return name


def _timezone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("must be the name of a time zone, such as America/Fortaleza")
    return name


def _token(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None and not re.fullmatch(
        r"[A-Za-z0-9._~+/=-]{16,512}", secret.get_secret_value()
    ):
        raise ValueError("must be 16 to 512 letters, digits or any of - . _ ~ + / =")
    return secret


class Slice(BaseModel):
    """One room's settings. Durations are seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse TOML's `port = true`, which Python would take for 1."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and annotation is not bool:
            raise ValueError("must not be true or false")
        return value


class LinkSettings(Slice):
    """How Tactium is reached."""

    transport: Literal["socket"] = "socket"
    host: Annotated[str, AfterValidator(_host)] = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 34025
    tls: bool = False
    tls_ca_file: Path | None = None
    handshake: Literal["auto", "logon", "status"] = "auto"
    encoding: Literal["cp1252", "utf-8", "iso-8859-1"] = "cp1252"
    timezone: Annotated[str, AfterValidator(_timezone)] = "America/Fortaleza"
    connect_timeout_seconds: float = Field(default=5.0, alias="connect_timeout", gt=0, le=300)
    handshake_timeout_seconds: float = Field(default=2.0, alias="handshake_timeout", gt=0, le=300)
    idle_probe_seconds: float = Field(default=30.0, alias="idle_probe", gt=0, le=86_400)
    probe_timeout_seconds: float = Field(default=5.0, alias="probe_timeout", gt=0, le=300)
    max_frame_bytes: Annotated[int, Field(ge=1024, le=16 * 1024 * 1024)] = 65_536

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which the Tactium server's clock runs."""
        return ZoneInfo(self.timezone)


class AmqpSettings(Slice):
    """How RabbitMQ is reached, and what the bridge's names there begin with."""

    url: Annotated[SecretStr, AfterValidator(_amqp_url)] = SecretStr(
        "amqp://guest:guest@localhost:5672/"
    )
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$"), AfterValidator(_prefix)] = (
        "tactium"
    )
    queue_type: Literal["quorum", "classic"] = "quorum"
    heartbeat_seconds: int = Field(default=10, alias="heartbeat", ge=1, le=3600)
    connect_timeout_seconds: float = Field(default=5.0, alias="connect_timeout", gt=0, le=300)
    confirm_timeout_seconds: float = Field(default=30.0, alias="confirm_timeout", gt=0, le=600)


class PolicyRule(BaseModel):
    """One rule of `commands.policy`: globs, and a missing key matches all (contract.md §6)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    user: str = "*"
    commands: tuple[str, ...] = Field(default=("*",), strict=False)
    agents: tuple[str, ...] = Field(default=("*",), strict=False)
    allow: bool


class CommandsSettings(Slice):
    """Who may command, how long a command may take, and how many may be in flight."""

    timeout_seconds: float = Field(default=5.0, alias="timeout", gt=0, le=300)
    ttl_seconds: float = Field(default=60.0, alias="ttl", ge=0.001, le=86_400)
    prefetch: Annotated[int, Field(ge=1, le=10_000)] = 64
    make_call_window_seconds: float = Field(default=2.0, alias="make_call_window", gt=0, le=300)
    max_waiting: Annotated[int, Field(ge=1, le=10_000)] = 16
    remember_seconds: float = Field(default=86_400.0, alias="remember", ge=60, le=31 * 86_400)
    remember_most: Annotated[int, Field(ge=1_000, le=10_000_000)] = 100_000
    make_call_arrival_seconds: float = Field(default=60.0, alias="make_call_arrival", gt=0, le=3600)
    policy: tuple[PolicyRule, ...] = ()
    reply_to_pattern: Annotated[str, Field(min_length=1)] | None = None


class AgentsSettings(Slice):
    """For how long agents are known, and how fast it is asked after them."""

    resync_per_second: float = Field(default=50.0, gt=0, le=100_000)
    forget_after_seconds: float = Field(
        default=7 * 86_400.0, alias="forget_after", ge=60, le=366 * 86_400
    )


class JournalSettings(Slice):
    """Where what the broker has not confirmed is kept, and how much of it."""

    path: Path = Path("./bridge.db")
    durability: Literal["power", "process"] = "power"
    max_bytes: Annotated[int, Field(ge=1024 * 1024)] = 1024**3
    when_full: Literal["drop_oldest", "pause_reading"] = "drop_oldest"


class HttpSettings(Slice):
    """Where the page, the metrics and the health checks are, and the token that opens them."""

    host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8025
    token: Annotated[SecretStr | None, AfterValidator(_token)] = None


class EventsSettings(Slice):
    """How events are written."""

    schema_base_url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None


class LogSettings(Slice):
    """What is logged, and how. No format means JSON off a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] | None = None
    mask: bool = True


class Settings(Slice):
    """All settings of one bridge. `load` reads them from where an operator puts them."""

    site: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "main"
    link: LinkSettings = LinkSettings()
    amqp: AmqpSettings = AmqpSettings()
    commands: CommandsSettings = CommandsSettings()
    agents: AgentsSettings = AgentsSettings()
    journal: JournalSettings = JournalSettings()
    http: HttpSettings = HttpSettings()
    events: EventsSettings = EventsSettings()
    log: LogSettings = LogSettings()


LEAST_SECRET = 8
"""A shorter word may stand for something else as well: hiding it would only show that it is one."""


def secrets_of(settings: Settings) -> list[str]:
    """Return what must never be shown, in each way in which it may be written."""
    text = settings.amqp.url.get_secret_value()
    url = URL(text)
    written = text.partition("://")[2].rpartition("@")[0]  # user and password
    token = settings.http.token
    found = [url.password, url.raw_password, written.partition(":")[2]]
    words = [each for each in found if each and len(each) >= LEAST_SECRET and each != url.user]
    whole = [written, f"{url.raw_user}:{url.raw_password}", f"{url.user}:{url.password}"]
    pairs = [each for each in whole if url.password and url.user != "guest"]  # everybody's
    return [*pairs, *words, *([token.get_secret_value()] if token else [])]


class _Nothing(BaseModel):
    """What a single value has in it: no further settings."""


class _SourcedSettings(BaseSettings, Settings):
    """The settings, and where they come from."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=ENV_FILE,
        dotenv_filtering="only_existing",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the TOML file and the nested secrets to where settings come from."""
        sources = [init_settings, env_settings, dotenv_settings]
        if (config := _maybe_place(CONFIG_VARIABLE)) is not None:
            sources.append(TomlConfigSettingsSource(settings_cls, config))
        if (secrets := _maybe_secrets_dir()) is not None:
            sources.append(
                NestedSecretsSettingsSource(
                    file_secret_settings,
                    secrets_dir=secrets,
                    secrets_prefix=PREFIX,
                    secrets_nested_delimiter="__",
                )
            )
        return tuple(sources)


def load() -> Settings:
    """Read the settings.

    Raises `SettingsError` with one line about the first wrong one.
    """
    _check_text(Path(ENV_FILE))
    config, secrets = _maybe_place(CONFIG_VARIABLE), _maybe_secrets_dir()
    files = [path for path in secrets.iterdir() if _is_ours(path.name)] if secrets else []
    for path in [config, *files] if config else files:
        _check_text(path)
    _refuse_unknown([*os.environ, *dotenv_values(ENV_FILE), *(path.name for path in files)])
    try:
        return _SourcedSettings()
    except ValidationError as error:
        raise SettingsError(_explain(error.errors(include_url=False)[0])) from None
    except TOMLDecodeError as error:
        raise SettingsError(f"{config}: this is no TOML: {error}") from None
    except UnreadableError as error:  # a section given whole, in one variable, as no JSON
        section = re.search(r'"(\w+)"', str(error))
        name = f"{PREFIX}{section[1].upper()}" if section else "a variable"
        way_out = f"set {name}__… for each of its settings"
        raise SettingsError(f"{name}: what it holds (not shown) is no JSON; {way_out}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"the settings cannot be read: {error}") from None


def _maybe_place(variable: str) -> Path | None:
    """Return the path that a variable of the environment or of `.env` names.

    Raises `SettingsError` where nothing of its kind is there.
    """
    named = os.environ.get(variable) or dotenv_values(ENV_FILE).get(variable)
    if not named:
        return None
    path = Path(named)
    kind = "directory" if variable == SECRETS_VARIABLE else "file"
    if not (path.is_dir() if kind == "directory" else path.is_file()):
        raise SettingsError(f"{variable}: there is no {kind} {named!r}")
    return path


def _maybe_secrets_dir() -> Path | None:
    named = _maybe_place(SECRETS_VARIABLE)
    return named or (DEFAULT_SECRETS_DIR if DEFAULT_SECRETS_DIR.is_dir() else None)


def _check_text(path: Path) -> None:
    """Raise `SettingsError`, which names the file, where it is there and cannot be read."""
    try:
        path.read_text("utf-8")
    except FileNotFoundError:
        return
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: this is no UTF-8") from None


def _is_ours(name: str) -> bool:
    """Whether a name begins as our settings do, and nobody else may have put it there."""
    upper = name.upper()
    return upper.startswith(PREFIX) and not _LET_PASS.fullmatch(upper)


def _refuse_unknown(names: Iterable[str]) -> None:
    """Refuse each name with our prefix that is no setting: it may be a misspelt one."""
    for name in filter(_is_ours, names):
        owner: type[BaseModel] = Settings
        for word in name.upper().removeprefix(PREFIX).lower().split("__"):
            known = {field.alias or key: field for key, field in owner.model_fields.items()}
            if word not in known:
                raise SettingsError(_unknown(name, owner))
            section = known[word].annotation
            owner = section if _is_section(section) else _Nothing


def _explain(detail: ErrorDetails) -> str:
    """Say in one line which setting is wrong, what it was and what it may be."""
    path = [str(step) for step in detail["loc"]]
    name = PREFIX + "__".join(path).upper()
    owner: type[BaseModel] = Settings
    for step in path[:-1]:
        section = owner.model_fields[step].annotation
        if not _is_section(section):
            break
        owner = section
    if detail["type"] == "extra_forbidden":
        return _unknown(name, owner)
    field = owner.model_fields.get(path[-1])
    annotation = field.annotation if field is not None else None
    is_secret = SecretStr in (annotation, *get_args(annotation))
    hidden = is_secret or _is_section(annotation)
    was = "what it holds (not shown)" if hidden else repr(detail["input"])
    may_be = detail["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    return f"{name}: {was} will not do: {may_be}"


def _is_section(annotation: object) -> TypeGuard[type[Slice]]:
    return isinstance(annotation, type) and issubclass(annotation, Slice)


def _unknown(name: str, owner: type[BaseModel]) -> str:
    """Name an unknown setting but not its value, which may be a secret gone astray."""
    known = ", ".join(field.alias or key for key, field in owner.model_fields.items())
    there_are = f"; there are: {known}" if known else ""
    return f"{name}: there is no such setting here{there_are}"
