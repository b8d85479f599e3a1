"""The settings, as every command that needs them takes them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bridge.settings import CONFIG_VARIABLE, Settings, load

CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    show_envvar=True,
    help="A TOML file with settings; the environment comes before it.",
)


def settings_of(config: Path | None) -> Settings:
    """Read the settings, with a file that the command line names. Raises `SettingsError`."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)
    return load()
