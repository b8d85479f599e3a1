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
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
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
    if url.scheme not in ("amqp", "amqps") or not url.host:
        raise ValueError("must be amqp://user:password@host:port/vhost, or amqps:// for TLS")
    return secret


def _timezone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("must be the name of a time zone, such as America/Fortaleza")
    return name


class Slice(BaseModel):
    """One room's settings. Durations are seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class LinkSettings(Slice):
    """How Tactium is reached."""

    transport: Literal["socket"] = "socket"
    host: Annotated[str, Field(min_length=1)] = "localhost"
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
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "tactium"
    queue_type: Literal["quorum", "classic"] = "quorum"
    heartbeat_seconds: int = Field(default=10, alias="heartbeat", ge=1, le=3600)
    connect_timeout_seconds: float = Field(default=5.0, alias="connect_timeout", gt=0, le=300)
    confirm_timeout_seconds: float = Field(default=30.0, alias="confirm_timeout", gt=0, le=600)


class CommandsSettings(Slice):
    """How long a command may take, and how many may be in flight."""

    timeout_seconds: float = Field(default=5.0, alias="timeout", gt=0, le=300)
    ttl_seconds: float = Field(default=60.0, alias="ttl", gt=0, le=86_400)
    prefetch: Annotated[int, Field(ge=1, le=10_000)] = 64
    make_call_window_seconds: float = Field(default=2.0, alias="make_call_window", gt=0, le=300)


class EventsSettings(Slice):
    """How events are written."""

    schema_base_url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None


class LogSettings(Slice):
    """What is logged, and how. No format means JSON off a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] | None = None


class Settings(Slice):
    """All settings of one bridge. `load` reads them from where an operator puts them."""

    site: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "main"
    link: LinkSettings = LinkSettings()
    amqp: AmqpSettings = AmqpSettings()
    commands: CommandsSettings = CommandsSettings()
    events: EventsSettings = EventsSettings()
    log: LogSettings = LogSettings()


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
        config = os.environ.get(CONFIG_VARIABLE)
        secrets = Path(os.environ.get(SECRETS_VARIABLE) or DEFAULT_SECRETS_DIR)
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            *([TomlConfigSettingsSource(settings_cls, Path(config))] if config else []),
            *(
                [
                    NestedSecretsSettingsSource(
                        file_secret_settings,
                        secrets_dir=secrets,
                        secrets_prefix=PREFIX,
                        secrets_nested_delimiter="__",
                    )
                ]
                if secrets.is_dir()
                else []
            ),
        )


def load() -> Settings:
    """Read the settings.

    Raises `SettingsError` with one line about the first wrong one.
    """
    config = os.environ.get(CONFIG_VARIABLE)
    if config and not Path(config).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE}: there is no file {config!r}")
    try:
        settings = _SourcedSettings()
    except ValidationError as error:
        raise SettingsError(_explain(error.errors(include_url=False)[0])) from None
    except ValueError as error:  # what the sources raise: broken TOML, broken JSON in a variable
        raise SettingsError(f"the settings cannot be read: {error}") from None
    _refuse_unknown([*os.environ, *dotenv_values(ENV_FILE)])
    return settings


def _refuse_unknown(names: Iterable[str]) -> None:
    """Refuse what pydantic-settings lets pass: a variable whose first word is no setting."""
    for name in names:
        upper = name.upper()
        if not upper.startswith(PREFIX) or _LET_PASS.fullmatch(upper):
            continue
        word = upper.removeprefix(PREFIX).partition("__")[0].lower()
        if word not in Settings.model_fields:
            raise SettingsError(_unknown(name, Settings))


def _explain(detail: ErrorDetails) -> str:
    """Say in one line which setting is wrong, what it was and what it may be."""
    path = [str(step) for step in detail["loc"]]
    name = PREFIX + "__".join(path).upper()
    owner: type[BaseModel] = Settings
    for step in path[:-1]:
        annotation = owner.model_fields[step].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        owner = annotation
    if detail["type"] == "extra_forbidden":
        return _unknown(name, owner)
    field = owner.model_fields.get(path[-1])
    secret = field is not None and field.annotation is SecretStr
    was = "the value given (not shown)" if secret else repr(detail["input"])
    may_be = detail["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    return f"{name}: {was} will not do: {may_be}"


def _unknown(name: str, owner: type[BaseModel]) -> str:
    """Name an unknown setting but not its value, which may be a secret gone astray."""
    known = ", ".join(field.alias or key for key, field in owner.model_fields.items())
    return f"{name}: there is no such setting here; there are: {known}"
