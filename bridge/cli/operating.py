"""What an operator runs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from bridge import app, contract, demo, loop
from bridge.check import Verdict, check
from bridge.cli.configuring import CONFIG, settings_of
from bridge.errors import ContractError
from bridge.observe import logs
from bridge.settings import LogSettings, Settings, secrets_of

DEMO_SECONDS = 20.0
"""How long the demo lasts off a terminal, where nobody presses Ctrl-C."""


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


@click.command("schemas")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("schemas"),
    show_default=True,
    help="Where they are, or will be.",
)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail where one differs.")
def schemas_command(folder: Path, *, only_check: bool) -> None:
    """Write the JSON Schemas of all messages, and an AsyncAPI document.

    With --check, exits 1 where a file differs, is missing or is extra.
    """
    if not only_check:
        click.echo(f"{len(contract.write(folder))} files written below {folder}")
        return
    found = contract.differences(folder)
    for line in found:
        click.echo(line, err=True)
    if found:
        raise ContractError(f"write them anew: tactium-bridge schemas --dir {folder}")


@click.command("demo")
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    help=f"End by itself after so many seconds. [default: {DEMO_SECONDS:g} off a terminal]",
)
def demo_command(seconds: float | None) -> None:
    """Show events, commands and replies flow, with nothing to configure.

    Runs a private RabbitMQ node, a simulated Tactium, the bridge, a subscriber
    and a commander, and takes all of it down at the end. Exits 0 only if events
    and replies arrived.
    """
    logs.configure(LogSettings(level="warning"))
    if seconds is None and not sys.stdout.isatty():
        seconds = DEMO_SECONDS
    if not asyncio.run(demo.play(seconds)):
        sys.exit(1)
