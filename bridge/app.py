"""The composition root: the one place where adapters meet the core."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from socket import gethostname
from types import FrameType
from typing import Any

import structlog
from ulid_transform import ulid_now

from bridge.amqp import herald, leadership, publisher
from bridge.amqp.connection import Health
from bridge.amqp.consumer import Consumer
from bridge.amqp.herald import Herald
from bridge.amqp.leadership import AmqpLeadership
from bridge.amqp.outbox import Outbox
from bridge.amqp.publisher import Publisher
from bridge.amqp.standbys import AmqpStandbys
from bridge.amqp.topology import Topology
from bridge.core.bridge import Bridge
from bridge.core.calls import Calls
from bridge.core.dispatcher import Dispatcher
from bridge.core.journal import RowLog
from bridge.core.policy import Policy, ReplyQueues
from bridge.core.ports import Link, Observer
from bridge.core.resync import Resync
from bridge.core.runner import Runner
from bridge.core.shared_log import SharedLog
from bridge.core.term import Deafness, Term
from bridge.errors import SettingsError
from bridge.journal.commands import Memory
from bridge.journal.durable import DurableJournal
from bridge.journal.files import Files
from bridge.links.presence import MaySpeak
from bridge.links.tcp import TcpLink
from bridge.messages.envelope import Envelope
from bridge.observe.http import Face
from bridge.observe.systemd import Systemd
from bridge.observe.watch import Watch
from bridge.settings import LinkSettings, Settings
from bridge.wire.grammar import reread

log = structlog.get_logger(__name__)

_BUG = "report this as a bug; events flow on"
FACE_SECONDS = 1.0
"""For the HTTP face to close."""

INSTANCE_CHARACTERS = 6
"""Of chance, behind the host's name: each run of a bridge is another instance."""

LEFT_BEHIND = {"socket": 20_000, "database": 2_000}
"""After how many objects the collector runs: each statement of SQLAlchemy leaves some to it."""

SWITCH_SECONDS = 0.0005
"""How long the journal's thread may have to wait for its turn, several times a commit."""


def now() -> datetime:
    """Return the present moment, in UTC."""
    return datetime.now(UTC)


class Program:
    """A bridge and its faces: HTTP, and systemd where that is there."""

    def __init__(self, bridge: Bridge, watch: Watch, face: Face, systemd: Systemd) -> None:
        self._bridge = bridge
        self.watch = watch
        self.face = face
        self._systemd = systemd

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set; returns within 10 s of that.

        Raises `JournalError` where the journal cannot be opened.
        """
        showing = asyncio.create_task(self._show(stopping))
        try:
            await self._bridge.run(stopping)
        finally:
            showing.cancel()
            await asyncio.wait((showing,), timeout=FACE_SECONDS)

    async def _show(self, stopping: asyncio.Event) -> None:
        """Show how the bridge is, until it is stopping."""
        faces = [
            asyncio.create_task(self.face.run()),
            asyncio.create_task(self._systemd.run(lambda: str(self.watch.status))),
        ]
        for task in faces:
            task.add_done_callback(_say_failure)
        try:
            await stopping.wait()
        finally:
            self._systemd.stopping()
            for task in faces:
                task.cancel()
            await asyncio.wait(faces)


def _say_what_failed(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what nobody waits for, and nobody else would tell of."""
    error = context.get("exception")
    if not isinstance(error, OSError):  # a connection that was lost: whoever uses it says so
        log.error("loop_failed", reason=context["message"], exc_info=error, todo=_BUG)


