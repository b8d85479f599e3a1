"""For whoever has no Tactium at hand: its side alone, or all there is at once."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Literal

import click

from bridge import app, demo
from bridge.observe import logs
from bridge.settings import LogSettings
from bridge.simulator import DEFAULT_PORT, Answers, Faults, SimulatorOptions, simulate

DEMO_SECONDS = 20.0
"""How long the demo lasts off a terminal, where nobody presses Ctrl-C."""

_REPLIES = click.Choice(["silence", "error"])
_SHARE = click.FloatRange(0, 1)
_SECONDS = click.FloatRange(min=0)


@click.command("simulate")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Tactium's Socket.ServerPort; 0 takes a free one.",
)
@click.option(
    "--database-url",
    help="Tactium's tables in place of its socket (postgresql://…, sqlite:///…); made if need be.",
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
