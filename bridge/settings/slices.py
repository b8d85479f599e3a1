"""The settings: one frozen slice for each room. Durations are seconds (contract.md §7)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from yarl import URL

from bridge.settings.nodes import broker_nodes


def _amqp_url(secret: SecretStr) -> SecretStr:
    try:
        hosts = [url.host for url in broker_nodes(secret.get_secret_value())]
    except ValueError:
        hosts = []
    if not hosts or not all(host and _is_host(host) for host in hosts):
        raise ValueError(
            "must be amqp://user:password@host:port/vhost, or amqps:// for TLS, "
            "with commas between the nodes of a cluster"
        )
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


DATABASES = ("postgresql", "mysql", "mariadb", "mssql", "oracle", "sqlite")
"""What an URL of Tactium's database may begin with; the driver is chosen for it."""

Name = Annotated[str, Field(min_length=1, max_length=128)]


class LinkSettings(Slice):
    """How Tactium is reached."""

    transport: Literal["socket", "database"] = "socket"
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
    database_url: SecretStr | None = None
    schema_name: str | None = Field(default=None, alias="schema", min_length=1)
    tto_table: Name = "T_TTO"
    tto_id: Name = "IS_TTO"
    tto_text: Name = "DS_TTO"
    tti_table: Name = "T_TTI"
    tti_id: Name = "IS_TTI"
    tti_text: Name = "DS_TTI"
    tti_sequence: Literal["database", "bridge"] = "database"
    malformed_table: Name | None = None
    poll_interval_seconds: float = Field(default=0.2, alias="poll_interval", ge=0.001, le=60)
    slow_poll_interval_seconds: float = Field(
        default=1.0, alias="slow_poll_interval", ge=0.001, le=60
    )

    @field_validator("database_url")
    @classmethod
    def _is_a_plain_url(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if secret is None and info.data.get("transport") != "database":
            return None
        text = secret.get_secret_value() if secret is not None else ""
        if text.partition("://")[0] not in DATABASES:
            kinds = ", ".join(f"{kind}://" for kind in DATABASES)
            raise ValueError(
                f"must be such as postgresql://user:password@host/database, where "
                f"link.transport is database; there are {kinds}"
            )
        return secret

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
    history: bool = False
    history_age_seconds: int = Field(
        default=7 * 86_400, alias="history_age", ge=60, le=366 * 86_400
    )
    history_bytes: Annotated[int, Field(ge=1024 * 1024)] = 10 * 1024**3

    @property
    def for_leading(self) -> AmqpSettings:
        """What the connections of a leader have: half the heartbeat, or a second.

        After two or three of those that are missed the broker lets another one lead.
        """
        half = max(1, self.heartbeat_seconds // 2)
        return self.model_copy(update={"heartbeat_seconds": half})

    @property
    def nodes(self) -> tuple[URL, ...]:
        """The URL of each node, which are tried in turn."""
        return broker_nodes(self.url.get_secret_value())


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
