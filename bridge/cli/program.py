"""The command line as a whole: its commands, and how it ends."""

from __future__ import annotations

import signal
import sys
from importlib.metadata import version

import click

from bridge.cli.operating import check_command, demo_command, run_command, schemas_command
from bridge.cli.simulating import simulate_command
from bridge.cli.using import send_command, tail_command
from bridge.errors import BridgeError, InvalidCommand, JournalBusy, SettingsError
from bridge.observe import logs


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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("tactium-bridge"), prog_name="tactium-bridge")
def cli() -> None:
    """Tactium IP's telephony events on RabbitMQ as JSON, and commands back."""


for command in (
    run_command,
    demo_command,
    simulate_command,
    send_command,
    tail_command,
    check_command,
    schemas_command,
):
    cli.add_command(command)
