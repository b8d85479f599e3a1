"""Following who leads: all that it publishes, its heartbeat, its notes, its agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import orjson
import structlog
from aio_pika.abc import AbstractQueue
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from bridge.amqp import notes
from bridge.amqp.herald import Herald, Kind
from bridge.amqp.properties import trace_of
from bridge.amqp.topology import Topology
from bridge.core.leadership import Candidate, Leader
from bridge.core.notes import Learned
from bridge.errors import BrokerDown
from bridge.messages.kinds import OWN
from bridge.messages.notices import Heartbeat, LeaderLost
from bridge.messages.trace import trace_text

log = structlog.get_logger(__name__)

_ONE_VERSION = "run bridges of one version"
HEARTBEAT = f"{OWN}{Heartbeat.type}"
_LOST = f"{OWN}{LeaderLost.type}"


DRAIN_SECONDS = 2.0
"""How long what the last leader has published may take to come, before another leads."""

TELL_SECONDS = 5.0
"""For the leader to begin to tell what it knows, and to go on; then it is asked again."""

HOLD_SECONDS = 0.05
"""Until it is looked again whether the disk has caught up."""

PREFETCH = 1_000
_OTHER_SITE = "give each site an amqp.prefix of its own, or a vhost"


class Following:
    """Reads the queue of one who stands by, for as long as one connection lasts.

    `on_leader` hears each heartbeat of another bridge of this site; `on_stranger` that
    of another site's, with its name.
    """

    def __init__(
        self,
        queue: AbstractQueue,
        candidate: Candidate,
        topology: Topology,
        herald: Herald,
        *,
        source: str,
        instance: str,
        on_leader: Callable[[Leader], None],
        on_stranger: Callable[[str], None],
    ) -> None:
        self._candidate = candidate
        self._topology = topology
        self._herald = herald
        self._source = source
        self._instance = instance
        self._on_leader = on_leader
        self._on_stranger = on_stranger
        self._queue = queue
        self._epoch = 0
        self._numbers: dict[str, int] = {}  # the last of each journal, and of the notes
        self._is_whole = True  # whether all since the leader was asked has come
        self._drained = asyncio.Event()
        self._left_epoch = 0  # as its leader said
        self._asked = 0  # how often
        self._told_at = 0.0  # when anything came of that, by the loop's clock
        self._is_being_told = False
        self._held = 0  # messages that wait for the disk
        self._knows_notes = False  # all that were made since something was told
        self.is_told = False  # of all
        self.is_deaf = False  # its queue is gone

    def __repr__(self) -> str:
        return f"<Following: epoch {self._epoch}>"

    @property
    def was_left(self) -> bool:
        """Whether the one who led last has said that it leads no more."""
        return 0 < self._left_epoch == self._epoch

    @property
    def is_told_nothing(self) -> bool:
        """Whether the leader was asked what it knows and has said nothing for a while."""
        is_late = asyncio.get_running_loop().time() - self._told_at > TELL_SECONDS
        return is_late and not self.is_told

    async def begin(self) -> None:
        """Follow from now on; the queue was declared."""
        self._candidate.missed()
        channel = await self._queue.channel.get_underlay_channel()
        channel.on_consumer_cancel_callbacks.add(self._go_deaf)
        await channel.basic_qos(prefetch_count=PREFETCH)
        await channel.basic_consume(self._queue.name, self._take)

    def _go_deaf(self, *_: object) -> None:
        self.is_deaf = True

    async def ask(self) -> None:
        """Let the leader say all that it knows. Where none is there, nobody answers."""
        self._asked += 1
        self._told_at = asyncio.get_running_loop().time()
        self._is_being_told = self.is_told = False
        with suppress(BrokerDown):  # it is asked again
            await self._herald.tell(
                "",
                self._topology.leader,
                b"",
                kind=Kind.ALL_WANTED,
                correlation_id=str(self._asked),
                reply_to=self._queue.name,
            )

    async def drain(self) -> None:
        """Return when all is taken in that had been published until now, and follow no more."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._herald.tell("", self._queue.name, b"", kind=Kind.MARK)
                await self._drained.wait()
            is_all_known = self._knows_notes
        except (TimeoutError, BrokerDown):
            is_all_known = False
        if not is_all_known:
            self._candidate.missed()
        await self._topology.release_standby(self._queue.channel, self._queue.name)
        await self._queue.channel.close()

    async def _take(self, message: DeliveredMessage) -> None:
        await self._wait_for_room(message)
        try:
            self._read(message)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # of a newer version, or somebody else's
            log.warning("follow_unreadable", reason=str(error), todo=_ONE_VERSION)
        await message.channel.basic_ack(message.delivery_tag or 0, wait=False)
        if not self._is_whole:
            self._is_whole = True
            self._candidate.missed()
            await self.ask()

    async def _wait_for_room(self, message: DeliveredMessage) -> None:
        """Keep notes of before back while the disk is behind; what they end with comes last."""
        kind = message.header.properties.message_type
        self._held += kind == Kind.NOTES
        while (kind == Kind.NOTES and not self._candidate.can_learn) or (
            kind == Kind.ALL_TOLD and self._held
        ):
            self._told_at = asyncio.get_running_loop().time()
            await asyncio.sleep(HOLD_SECONDS)
        self._held -= kind == Kind.NOTES

    def _read(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        match properties.message_type:
            case None | "":
                pass
            case Kind.MARK:
                self._drained.set()
            case Kind.NOTE:
                told = notes.read(message.body)
                is_news = self._count(told.teller, told.number)
                if is_news and told.epoch >= self._epoch:  # what one says that woke is over
                    self._candidate.follow_note(Learned(told.note, is_old=False), told.states)
            case Kind.AGENTS | Kind.NOTES | Kind.ALL_TOLD:
                if properties.correlation_id == str(self._asked):
                    self._read_answer(properties.message_type, message.body)
            case Kind.LOOK:
                pass
            case _:
                self._read_message(orjson.loads(message.body), properties)

    def _read_answer(self, kind: str, body: bytes) -> None:
        """Read a part of all that the leader knows."""
        self._told_at = asyncio.get_running_loop().time()
        if not self._is_being_told:
            self._is_being_told = self._knows_notes = True
            self._candidate.begin_to_be_told()
        if kind == Kind.AGENTS:
            self._candidate.follow_agents(notes.read_agents(body))
        elif kind == Kind.NOTES:
            for note in notes.read_notes(body):
                self._candidate.follow_note(Learned(note, is_old=True), {})
        else:
            self._candidate.was_told_all()
            self.is_told = True

    def _read_message(self, said: dict[str, Any], properties: Basic.Properties) -> None:
        """Read an event, a notice or a heartbeat."""
        is_heartbeat = said["type"] == HEARTBEAT
        if said["source"] != self._source:
            if is_heartbeat:
                self._on_stranger(said["source"].rpartition("/")[2])
            return
        if is_heartbeat:
            self._heard_heartbeat(said["data"])
        elif (epoch := said.get("epoch", 0)) >= self._epoch:  # what comes late is over
            journal, _, _ = said["id"].rpartition("-")
            self._count(journal, int(said["sequence"]))
            trace = trace_text(trace_of(properties.headers))
            self._candidate.follow(said, trace)
            if said["type"] == _LOST:
                self._epoch = self._left_epoch = epoch

    def _heard_heartbeat(self, data: dict[str, Any]) -> None:
        if data["instance"] == self._instance or data["epoch"] < self._epoch:
            return
        self._epoch = data["epoch"]
        leader = _leader(data)
        self._candidate.hear(leader)
        self._on_leader(leader)

    def _count(self, counter: str, number: int) -> bool:
        """Note a number, and that all must be asked for where some before it never came.

        Returns whether it is new.
        """
        last = self._numbers.get(counter, number - 1)
        if number > last + 1:
            self._is_whole = False
        self._numbers[counter] = max(last, number)
        return number > last


def maybe_leader(body: bytes, source: str) -> Leader | None:
    """Return who leads as a heartbeat says, None where it is none, or another site's."""
    try:
        said = orjson.loads(body)
        is_ours = said["type"] == HEARTBEAT and said["source"] == source
        return _leader(said["data"]) if is_ours else None
    except (ValueError, KeyError, TypeError) as error:
        log.warning("follow_unreadable", reason=str(error), todo=_ONE_VERSION)
        return None


def _leader(data: dict[str, Any]) -> Leader:
    until = data["published_until"]
    moment = datetime.fromisoformat(until) if until else None
    return Leader(data["epoch"], data["instance"], moment)
