"""Following who leads: all that it publishes, its heartbeat, its notes, its agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
import structlog
from aiormq import Channel
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import DeliveryError
from pamqp.commands import Basic

from bridge.amqp import notes
from bridge.amqp.outbox import TRANSIENT
from bridge.amqp.properties import trace_of
from bridge.amqp.topology import Topology
from bridge.core.leadership import Candidate, Leader
from bridge.messages.kinds import OWN
from bridge.messages.notices import Heartbeat, LeaderLost
from bridge.messages.trace import trace_text

log = structlog.get_logger(__name__)

_ONE_VERSION = "run bridges of one version"
HEARTBEAT = f"{OWN}{Heartbeat.type}"
_LOST = f"{OWN}{LeaderLost.type}"


class Kind(StrEnum):
    """What leaders and those who stand by send each other; each is a message's type."""

    NOTE = "tactium.note"
    AGENTS = "tactium.agents"
    AGENTS_WANTED = "tactium.agents.wanted"
    MARK = "tactium.mark"  # that one sends to itself


DRAIN_SECONDS = 2.0
"""How long what the last leader has published may take to come, before another leads."""

PREFETCH = 1_000
_OTHER_SITE = "give each site an amqp.prefix of its own, or a vhost"


class Following:
    """Reads the queue of one who stands by, for as long as one connection lasts.

    `on_leader` hears each heartbeat of another bridge of this site; `on_stranger` that
    of another site's, with its name.
    """

    def __init__(
        self,
        channel: Channel,
        candidate: Candidate,
        topology: Topology,
        *,
        source: str,
        instance: str,
        on_leader: Callable[[Leader], None],
        on_stranger: Callable[[str], None],
    ) -> None:
        self._channel = channel
        self._candidate = candidate
        self._topology = topology
        self._source = source
        self._instance = instance
        self._on_leader = on_leader
        self._on_stranger = on_stranger
        self._queue = topology.standby(instance)
        self._epoch = 0
        self._numbers: dict[str, int] = {}  # the last of each journal, and of the notes
        self._is_whole = True  # whether all since the agents were asked for has come
        self._drained = asyncio.Event()
        self.is_told = False  # of the agents
        self.was_left = False  # by a leader that said so

    def __repr__(self) -> str:
        return f"<Following: epoch {self._epoch}>"

    async def begin(self) -> None:
        """Follow from now on; the queue was declared."""
        self._candidate.missed()
        await self._channel.basic_qos(prefetch_count=PREFETCH)
        await self._channel.basic_consume(self._queue, self._take)

    async def has_leader(self) -> bool:
        """Return whether the leader's queue is there: a letter to it does not come back."""
        properties = Basic.Properties(delivery_mode=TRANSIENT)
        try:
            await self._publish(self._topology.leader, properties, mandatory=True)
        except DeliveryError:  # it came back, or the node is gone on which the queue was
            return False
        return True

    async def ask_for_agents(self) -> None:
        """Let the leader say what it knows of agents. Where none is there, nobody answers."""
        properties = Basic.Properties(
            message_type=Kind.AGENTS_WANTED, reply_to=self._queue, delivery_mode=TRANSIENT
        )
        await self._publish(self._topology.leader, properties)

    async def drain(self) -> None:
        """Return when all is taken in that had been published until now, and follow no more."""
        properties = Basic.Properties(message_type=Kind.MARK, delivery_mode=TRANSIENT)
        await self._publish(self._queue, properties)
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._drained.wait()
        except TimeoutError:
            self._candidate.missed()
        await self._channel.queue_delete(self._queue)

    async def _publish(
        self, queue: str, properties: Basic.Properties, *, mandatory: bool = False
    ) -> None:
        await self._channel.basic_publish(
            b"", routing_key=queue, properties=properties, mandatory=mandatory
        )

    async def _take(self, message: DeliveredMessage) -> None:
        try:
            self._read(message)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # of a newer version, or somebody else's
            log.warning("follow_unreadable", reason=str(error), todo=_ONE_VERSION)
        await message.channel.basic_ack(message.delivery_tag or 0, wait=False)
        if not self._is_whole:
            self._is_whole = True
            self._candidate.missed()
            await self.ask_for_agents()

    def _read(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        match properties.message_type:
            case None | "":
                pass
            case Kind.MARK:
                self._drained.set()
            case Kind.NOTE:
                told = notes.read(message.body)
                if told.number != notes.OLD:
                    self._count(str(properties.message_id), told.number)
                self._candidate.follow_note(told.note, told.states)
            case Kind.AGENTS:
                is_first = bool((properties.headers or {}).get("first"))
                if is_first:  # what was begun before the leader knew of us, it did not tell
                    self._candidate.missed()
                self.is_told = True
                self._candidate.follow_agents(notes.read_agents(message.body), is_first=is_first)
            case _:
                self._read_message(orjson.loads(message.body), properties)

    def _read_message(self, said: dict[str, Any], properties: Basic.Properties) -> None:
        """Read an event, a notice or a heartbeat."""
        is_heartbeat = said["type"] == HEARTBEAT
        if said["source"] != self._source:
            if is_heartbeat:
                self._on_stranger(said["source"].rpartition("/")[2])
            return
        if is_heartbeat:
            self._heard_heartbeat(said["data"])
        elif said.get("epoch", 0) >= self._epoch:  # what comes late from before is over
            journal, _, _ = said["id"].rpartition("-")
            self._count(journal, int(said["sequence"]))
            trace = trace_text(trace_of(properties.headers))
            self._candidate.follow(said, trace)
            self.was_left = self.was_left or said["type"] == _LOST

    def _heard_heartbeat(self, data: dict[str, Any]) -> None:
        if data["instance"] == self._instance or data["epoch"] < self._epoch:
            return
        self._epoch = data["epoch"]
        self.was_left = False
        leader = _leader(data)
        self._candidate.hear(leader)
        self._on_leader(leader)

    def _count(self, counter: str, number: int) -> None:
        """Note a number; where some before it never came, ask for all anew."""
        last = self._numbers.get(counter, number - 1)
        if number > last + 1:
            self._is_whole = False
        self._numbers[counter] = max(last, number)


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
