"""Whether RabbitMQ lets the bridge in and do all that it does (contract.md §1).

Rights are tried without doing anything: RabbitMQ looks at them before it looks at
what was asked for, so it is asked for what cannot be, or for what is taken back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from urllib.parse import unquote

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from pamqp.commands import Basic
from ulid_transform import ulid_now
from yarl import URL

from bridge.amqp.session import FOREIGN, close_connection, open_connection, translated
from bridge.amqp.topology import Topology
from bridge.check.line import Line
from bridge.check.tactium import resolved
from bridge.errors import BrokerError, BrokerRefused, TopologyConflict
from bridge.settings import Settings

ANSWER_SECONDS = 5.0
AMQP_PORT, AMQPS_PORT = 5672, 5671
NO_TYPE = {"x-queue-type": "tactium-bridge-check"}
"""RabbitMQ knows no such queue, so it declares none."""

Trial = Callable[[AbstractConnection], Awaitable[None]]


async def check(settings: Settings) -> AsyncIterator[Line]:
    """Say how far one comes with the broker."""
    url = URL(settings.amqp.url.get_secret_value())
    port = url.port or (AMQPS_PORT if url.scheme == "amqps" else AMQP_PORT)
    name = await resolved("broker's name", url.host or "", port)
    yield name
    if name.todo:
        return
    vhost = unquote(url.raw_path[1:]) or "/"
    where = f"{url.user or 'guest'} at {url.host}:{port}, vhost {vhost}"
    try:
        connection = await open_connection(
            url, "check", timeout_seconds=settings.amqp.connect_timeout_seconds
        )
    except BrokerError as error:
        yield _refusal(where, error)
        return
    try:
        yield Line.ok("broker", f"logged in as {where}")
        topology = Topology(settings.amqp, settings.commands.ttl_seconds)
        async for line in _check_rights(connection, topology):
            yield line
        async for line in _check_topology(connection, topology):
            yield line
    except TimeoutError:
        todo = (
            "see `rabbitmq-diagnostics alarms`: an alarm of its memory or disk holds back everybody"
        )
        yield Line.failed("broker", f"answers nothing for {ANSWER_SECONDS:g} s", todo)
    except FOREIGN as error:
        yield _refusal(where, translated(error))
    finally:
        await close_connection(connection)


def _refusal(where: str, error: BrokerError) -> Line:
    todo = (
        "give the user in amqp.url its password, its vhost and its permissions"
        if isinstance(error, BrokerRefused)
        else "see that RabbitMQ runs and that amqp.url leads to it"
    )
    return Line.failed("broker", f"{where}: {error}", todo)


async def _check_rights(connection: AbstractConnection, topology: Topology) -> AsyncIterator[Line]:
    """Try each right on each name."""
    exchanges = [*topology.exchanges.values(), topology.standbys]
    queues = [
        topology.commands,
        topology.given_up,
        topology.dead,
        topology.leader,
        topology.epochs,
        topology.heartbeat,
    ]
    wanted: dict[str, list[str]] = {
        "configure": [*exchanges, *queues],
        "write": [*exchanges, *queues, ""],
        "read": [*exchanges, *queues],
    }
    reads = partial(_reads, no_exchange=topology.given_up)
    trials: dict[str, Callable[[AbstractConnection, str], Awaitable[bool]]] = {
        "configure": _configures,
        "write": _writes,
        "read": reads,
    }
    for right, names in wanted.items():
        missing = [name for name in names if not await trials[right](connection, name)]
        if missing:
            said = ", ".join(name or "amq.default" for name in missing)
            todo = "see the README's part on permissions, and `rabbitmqctl set_permissions`"
            yield Line.failed(f"{right} permission", f"missing for {said}", todo)
        else:
            yield Line.ok(f"{right} permission", f"for all {len(names)} names")


async def _configures(connection: AbstractConnection, name: str) -> bool:
    async def trial(connection: AbstractConnection) -> None:
        channel = await (await connection.channel()).get_underlay_channel()
        await channel.queue_declare(name, durable=True, arguments=dict(NO_TYPE))

    return await _is_allowed(connection, trial)


async def _writes(connection: AbstractConnection, name: str) -> bool:
    """Whether it may publish: in a transaction, of which nothing is ever delivered."""

    async def trial(connection: AbstractConnection) -> None:
        opened = await connection.channel(publisher_confirms=False)
        channel = await opened.get_underlay_channel()
        await channel.tx_select()
        properties = Basic.Properties(message_type="check")
        key = ulid_now()
        await channel.basic_publish(b"", exchange=name, routing_key=key, properties=properties)
        await channel.tx_rollback()
        await opened.close()

    return await _is_allowed(connection, trial)


async def _reads(connection: AbstractConnection, name: str, no_exchange: str) -> bool:
    """Whether it may read: RabbitMQ asks the same for a queue and for an exchange of that name.

    Nothing can be bound to what is `no_exchange`, though it may be written to.
    """

    async def trial(connection: AbstractConnection) -> None:
        channel = await (await connection.channel()).get_underlay_channel()
        await channel.exchange_bind(destination=no_exchange, source=name)

    return await _is_allowed(connection, trial)


async def _is_allowed(connection: AbstractConnection, trial: Trial) -> bool:
    """Whether a trial does not fail for want of a right; that it fails otherwise is expected."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await trial(connection)
    except ChannelAccessRefused:
        return False
    except (ChannelNotFoundEntity, ChannelPreconditionFailed, ChannelLockedResource):
        pass
    return True


async def _check_topology(
    connection: AbstractConnection, topology: Topology
) -> AsyncIterator[Line]:
    """Compare what is there with what the bridge would declare."""
    missing: list[str] = []
    has_failed = False
    consumers = 0
    for item in topology.items:
        try:
            channel = await connection.channel()
            found = await item.find(channel)
            consumers += found if item.name == topology.commands else 0
            await item.declare(channel)  # it is there: this only compares
            await channel.close()
        except ChannelNotFoundEntity:
            missing.append(item.name)
        except TopologyConflict as error:
            has_failed = True
            yield Line.failed("topology", str(error), "delete it once it is empty, as it says")
        except ChannelAccessRefused as error:
            has_failed = True
            yield Line.failed(
                "topology", f"{item.name}: {error}", "give the permissions that are missing"
            )
    if missing:
        yield Line.ok("topology", f"not there yet, the bridge declares it: {', '.join(missing)}")
    elif not has_failed:
        yield Line.ok("topology", "all there")
    if consumers:
        found_text = f"{consumers} consume commands: a bridge runs already"
        yield Line.ok("bridge", found_text, shows_a_bridge=True)
