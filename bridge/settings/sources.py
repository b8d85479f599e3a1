"""Where the settings come from, and what is said of a wrong one (contract.md §7).

The environment (`BRIDGE_LINK__HOST`), a `.env` file, a TOML file and a directory of
secrets, in this order of precedence. A wrong or unknown one stops the start with
one line that names it, what it was and what it may be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import TypeGuard, get_args

from dotenv import dotenv_values
from pydantic import BaseModel, SecretStr, ValidationError
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
from bridge.settings.nodes import split_nodes
from bridge.settings.slices import Settings, Slice

PREFIX = "BRIDGE_"
CONFIG_VARIABLE = "BRIDGE_CONFIG"
SECRETS_VARIABLE = "BRIDGE_SECRETS_DIR"
ENV_FILE = ".env"
DEFAULT_SECRETS_DIR = Path("/run/secrets")

_LET_PASS = re.compile(r"BRIDGE_(PORT|SERVICE_.*|PORT_.*|CONFIG|SECRETS_DIR)", re.IGNORECASE)
"""Orchestrators inject BRIDGE_PORT… and BRIDGE_SERVICE_… for a service named bridge."""


LEAST_SECRET = 8
"""A shorter word may stand for something else as well: hiding it would only show that it is one."""


def secrets_of(settings: Settings) -> list[str]:
    """Return what must never be shown, in each way in which it may be written."""
    urls = split_nodes(settings.amqp.url.get_secret_value())
    if settings.link.database_url is not None:
        urls.append(settings.link.database_url.get_secret_value())
    secrets = [secret for url in urls for secret in _secrets_of_url(url)]
    token = settings.http.token
    return [*secrets, *([token.get_secret_value()] if token else [])]


def _secrets_of_url(text: str) -> list[str]:
    try:
        url = URL(text)
    except ValueError:  # not so for whoever connects with it
        url = URL()
    written = text.partition("://")[2].rpartition("@")[0]  # user and password
    found = [url.password, url.raw_password, written.partition(":")[2]]
    words = [each for each in found if each and len(each) >= LEAST_SECRET and each != url.user]
    whole = [written, f"{url.raw_user}:{url.raw_password}", f"{url.user}:{url.password}"]
    pairs = [each for each in whole if url.password and url.user != "guest"]  # everybody's
    return [*pairs, *words]


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
