"""The command line (contract.md §9).

Exit codes: 0 done, 1 the thing failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import click

from bridge import app, contract, demo, loop
from bridge.check import Verdict, check
from bridge.errors import BridgeError, ContractError, JournalBusy, SettingsError
from bridge.observe import logs
from bridge.settings import CONFIG_VARIABLE, LogSettings, Settings, load, secrets_of
from bridge.simulator import DEFAULT_PORT, Answers, Faults, SimulatorOptions, simulate

DEMO_SECONDS = 20.0
"""How long the demo lasts off a terminal, where nobody presses Ctrl-C."""

_CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    show_envvar=True,
    help="A TOML file with settings; the environment comes before it.",
)
_REPLIES = click.Choice(["silence", "error"])
_SHARE = click.FloatRange(0, 1)
_SECONDS = click.FloatRange(min=0)


def main() -> None:
    """Run the command line; every failure is one line and an exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # before there is a loop to stop
    try:
        cli(standalone_mode=False)
    except (KeyboardInterrupt, click.exceptions.Abort):
        sys.exit(0)  # stopped before anything had begun
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (SettingsError, JournalBusy) as error:
        _fail(error, 2)
    except BridgeError as error:
        _fail(error, 1)


def _fail(error: BridgeError, code: int) -> None:
    logs.flush()  # what led to it comes first
    click.echo(f"tactium-bridge: {error}", err=True)
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("tactium-bridge"), prog_name="tactium-bridge")
def cli() -> None:
    """Tactium IP's telephony events on RabbitMQ as JSON, and commands back."""


@cli.command("run")
@_CONFIG
def run_command(config: Path | None) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    Settings come from the environment (BRIDGE_LINK__HOST, BRIDGE_AMQP__URL, …),
    a .env file, a TOML file and a directory of secrets: see the README.
    """
    settings = _settings(config)
    logs.configure(settings.log, secrets_of(settings))
    loop.run(app.run(settings))


def _settings(config: Path | None) -> Settings:
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)
    return load()


@cli.command("check")
@_CONFIG
@click.option("--register", is_flag=True, help="Register with Tactium, where no bridge runs yet.")
def check_command(config: Path | None, *, register: bool) -> None:
    """Say whether a bridge could run here, and what to do where not.

    Looks at the settings, Tactium, the broker and the rights there, the journal
    and the clock; changes nothing. Exits 0 where a bridge could run or does.
    """
    settings = _settings(config)
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


@cli.command("schemas")
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


@cli.command("demo")
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


@cli.command("simulate")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Tactium's Socket.ServerPort; 0 takes a free one.",
)
@click.option(
    "--agents",
    default="8",
    show_default=True,
    help="How many, with invented logins; or the logins themselves, with commas.",
)
@click.option("--calls-per-minute", type=_SECONDS, default=10.0, show_default=True)
@click.option("--attach-info", is_flag=True, help="Send dialer attributes (Socket.SendAttachInfo).")
@click.option("--seed", type=int, help="The same seed gives the same calls and faults.")
@click.option(
    "--encoding", type=click.Choice(["cp1252", "utf-8"]), default="cp1252", show_default=True
)
@click.option(
    "--handshake",
    type=click.Choice(["both", "logon", "status", "silent"]),
    default="both",
    show_default=True,
    help="Which registrations are understood; silent: both, and unanswered.",
)
@click.option(
    "--answer-make-call",
    type=click.Choice(["silence", "ok"]),
    default="silence",
    show_default=True,
    help="What the manual leaves open: the answer to a call about to be made.",
)
@click.option("--answer-impossible", type=_REPLIES, default="silence", show_default=True)
@click.option("--answer-unknown-agent", type=_REPLIES, default="silence", show_default=True)
@click.option(
    "--delay",
    "delay_seconds",
    type=_SECONDS,
    default=0.0,
    help="Fault: answer up to so many seconds late.",
)
@click.option(
    "--unanswered", type=_SHARE, default=0.0, help="Fault: share of commands never answered."
)
@click.option(
    "--mangled", type=_SHARE, default=0.0, help="Fault: share of events that lose a bracket."
)
@click.option(
    "--garbage", type=_SHARE, default=0.0, help="Fault: share of frames after stray bytes."
)
@click.option("--line-breaks", is_flag=True, help="Fault: CR LF behind each frame.")
@click.option("--single-bytes", is_flag=True, help="Fault: each byte in a write of its own.")
@click.option(
    "--drop-every",
    "drop_every_seconds",
    type=_SECONDS,
    default=0.0,
    help="Fault: cut all connections every so many seconds.",
)
def simulate_command(
    agents: str,
    encoding: Literal["cp1252", "utf-8"],
    handshake: Literal["both", "logon", "status", "silent"],
    answer_make_call: Literal["silence", "ok"],
    answer_impossible: Literal["silence", "error"],
    answer_unknown_agent: Literal["silence", "error"],
    **rest: Any,
) -> None:
    """Run a simulated Tactium server until SIGTERM or SIGINT.

    It speaks the whole protocol of the manual: registration, every command,
    inbound and dialer calls with recordings. What goes wrong in the field can
    be asked for as faults.
    """
    logs.configure(LogSettings())
    faults = Faults(**{name: rest.pop(name) for name in Faults.__dataclass_fields__})
    options = SimulatorOptions(
        agents=int(agents) if agents.isdecimal() else agents.split(","),
        encoding=encoding,
        handshake=handshake,
        answers=Answers(answer_make_call, answer_impossible, answer_unknown_agent),
        faults=faults,
        **rest,
    )
    asyncio.run(app.until_stopped(simulate(options)))
