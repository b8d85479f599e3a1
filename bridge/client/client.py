"""The face of the client: one object, with a method for each command."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

from ulid_transform import ulid_now

from bridge.client.checking import (
    as_json,
    check_options,
    check_subscription,
    checked_moment,
    checked_nodes,
)
from bridge.client.commander import Asked, Commander
from bridge.client.subscription import Subscription, Wish
from bridge.client.tracing import present_trace
from bridge.messages.commands import Command, Disposition, parse
from bridge.messages.envelope import agent_word
from bridge.messages.replies import Reply

PATIENCE_SECONDS = 30.0
PREFETCH = 100
QUORUM = {"x-queue-type": "quorum"}


class Options(TypedDict, total=False):
    """What every command takes.

    `context`: comes back on the reply, and with the events of a call that it makes.
    `message_id`: the same one is run once; asking again gives the first answer again.
    `timeout`: how long it may wait until it is run, in seconds (30); its reply is
    waited for 10 s longer. `trace`: the headers `traceparent` and `tracestate`, by
    default those of the present span, where OpenTelemetry is installed.
    """

    context: dict[str, Any]
    message_id: str
    timeout: float
    trace: Mapping[str, str]


class BridgeClient:
    """Talks to one bridge over its broker.

    `url` is RabbitMQ's (`amqp://user:password@host:port/vhost`, or `amqps`), with commas
    between those of a cluster's nodes; `prefix` the bridge's setting `amqp.prefix`. It
    connects when it is first needed, and again whenever a connection is lost.
    """

    def __init__(self, url: str, *, prefix: str = "tactium") -> None:
        self._nodes = checked_nodes(url)
        self._prefix = prefix
        self._commander: Commander | None = None
        self._subscriptions: list[Subscription] = []

    def __repr__(self) -> str:
        return f"<BridgeClient: {self._nodes[0].host}, {self._prefix}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        closing = [each.aclose() for each in self._subscriptions]
        if self._commander is not None:
            closing.append(self._commander.aclose())
        await asyncio.gather(*closing)

    def events(
        self,
        *patterns: str,
        queue: str | None = None,
        arguments: Mapping[str, Any] = QUORUM,
        prefetch: int = PREFETCH,
        since: datetime | timedelta | None = None,
    ) -> Subscription:
        """Return the events whose routing keys match one of the patterns (default: all).

        `*.call.started.*` is every arriving call, `jose.#` everything of one agent. With
        a `queue`, durable and declared with `arguments`, they gather while nobody is
        there; take the patterns of a queue away in RabbitMQ, for it keeps those that it
        once had. Without one they are heard from now on, for as long as the connection
        lasts. At most `prefetch` are on their way at a time. Asked for once more, a queue's
        subscription is the same.

        With `since`, a moment (aware) or how long ago, what has happened since then comes
        first, and goes over into what happens: read from the bridge's history, which has
        to be on (its setting `amqp.history`). It takes no `queue`.

        Raises `BridgeError` for what RabbitMQ cannot take.
        """
        moment = checked_moment(since, queue)
        return self._subscription("events", patterns, queue, arguments, prefetch, moment)

    def notices(
        self,
        *patterns: str,
        queue: str | None = None,
        arguments: Mapping[str, Any] = QUORUM,
        prefetch: int = PREFETCH,
    ) -> Subscription:
        """Return what the bridge says of itself, as `events` does: `*.gap`, `*.command.#`."""
        return self._subscription("bridge", patterns, queue, arguments, prefetch)

    async def logon(self, agent: str, **options: Unpack[Options]) -> Reply:
        """Bind the connection to an agent who is logged on already (§4.1)."""
        return await self.ask("logon", {"agent": agent}, **options)

    async def logoff(self, agent: str, **options: Unpack[Options]) -> Reply:
        """Log an agent off (§4.2)."""
        return await self.ask("logoff", {"agent": agent}, **options)

    async def pause(self, agent: str, *, code: str, **options: Unpack[Options]) -> Reply:
        """Put an agent on pause (§4.3); `code` is the external code of the reason."""
        return await self.ask("pause", {"agent": agent, "code": code}, **options)

    async def resume(self, agent: str, **options: Unpack[Options]) -> Reply:
        """Take an agent out of pause or wrap-up (§4.4)."""
        return await self.ask("resume", {"agent": agent}, **options)

    async def end_wrap_up(self, agent: str, **options: Unpack[Options]) -> Reply:
        """Take an agent out of wrap-up (§4.5)."""
        return await self.ask("end_wrap_up", {"agent": agent}, **options)

    async def get_status(self, agent: str, **options: Unpack[Options]) -> Reply:
        """Ask for an agent's status (§4.6): a `StatusData`."""
        return await self.ask("get_status", {"agent": agent}, **options)

    async def schedule_callback(
        self,
        agent: str,
        *,
        at: datetime | str,
        phone: str | None = None,
        callback_agent: str | None = None,
        **options: Unpack[Options],
    ) -> Reply:
        """Call the current customer again (§4.7); `at` is to the minute, naive at the server."""
        moment = at.isoformat(timespec="minutes") if isinstance(at, datetime) else at
        fields = {"at": moment, "phone": phone, "callback_agent": callback_agent}
        return await self.ask("schedule_callback", {"agent": agent, **fields}, **options)

    async def set_disposition(
        self, agent: str, *, disposition: Disposition | str, **options: Unpack[Options]
    ) -> Reply:
        """Say what became of a dialer's call (§4.8)."""
        fields = {"agent": agent, "disposition": disposition}
        return await self.ask("set_disposition", fields, **options)

    async def make_call(
        self,
        agent: str,
        *,
        phone: str,
        area_code: str | None = None,
        campaign: str | None = None,
        **options: Unpack[Options],
    ) -> Reply:
        """Dial (§4.9); the outcome is `sent` where the protocol answers nothing."""
        fields = {"area_code": area_code, "phone": phone, "campaign": campaign}
        return await self.ask("make_call", {"agent": agent, **fields}, **options)

    async def hang_up(self, agent: str, **options: Unpack[Options]) -> Reply:
        """End an agent's current call (§4.10)."""
        return await self.ask("hang_up", {"agent": agent}, **options)

    async def get_current_call(self, agent: str, **options: Unpack[Options]) -> Reply:
        """Ask for the call that an agent is in (§4.11): a `CallData`, or None."""
        return await self.ask("get_current_call", {"agent": agent}, **options)

    async def get_agents(self, agent: str | None = None, **options: Unpack[Options]) -> Reply:
        """Ask the bridge what it knows of one agent or of all: an `AgentsData`."""
        return await self.ask("get_agents", {"agent": agent}, **options)

    async def ask(
        self, command: str, fields: Mapping[str, Any], **options: Unpack[Options]
    ) -> Reply:
        """Send any command by its name and return its reply, whatever its outcome.

        Raises `InvalidCommand` for what the bridge would refuse, before anything is
        sent; `NoReply` where no reply comes in time; `BrokerRefused` where this user may
        not give commands.
        """
        check_options(options)
        given = {"command": command, **fields, "context": options.get("context")}
        body = as_json({key: each for key, each in given.items() if each is not None})
        asked = Asked(
            body,
            _key(parse(body)),
            options.get("message_id") or ulid_now(),
            options.get("timeout", PATIENCE_SECONDS),
            (options["trace"] or {}) if "trace" in options else present_trace(),
        )
        if self._commander is None:
            self._commander = Commander(self._nodes, f"{self._prefix}.commands")
        return await self._commander.ask(asked)

    def _subscription(
        self,
        stream: str,
        patterns: tuple[str, ...],
        queue: str | None,
        arguments: Mapping[str, Any],
        prefetch: int,
        since: datetime | None = None,
    ) -> Subscription:
        exchange = f"{self._prefix}.{stream}"
        check_subscription(patterns, queue, prefetch)
        wish = Wish(
            exchange,
            patterns or ("#",),
            queue,
            dict(arguments),
            prefetch,
            since,
            f"{self._prefix}.history",
        )
        for known in self._subscriptions:
            if queue is not None and known.wish == wish and not known.is_closed:
                return known  # another would compete with it for the same events
        subscription = Subscription(self._nodes, wish)
        self._subscriptions.append(subscription)
        return subscription


def _key(command: Command) -> str:
    """Return the routing key that the contract recommends: who, and what."""
    word = agent_word(command.agent.strip().casefold()) if command.agent else "all"
    return f"{word}.{command.command}"
