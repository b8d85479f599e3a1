"""The command line as a whole: its commands, and how it ends."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from importlib.metadata import version

import click

from bridge.cli.early import ended_by_signals
from bridge.errors import BridgeError, InvalidCommand, JournalBusy, SettingsError
from bridge.observe import logs

_COMMANDS = {
    "run": "operating",
    "demo": "simulating",
    "simulate": "simulating",
    "send": "using",
    "tail": "using",
    "check": "operating",
    "schemas": "describing",
}
"""In which module each is: a bridge that runs need not hold all that the others need."""


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
    except (SettingsError, InvalidCommand, JournalBusy) as error:
        _fail(error, 2)
    except BridgeError as error:
        _fail(error, 1)


def _fail(error: BridgeError, code: int) -> None:
    logs.flush()  # what led to it comes first
    click.echo(f"tactium-bridge: {error}", err=True)
    sys.exit(code)


class _Commands(click.Group):
    """Knows the commands by name, and imports one when it is asked for."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if super().get_command(ctx, cmd_name) is None:
            return None
        with ended_by_signals():
            module = import_module(f"bridge.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


@click.group(
    cls=_Commands,
    commands={name: click.Command(name) for name in _COMMANDS},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(version("tactium-bridge"), prog_name="tactium-bridge")
def cli() -> None:
    """Tactium IP's telephony events on RabbitMQ as JSON, and commands back."""
