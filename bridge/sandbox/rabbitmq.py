"""A private RabbitMQ node: its own ports and data, gone with all it started.

    async with private_rabbitmq() as node:
        connection = await aio_pika.connect(node.url())

It runs from the RabbitMQ package of this machine, as whoever runs this process,
and does not touch the system's own node; where there is no package, in Docker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

from bridge.errors import SandboxError
from bridge.sandbox.broker import Broker, BrokerExited
from bridge.sandbox.docker import DockerRabbitMQ, find_docker
from bridge.sandbox.native import NativeRabbitMQ, find_native

_REVIVAL = "catch supervisor:restart_child(rabbit_sup, rabbit_fifo_dlx_sup), "
"""Up to 3.10 at least, RabbitMQ loses what dead-letters for quorum queues for good once that
has crashed twice in five seconds, as it can where vhosts are removed; then no such queue works.
"""


class RabbitMQNode:
    """A running node, to which only this machine can connect, as guest/guest."""

    def __init__(self, broker: Broker, startup_timeout_seconds: float) -> None:
        self._broker = broker
        self._startup_timeout_seconds = startup_timeout_seconds

    def __repr__(self) -> str:
        return f"<RabbitMQNode {self._broker.name} on port {self._broker.port}>"

    def url(self, vhost: str = "/") -> str:
        """Return the AMQP address of a virtual host."""
        path = "" if vhost == "/" else quote(vhost, safe="")
        return f"amqp://guest:guest@127.0.0.1:{self._broker.port}/{path}"

    async def add_vhost(self, name: str) -> None:
        """Add a virtual host on which guest may do everything; one that exists stays.

        Takes some 20 ms natively, and a second in Docker or without Erlang's
        `erl_call`. Raises SandboxError if the node does not do it.
        """
        vhost, guest, everything = map(_erlang_binary, (name, "guest", ".*"))
        await self._broker.evaluate(
            f"{_REVIVAL}ok = rabbit_vhost:add({vhost}, {guest}), "
            "ok = rabbit_auth_backend_internal:set_permissions("
            f"{guest}, {vhost}, {everything}, {everything}, {everything}, {guest})"
        )

    async def remove_vhost(self, name: str) -> None:
        """Remove a virtual host with all that is in it; its connections are closed.

        Raises SandboxError if the node does not do it.
        """
        vhost, guest = map(_erlang_binary, (name, "guest"))
        await self._broker.evaluate(f"ok = rabbit_vhost:delete({vhost}, {guest})")

    async def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl -q` with these arguments and return its stdout.

        Raises SandboxError with its stderr if it fails, or after 60 s.
        """
        return await self._broker.ctl(*arguments)

    def log_lines(self) -> list[str]:
        """Return what the node has logged so far."""
        return self._broker.log_lines()

    async def stop_app(self) -> None:
        """Stop RabbitMQ politely, but not the Erlang node in which it runs.

        All connections are closed. Raises SandboxError like `ctl`.
        """
        await self.ctl("stop_app")

    async def start_app(self) -> None:
        """Start RabbitMQ again after `stop_app` and wait until it accepts AMQP.

        Raises SandboxError if it is not ready within the start's timeout.
        """
        await self.ctl("start_app")
        await self._broker.wait_until_ready(self._startup_timeout_seconds)

    async def kill(self) -> None:
        """Kill the broker as a crash would; its data stay for `restart`.

        RabbitMQ has then lost, now and then, a durable queue declared less than two
        seconds before, with the messages in it. What should stay has to settle first.
        """
        await self._broker.kill()

    async def restart(self) -> None:
        """Start the broker again on the same port and data; kills it first if it runs.

        Raises SandboxError if it is not ready within the start's timeout.
        """
        await self._broker.kill()
        await self._broker.start(self._startup_timeout_seconds)

    def suspend(self) -> None:
        """Stop the broker's process in its tracks: connections stay open and say nothing.

        Raises SandboxError if it does not run.
        """
        self._broker.suspend()

    def resume(self) -> None:
        """Let a suspended broker go on; raises SandboxError if it does not run."""
        self._broker.resume()


@asynccontextmanager
async def private_rabbitmq(startup_timeout_seconds: float = 60.0) -> AsyncIterator[RabbitMQNode]:
    """Start a private node, and remove it at the end with its processes and data.

    It is removed however the end comes: also when the task is cancelled, and when
    this process is killed. A start that fails by itself, for one because somebody
    else took the port, is tried three times.

    Raises SandboxError if no node can be run here, or if it is not ready within
    `startup_timeout_seconds`; the message says why and what to do.
    """
    found = await asyncio.to_thread(find_rabbitmq)
    if found is None:
        raise SandboxError(
            "No RabbitMQ was found here and no Docker engine answers. Either "
            "`python -m bridge.sandbox.install` or start Docker, then try again."
        )
    broker = await _start(found, startup_timeout_seconds)
    try:
        yield RabbitMQNode(broker, startup_timeout_seconds)
    finally:
        await broker.close()


def find_rabbitmq() -> NativeRabbitMQ | DockerRabbitMQ | None:
    """Find out how a private node can be run here: natively, in Docker, or not (None).

    Takes up to 20 s if there is a Docker engine that does not answer.
    """
    return find_native() or find_docker()


async def _start(found: NativeRabbitMQ | DockerRabbitMQ, timeout_seconds: float) -> Broker:
    *first_tries, last_try = found.tries()
    for new_broker in first_tries:
        with suppress(BrokerExited):
            return await _started(new_broker(), timeout_seconds)
    return await _started(last_try(), timeout_seconds)


async def _started(broker: Broker, timeout_seconds: float) -> Broker:
    try:
        await broker.start(timeout_seconds)
    except BaseException:
        await broker.close()
        raise
    return broker


def _erlang_binary(text: str) -> str:
    return f"<<{','.join(map(str, text.encode()))}>>"
