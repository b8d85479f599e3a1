"""A private node: it works like any other, and nothing of it outlives its context."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aio_pika
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel
from aiormq.abc import FieldTable
from yarl import URL

from bridge.amqp.session import open_connection
from bridge.errors import BrokerDown, BrokerError, SandboxError
from bridge.sandbox import RabbitMQNode, private_rabbitmq
from bridge.sandbox.native import find_native

pytestmark = pytest.mark.skipif(
    find_native() is None, reason="needs RabbitMQ: python -m bridge.sandbox.install"
)

HOLD_A_NODE = """
import asyncio
import signal
from bridge.sandbox import private_rabbitmq

# Whoever runs the tests in the background may have them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def hold():
    async with private_rabbitmq():
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(hold())
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[RabbitMQNode]:
    async with private_rabbitmq() as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where nodes put their files: those of this process, and those of its children."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def child(folder: Path) -> subprocess.Popen[bytes]:  # noqa: ARG001 - it sets TMPDIR
    """Return a Python process that holds a node, or starts one, in a group of its own."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", HOLD_A_NODE],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


async def test_a_published_message_arrives(node: RabbitMQNode) -> None:
    """A client can declare, publish with a confirm, and consume."""
    async with await aio_pika.connect(node.url()) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await publish(channel, queue.name, b"hello")
        message = await queue.get()
        assert message.body == b"hello"
        await message.ack()


@pytest.mark.parametrize("name", ["plain", "with/slash and ünïcode", "'\"}]).\n"])
async def test_a_virtual_host_comes_quickly_and_goes(node: RabbitMQNode, name: str) -> None:
    """Guest may do everything on it, in less than half a second, whatever its name."""
    before = time.monotonic()
    await node.add_vhost(name)
    await node.add_vhost(name)
    assert time.monotonic() - before < 2 * 0.5
    async with await aio_pika.connect(node.url(name)) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await publish(channel, queue.name, b"hello")
        await queue.purge()
    await node.remove_vhost(name)
    with pytest.raises(BrokerError):
        await open_connection(URL(node.url(name)), "test")


async def test_ctl_returns_what_rabbitmqctl_says(node: RabbitMQNode) -> None:
    """Its stdout holds data and nothing else."""
    assert await node.ctl("list_users", "--no-table-headers") == "guest\t[administrator]\n"


async def test_ctl_raises_what_rabbitmqctl_complains_of(node: RabbitMQNode) -> None:
    """The error names the command and carries its stderr."""
    with pytest.raises(SandboxError, match=r"rabbitmqctl -q delete_vhost nowhere failed: .*exist"):
        await node.ctl("delete_vhost", "nowhere")


async def test_stop_app_closes_connections_and_start_app_takes_new_ones(node: RabbitMQNode) -> None:
    """A maintenance stop ends every connection; after it the node is as before."""
    connection = await aio_pika.connect(node.url())
    closed = asyncio.Event()
    connection.close_callbacks.add(lambda *_: closed.set())
    await node.stop_app()
    await asyncio.wait_for(closed.wait(), 5)
    await connection.close()
    with pytest.raises(BrokerDown):
        await open_connection(URL(node.url()), "test")
    await node.start_app()
    async with await aio_pika.connect(node.url()):
        pass


async def test_a_killed_broker_comes_back_with_its_durable_messages(node: RabbitMQNode) -> None:
    """`kill` is a crash, `restart` the recovery: same address, same data, also of a vhost."""
    await node.add_vhost("durable")
    url = node.url("durable")
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.declare_queue("orders", durable=True)
    await publish(channel, "orders", b"kept")
    await asyncio.sleep(2.5)  # see `kill`: the queue itself is not safe before
    await node.kill()
    await connection.close()
    with pytest.raises(BrokerDown):
        await open_connection(URL(url), "test")
    with pytest.raises(SandboxError):
        node.suspend()
    await node.restart()
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("orders", durable=True, passive=True)
        message = await queue.get()
        assert message.body == b"kept"
        await message.ack()


async def test_a_suspended_broker_is_silent_and_goes_on(node: RabbitMQNode) -> None:
    """Nothing answers, yet no connection closes; resumed, it answers what it was asked."""
    async with await aio_pika.connect(node.url()) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        node.suspend()
        publishing = asyncio.create_task(publish(channel, queue.name, b"late"))
        await asyncio.sleep(0.5)
        assert not publishing.done()
        node.resume()
        await asyncio.wait_for(publishing, 5)


async def test_nothing_is_left_after_the_context(folder: Path) -> None:
    """No process of the node and no file: broker, epmd, helpers, guard, folder."""
    async with private_rabbitmq():
        assert {"beam.smp", "epmd", "erl_child_setup", "inet_gethost"} <= set(processes_of(folder))
    await assert_nothing_is_left(folder)


async def test_nothing_is_left_after_an_exception(folder: Path) -> None:
    """The exception goes on as it is, even if the broker is suspended just then."""

    async def fail_beside_a_suspended_broker() -> None:
        async with private_rabbitmq() as node:
            node.suspend()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_beside_a_suspended_broker()
    await assert_nothing_is_left(folder)


async def test_a_node_that_is_not_ready_in_time_says_so_and_is_gone(folder: Path) -> None:
    """The error names the limit; a start that was given up leaves nothing either."""
    with pytest.raises(SandboxError, match=r"not ready within 0\.3 s"):
        async with private_rabbitmq(startup_timeout_seconds=0.3):
            pytest.fail("no node is that quick")
    await assert_nothing_is_left(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_nothing_is_left_after_a_signal(
    folder: Path, child: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    """Ctrl-C, a polite stop and a crash of the process that holds a node all clean up."""
    with child:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == b"ready\n"
        assert "beam.smp" in processes_of(folder)
        # As a terminal does it: to the whole group, which must not include the broker.
        os.killpg(child.pid, number)
        await asyncio.to_thread(child.wait, 10)
    await assert_nothing_is_left(folder)


async def test_nothing_is_left_of_a_start_that_is_killed(
    folder: Path, child: subprocess.Popen[bytes]
) -> None:
    """Killed with a broker that is only just starting, helpers and all."""
    with child:
        await eventually(lambda: "inet_gethost" in processes_of(folder))
        child.kill()
    await assert_nothing_is_left(folder)


async def publish(channel: AbstractChannel, queue: str, body: bytes) -> None:
    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, queue)


def processes_of(folder: Path) -> list[str]:
    """Return the names of processes that name the folder, or were started by one that does."""
    names = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if f"{folder}/".encode() in told:
                names.append((process / "comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return names


async def assert_nothing_is_left(folder: Path) -> None:
    await eventually(lambda: not processes_of(folder) and not list(folder.iterdir()))


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - nobody tells us of a process that ends
            await asyncio.sleep(0.05)


async def test_a_new_vhost_has_quorum_queues_though_dead_lettering_had_died(
    node: RabbitMQNode,
) -> None:
    """RabbitMQ lets it be dead from then on, and refuses each queue that needs it."""
    ended = "supervisor:terminate_child(rabbit_sup, rabbit_fifo_dlx_sup)."
    assert "ok" in await node.ctl("eval", ended)
    await node.add_vhost("revived")
    arguments: FieldTable = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    async with await aio_pika.connect(node.url("revived")) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("commands", durable=True, arguments=arguments)
        assert await queue.get(fail=False) is None
    await node.remove_vhost("revived")
