"""What an operator runs: the bridge, and a look at whether it could run."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from bridge import app, loop
from bridge.check import Verdict, check
from bridge.cli.configuring import CONFIG, settings_of
from bridge.observe import logs
from bridge.settings import LogSettings, Settings, secrets_of


@click.command("run")
@CONFIG
def run_command(config: Path | None) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    Settings come from the environment (BRIDGE_LINK__HOST, BRIDGE_AMQP__URL, …),
    a .env file, a TOML file and a directory of secrets: see the README.
    """
    settings = settings_of(config)
    logs.configure(settings.log, secrets_of(settings))
    loop.run(app.run(settings))


@click.command("check")
@CONFIG
@click.option("--register", is_flag=True, help="Register with Tactium, where no bridge runs yet.")
def check_command(config: Path | None, *, register: bool) -> None:
    """Say whether a bridge could run here, and what to do where not.

    Looks at the settings, Tactium, the broker and the rights there, the journal
    and the clock; changes nothing. Exits 0 where a bridge could run or does.
    """
    settings = settings_of(config)
    logs.configure(LogSettings(level="error"), secrets_of(settings))
    if not asyncio.run(_print_check(settings, register=register)):
        sys.exit(1)


async def _print_check(settings: Settings, *, register: bool) -> bool:
    could_run = True
    clean = logs.Cleaner(secrets_of(settings))
    async for line in check(settings, register=register):
        click.echo(clean.text(str(line)))
        could_run = could_run and line.verdict is not Verdict.FAILED
    return could_run
