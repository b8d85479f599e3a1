"""What a user runs: one command, and events as they flow."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import click
import orjson

from bridge import app
from bridge.cli.configuring import CONFIG, settings_of
from bridge.client import BridgeClient, Event, Options, Reply
from bridge.client.client import PATIENCE_SECONDS
from bridge.client.subscription import Subscription
from bridge.contract import examples
from bridge.contract.described import field_texts, first_paragraph
from bridge.errors import BridgeError
from bridge.messages.commands import Command, Disposition, Request
from bridge.messages.kinds import CLASSES, OWN
from bridge.messages.notices import Heartbeat
from bridge.observe import logs
from bridge.observe.masking import short_type, shown
from bridge.settings import LogSettings, Settings, secrets_of

_BROKER = "The broker is that of the setting amqp.url (BRIDGE_AMQP__URL)."


_HEARTBEAT = f"{OWN}{Heartbeat.type}"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class _Json(click.ParamType[dict[str, Any]]):
    """A JSON object."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Read it, or fail with what is wrong."""
        try:
            read = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is no JSON: {error}", param, ctx)
        if not isinstance(read, dict):
            self.fail(f"{value!r} is no JSON object", param, ctx)
        return read


class _Commands(click.Group):
    """A subcommand for each command of the contract, made from its class when it is asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return what they are called."""
        return list(examples.COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Return one by its name; a dash will do for an underscore."""
        wanted = name.replace("-", "_")
        return next(
            (_subcommand(each) for each in get_args(Command) if _name(each) == wanted), None
        )


@click.group("send", cls=_Commands, help=f"Send one command and print its reply.\n\n{_BROKER}")
def send_command() -> None:
    """Hold the subcommands."""


class _Since(click.ParamType[datetime | timedelta]):
    """A moment (ISO 8601), or how long ago."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | timedelta:
        """Return either; refuse the rest."""
        ago = re.fullmatch(r"(\d{1,9})([smhd])", str(value))
        try:
            if ago:
                return timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
            return datetime.fromisoformat(str(value)).astimezone()
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is neither such as 15m, 2h or 1d, nor such as 2026-11-22T12:00",
                param,
                ctx,
            )


@click.command("tail")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]…")
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="One whole event a line, for pipes.")
@click.option("--bridge", "of_bridge", is_flag=True, help="What the bridge says of itself.")
@click.option(
    "--since",
    type=_Since(),
    help="Begin so long ago (30s, 15m, 2h, 1d) or at a moment; the bridge's history must be on.",
)
def tail_command(
    patterns: tuple[str, ...],
    config: Path | None,
    since: datetime | timedelta | None,
    *,
    as_json: bool,
    of_bridge: bool,
) -> None:
    """Print events as they flow, until Ctrl-C.

    A PATTERN is one of routing keys: '*.call.started.*' every arriving call, 'jose.#'
    everything of one agent; all events without any. The broker is that of the setting
    amqp.url (BRIDGE_AMQP__URL).

    \b
    tactium-bridge tail '*.call.#'
    tactium-bridge tail --json | jq -c '.data | {agent, call_id}'
    tactium-bridge tail --since 2h 'jose.#'
    tactium-bridge tail --bridge 'main.gap' 'main.link.*'
    """  # noqa: D301 - click knows lines to keep by a real backspace, which r""" would not be
    if since is not None and of_bridge:
        raise click.UsageError("the history is of events: --since and --bridge do not go together")
    settings = settings_of(config)
    line = _whole if as_json else _brief(mask=settings.log.mask)

    def subscribed(bridge: BridgeClient) -> Subscription:
        if of_bridge:
            return bridge.notices(*patterns)
        return bridge.events(*patterns, since=since)

    _use(settings, lambda bridge: _tail(subscribed(bridge), line, with_beats=bool(patterns)))


async def _tail(
    subscription: Subscription, line: Callable[[Event], str], *, with_beats: bool
) -> None:
    """Print what comes; a heartbeat each second only where it was asked for."""
    async for event in subscription:
        if with_beats or event.type != _HEARTBEAT:
            _print(line(event))