def _say_failure(task: asyncio.Task[None]) -> None:
    """Say that a face is gone; the bridge works on without."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("face_failed", exc_info=error, todo=_BUG)


def compose(settings: Settings) -> Program:
    """Build a bridge from its settings; nothing is connected yet."""

    def envelope_of(journal_id: str) -> Envelope:
        base_url = settings.events.schema_base_url
        return Envelope(site=settings.site, journal_id=journal_id, schema_base_url=base_url)

    commands = settings.commands
    remember_seconds = max(commands.remember_seconds, commands.ttl_seconds)
    memory = Memory(timedelta(seconds=remember_seconds), commands.remember_most)
    files = Files(settings.journal, memory, envelope_of=envelope_of, new_id=ulid_now, clock=now)
    calls = Calls(
        ulid_now,
        reread,
        expect_seconds=commands.make_call_arrival_seconds,
        forget_after=timedelta(seconds=settings.agents.forget_after_seconds),
    )
    watch = Watch(
        site=settings.site,
        mask=settings.log.mask,
        max_bytes=settings.journal.max_bytes,
        agents=calls,
        clock=now,
    )
    journal = DurableJournal(settings.journal, files, now, watch)
    topology = Topology(settings.amqp, commands.ttl_seconds)
    health = Health(watch, publisher.CONNECTION, leadership.CONNECTION, herald.CONNECTION)
    outbox = Outbox(topology.dead, watch)
    speaking = Herald(settings.amqp, topology, health)
    inbox = Consumer(
        settings.amqp,
        topology,
        outbox,
        health,
        prefetch=commands.prefetch,
        on_new_queue=journal.met_new_queue,
    )
    instance = f"{gethostname()}-{ulid_now()[-INSTANCE_CHARACTERS:]}"
    standbys = AmqpStandbys(topology, speaking, instance)
    leading = AmqpLeadership(
        settings.amqp,
        topology,
        inbox,
        speaking,
        standbys,
        health,
        watch,
        envelope=envelope_of(""),
        instance=instance,
        clock=now,
    )
    link = _open_link(settings.link, watch, journal, lambda: leading.may_speak)
    log_of_commands = SharedLog(journal, standbys)

    def new_term(deafness: Deafness | None) -> Term:
        dispatcher = Dispatcher(
            runner=Runner(
                link=link,
                command_log=log_of_commands,
                fence=leading,
                settings=commands,
                clock=now,
                calls=calls,
            ),
            command_log=log_of_commands,
            policy=Policy(commands.policy),
            reply_queues=ReplyQueues(commands.reply_to_pattern, topology.own_queues),
            settings=commands,
            mask=settings.log.mask,
            clock=now,
            calls=calls,
        )
        return Term(
            link=link,
            journal=journal,
            calls=calls,
            dispatcher=dispatcher,
            resync=Resync(calls, dispatcher.ask, settings.agents, now),
            clock=now,
            deafness=deafness,
        )

    bridge = Bridge(
        journal=journal,
        publisher=Publisher(settings.amqp, topology, outbox, health, watch, leading),
        leadership=leading,
        calls=calls,
        new_term=new_term,
        observer=watch,
        clock=now,
    )
    return Program(bridge, watch, Face(settings.http, watch, journal, now), Systemd())


def _open_link(
    settings: LinkSettings, observer: Observer, row_log: RowLog, may_speak: MaySpeak
) -> Link:
    """Return the way to Tactium. Raises `SettingsError` where something is missing for it."""
    if settings.transport == "socket":
        return TcpLink(settings, now, observer, may_speak)
    try:
        from bridge.links.database import DatabaseLink  # noqa: PLC0415 - it needs an extra
    except ImportError as error:
        raise SettingsError(
            f"BRIDGE_LINK__TRANSPORT: database needs {error.name}; install the extra of "
            "your database, such as pip install 'tactium-bridge[postgresql]'"
        ) from None
    return DatabaseLink(settings, now, observer, row_log, may_speak)


async def run(settings: Settings) -> None:
    """Run one bridge until SIGTERM or SIGINT, then end it in order."""
    with stopped_by_signals() as stopping:
        program = compose(settings)
        # An event leaves nothing behind that only the collector could free, and a whole run
        # of it looks at all agents: seldom is enough.
        gc.freeze()
        gc.set_threshold(LEFT_BEHIND[settings.link.transport], 50, 100)
        sys.setswitchinterval(SWITCH_SECONDS)
        asyncio.get_running_loop().set_exception_handler(_say_what_failed)
        log.info("started", site=settings.site, prefix=settings.amqp.prefix)
        await program.run(stopping)
        log.info("stopped")


@contextmanager
def stopped_by_signals() -> Iterator[asyncio.Event]:
    """Yield an event that SIGTERM and SIGINT set.

    Once it is over the process is about to end, and further signals do nothing.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    # Not by the loop: it would put the default back first, by which a signal kills.
    def stop(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Do the work until it is done, or until SIGTERM or SIGINT cancel it."""
    with stopped_by_signals() as stopping:
        working = asyncio.create_task(work)
        signalled = asyncio.create_task(stopping.wait())
        await asyncio.wait((working, signalled), return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