def _whole(event: Event) -> str:
    return event.body.decode()


def _brief(*, mask: bool) -> Callable[[Event], str]:
    """Return what makes a line for people; personal data is masked as in the log."""

    def line(event: Event) -> str:
        known = orjson.loads(event.body)["data"] if event.type in CLASSES else {}
        seen = shown(short_type(event.type), known, mask=mask) if known else {}
        words = [f"{key}={each}" for key, each in seen.items() if each not in (None, "", {}, [])]
        moment = event.time.astimezone()
        return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03} {event.key} {' '.join(words)}"

    return line


def _name(of: type[Request]) -> str:
    return str(of.model_fields["command"].default)


def _subcommand(of: type[Request]) -> click.Command:
    """Make a subcommand from a command's class: an option for each of its fields."""
    name, texts = _name(of), field_texts(of)
    own = [each for each in of.model_fields if each not in ("command", "context")]
    options: list[click.Parameter] = [
        click.Option(
            [f"--{each.replace('_', '-')}", each],
            required=of.model_fields[each].is_required(),
            type=click.Choice([each.value for each in Disposition])
            if each == "disposition"
            else str,
            help=texts[each],
        )
        for each in sorted(own, key=lambda each: each != "agent")
    ]
    options += [
        click.Option(["--context"], type=_Json(), help=texts["context"]),
        click.Option(["--message-id"], help="Run once: the same one gets the same answer again."),
        click.Option(
            ["--timeout"],
            type=click.FloatRange(min=0.1, max=86_400),
            default=PATIENCE_SECONDS,
            show_default=True,
            help="How long it may wait until it is run, in seconds.",
        ),
    ]

    def send(**given: Any) -> None:
        _send(name, **given)

    make = click.command(
        name, params=options, short_help=first_paragraph(of), help=_help(name, first_paragraph(of))
    )
    return make(CONFIG(send))


def _help(name: str, what: str) -> str:
    example = {key: each for key, each in examples.command(name).items() if key != "command"}
    words = [f"--{key.replace('_', '-')} {_quoted(each)}" for key, each in example.items()]
    line = " ".join(["tactium-bridge send", name, *words])
    outcome = "Prints the reply as JSON; exits 0 where its outcome is ok or sent, else 1."
    return f"{what}\n\n{outcome} {_BROKER}\n\n\b\n{line}"


def _quoted(value: object) -> str:
    return value if isinstance(value, str) else f"'{json.dumps(value)}'"


def _send(
    name: str,
    *,
    config: Path | None,
    context: dict[str, Any] | None,
    message_id: str | None,
    timeout: float,
    **fields: Any,
) -> None:
    options: Options = {"timeout": timeout}
    if context is not None:
        options["context"] = context
    if message_id is not None:
        options["message_id"] = message_id
    replies: list[Reply] = []

    async def ask(bridge: BridgeClient) -> None:
        replies.append(await bridge.ask(name, fields, **options))

    _use(settings_of(config), ask)
    if not replies:  # it was stopped while it waited
        sys.exit(1)
    _print(orjson.dumps(replies[0], option=orjson.OPT_INDENT_2 if _is_seen() else 0).decode())
    if not replies[0].ok:
        sys.exit(1)


def _use(settings: Settings, work: Callable[[BridgeClient], Coroutine[Any, Any, None]]) -> None:
    """Do some work with a client, until it is done or somebody stops it."""

    async def use() -> None:
        async with BridgeClient(
            settings.amqp.url.get_secret_value(), prefix=settings.amqp.prefix
        ) as bridge:
            await work(bridge)

    logs.configure(LogSettings(level="warning"), secrets_of(settings))
    asyncio.run(app.until_stopped(use()))


def _is_seen() -> bool:
    """Whether people look at the output, and not a program."""
    return sys.stdout.isatty()


def _print(line: str) -> None:
    """Print a line at once; who reads no more (`| head -1`) ends the program, and in order."""
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or exiting would fail
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(0) from None
        raise BridgeError(f"the output cannot be written: {error.strerror}") from None
