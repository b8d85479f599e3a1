"""Who leads: whoever has the lock, of which there is one.

Over other connections who leads takes commands and publishes. It proves each moment
that it still has the lock, and trusts that proof for less than the broker takes to
give up a connection that is silent: a process that was stopped meanwhile knows when
it wakes that it may lead no more.

The states:

    waiting     it is not known yet who leads
    leading     this bridge has the lock
    doubting    it had it; whether it has is about to be known
    alone       it had it; the broker is away, or another connection of its own has it
    following   another bridge leads
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Literal

import structlog
from aio_pika.abc import AbstractConnection
from ulid_transform import ulid_now

from bridge.amqp import consumer
from bridge.amqp.connection import Health, keep_connected
from bridge.amqp.consumer import Consumer
from bridge.amqp.epochs import Epochs
from bridge.amqp.following import Following
from bridge.amqp.herald import HURRY_SECONDS, Herald
from bridge.amqp.lock import Lock
from bridge.amqp.session import keeps_lost_queues
from bridge.amqp.standbys import AmqpStandbys
from bridge.amqp.topology import Topology
from bridge.core.leadership import Candidate, Leader
from bridge.core.ports import Clock, Observer
from bridge.errors import BrokerDown, BrokerError
from bridge.messages.envelope import Envelope, timestamp
from bridge.messages.notices import Heartbeat
from bridge.settings import AmqpSettings

log = structlog.get_logger(__name__)

CONNECTION = "leadership"
BEAT_SECONDS = 1.0
PROBE_SECONDS = 0.25
"""How often one who stands by looks whether anybody leads."""

GRACE_SECONDS = 1.0
"""Who leads and lost its connection gets it back, if it comes again so soon."""

SILENT_SECONDS = 3.5
"""Who has the lock and is silent for so long is no bridge that lives."""

AFTER_OUTAGE_SECONDS = 4.0
"""That grace, where all may have lost the broker: each tries again within two."""

_TELLING = "what the leader knows"
_NOT_PROVED = "what it leads by does not answer, or another one has it"
_NOT_TOLD = "the one who leads has not told yet what it knows"

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps, where a system has such a clock."""

State = Literal["waiting", "leading", "doubting", "alone", "following"]


class AmqpLeadership:
    """Owns the connection over which this bridge leads, or waits until it can."""

    def __init__(  # noqa: PLR0913 - a part of the bridge each, which app.py alone hands over
        self,
        settings: AmqpSettings,
        topology: Topology,
        consumer: Consumer,
        herald: Herald,
        standbys: AmqpStandbys,
        health: Health,
        observer: Observer,
        *,
        envelope: Envelope,
        instance: str,
        clock: Clock,
    ) -> None:
        self._settings = settings.for_leading
        self._heartbeat_seconds = self._settings.heartbeat_seconds
        self._topology = topology
        self._consumer = consumer
        self._herald = herald
        self._standbys = standbys
        self._health = health
        self._observer = observer
        self._envelope = envelope
        self.instance = instance
        self._clock = clock
        self._state: State = "waiting"
        self._leader: Leader | None = None  # that was heard last
        self._epoch = 0
        self._proved_at = 0.0  # by the clock of `_time`
        self._doubted = asyncio.Event()
        self._sure = asyncio.Event()
        self._was_blocked = False  # by an alarm, when the leader's silence was looked at last
        self._surviving: str | None = None  # the queue of a connection before
        self._epochs = Epochs(topology, herald, envelope.source)
        self._is_stopping = False

    def __repr__(self) -> str:
        return f"<AmqpLeadership: {self._state}, epoch {self._epoch}>"

    @property
    def is_sure(self) -> bool:
        """Whether no other bridge can lead at this moment."""
        return self.may_speak and self._state == "leading" and self._sure.is_set()

    @property
    def may_speak(self) -> bool:
        """Whether Tactium may be written to, as one who leads or goes on alone."""
        # The broker gives up a silent connection after two heartbeats, at the soonest.
        if self._state == "leading" and _time() - self._proved_at > 1.5 * self._heartbeat_seconds:
            self._doubt("it could not be proved in time: was this process stopped?")
        return self._state in ("leading", "alone")

    @property
    def may_publish(self) -> bool:
        """Whether what is in the journal may go out: not while it is in doubt whose it is."""
        return self.may_speak or self._state != "doubting"

    async def until_sure(self) -> None:
        """Wait until this bridge leads beyond doubt."""
        while not self.is_sure:
            await self._sure.wait()
            await asyncio.sleep(0)

    async def run(self, candidate: Candidate) -> None:
        """Take part, over as many connections as it takes, until cancelled."""

        async def use(connection: AbstractConnection, on_ready: Callable[[], None]) -> None:
            await self._take_part(candidate, connection, on_ready)

        async def on_down(error: BrokerError) -> None:
            await self._go_on_alone(candidate, str(error))

        leading = keep_connected(
            CONNECTION, self._settings, self._health, use, on_down, first_seconds=HURRY_SECONDS
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self._herald.run())
            group.create_task(leading)

    async def stop(self) -> None:
        """Take no more commands. What was delivered can still be concluded."""
        self._is_stopping = True
        await self._consumer.stop()

    async def _take_part(
        self, candidate: Candidate, connection: AbstractConnection, on_ready: Callable[[], None]
    ) -> None:
        """Lead, or follow until nobody leads and then lead, as long as the connection lasts."""
        channel = await connection.channel()
        await self._topology.declare_leading(channel)
        await self._topology.lock.declare(channel)
        following: Following | None = None
        lock = Lock(connection, self._topology, self._herald, self._standbys.hear)
        is_held = candidate.leads and await lock.take()
        while not is_held:  # one that stood by looks first whether another one leads
            if following is None:
                following = await self._follow(candidate, connection)
                self._expect_to_be_told()
                on_ready()
            await self._until_nobody_leads(candidate, following, lock)
            is_held = await lock.take()
            if not is_held:
                self._leader = None
                if candidate.last_epoch > 0:
                    await self._go_on_alone(candidate, "the broker does not say who leads")
                await asyncio.sleep(2 * GRACE_SECONDS)  # others may try
        if following is not None:
            await following.drain()
        known = candidate.last_epoch
        epoch, is_counted = await self._epochs.next(connection, candidate)
        others_led = epoch > known + 1
        if following is None and (others_led or not is_counted):
            candidate.missed()
        others_led = others_led or (not is_counted and self._standbys.are_there)
        self._health.expects(consumer.CONNECTION)
        self._health.spares(_TELLING)
        on_ready()
        try:
            await self._lead(candidate, lock, epoch=epoch, others_led=others_led)
        finally:
            self._health.spares(consumer.CONNECTION)

    async def _follow(self, candidate: Candidate, connection: AbstractConnection) -> Following:
        """Follow whoever leads, from now on."""
        self._leader, self._was_blocked = None, False
        channel = await connection.channel()
        if self._surviving is not None:
            await self._topology.release_standby(channel, self._surviving)
        survives = keeps_lost_queues(connection)
        queue = await self._topology.declare_standby(channel, self.instance, survives=survives)
        self._surviving = queue.name if survives else None
        following = Following(
            queue,
            candidate,
            self._topology,
            self._herald,
            source=self._envelope.source,
            instance=self.instance,
            on_leader=self._heard_leader,
            on_stranger=self._heard_stranger,
        )
        await following.begin()
        return following

    def _heard_leader(self, leader: Leader) -> None:
        self._leader = leader
        self._observer.contested(None)

    def _heard_stranger(self, site: str) -> None:
        self._observer.contested(site)

    async def _until_nobody_leads(
        self, candidate: Candidate, following: Following, lock: Lock
    ) -> None:
        """Stand by for whoever has the lock; return once nobody has it any more."""
        loop = asyncio.get_running_loop()
        silent_since = loop.time()
        known: Leader | None = None
        grace_seconds = AFTER_OUTAGE_SECONDS  # unless it was heard that one leads
        has_led = candidate.leads and candidate.last_epoch > 0
        if not has_led:
            await self._stand_by(candidate, None)
        left_at: float | None = None
        while left_at is None or loop.time() < left_at + grace_seconds:
            await asyncio.sleep(PROBE_SECONDS)
            leader = self._leader
            is_silent = leader is None and loop.time() - silent_since > SILENT_SECONDS
            if following.is_told or is_silent:
                self._health.works(_TELLING)
            if following.is_deaf:
                raise BrokerDown("the queue was deleted through which it followed")
            if await lock.is_taken():
                left_at, grace_seconds = None, GRACE_SECONDS
            elif following.was_left or candidate.leads:  # it need not wait for itself
                return
            else:
                left_at = left_at or loop.time()
            if leader is not None:
                is_new = known is None or leader.epoch != known.epoch
                known = leader
                await self._listen(candidate, following, leader, is_new=is_new)
            elif has_led and is_silent:
                if await self._may_speak_yet(following):
                    silent_since = loop.time()
                else:
                    await self._go_on_alone(candidate, "who has the broker's leadership is silent")

    async def _listen(
        self, candidate: Candidate, following: Following, leader: Leader, *, is_new: bool
    ) -> None:
        """Let a new leader lead, and ask it what it knows until it tells."""
        if is_new:
            await self._stand_by(candidate, leader)
            if not following.is_told:
                self._expect_to_be_told()
        if is_new or following.is_told_nothing:
            await following.ask()

    async def _may_speak_yet(self, following: Following) -> bool:
        """Return whether an alarm of the broker's may be why the leader is silent.

        Also one that has ended since this was asked last: a busy leader takes its time then.
        """
        begin = asyncio.get_running_loop().time()
        if self._state in ("waiting", "doubting") and not await self._herald.is_blocked():
            await following.ask()  # who has not spoken does not know of an alarm
        is_slow = asyncio.get_running_loop().time() - begin > BEAT_SECONDS  # it began in one
        was_blocked = self._was_blocked
        self._was_blocked = is_slow or await self._herald.is_blocked()
        return self._was_blocked or was_blocked or self._leader is not None

    def _expect_to_be_told(self) -> None:
        """Be ready no sooner than this bridge knows what the one who leads knows."""
        self._observer.changed("broker", ok=False, reason=_NOT_TOLD)
        self._health.expects(_TELLING)

    async def _stand_by(self, candidate: Candidate, leader: Leader | None) -> None:
        self._state = "following"
        self._sure.clear()
        if leader is not None:
            log.info("standing_by", leader=leader.instance, epoch=leader.epoch)
        await candidate.stand_by(leader)

    async def _go_on_alone(self, candidate: Candidate, reason: str) -> None:
        if self._state in ("waiting", "doubting") and candidate.leads:
            self._state = "alone"
            await candidate.go_on_alone(reason)

    async def _lead(
        self,
        candidate: Candidate,
        lock: Lock,
        *,
        epoch: int,
        others_led: bool,
    ) -> None:
        """Lead for as long as the connection lasts, and obey; ends only by raising."""
        await self._prove_once(lock)
        self._epoch, self._state = epoch, "leading"
        self._standbys.begin(epoch)
        self._doubted.clear()
        self._observer.contested(None)
        works: list[Coroutine[Any, Any, None]] = [
            self._prove(lock),
            self._doubted_long_enough(),
        ]
        tasks = {asyncio.create_task(work) for work in works}
        try:
            await candidate.lead(epoch, self._why(), others_led=others_led)
            if self.may_speak and self._state == "leading":
                self._sure.set()
            self._standbys.answer(candidate)
            tasks |= {
                asyncio.create_task(self._beat(candidate)),
                asyncio.create_task(self._standbys.look()),
                asyncio.create_task(self._consumer.run(candidate.accept, self)),
            }
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._doubt("its connection to the broker is lost")
            self._standbys.end()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
        raise BrokerDown("the connection was lost over which it led")

    def _why(self) -> str:
        """Return why it leads now."""
        return "nobody led" if self._leader is None else f"{self._leader.instance} led no more"

    def _doubt(self, reason: str) -> None:
        """Note that another bridge may lead from now on."""
        if self._state == "leading":
            self._state = "doubting"
            self._sure.clear()
            self._doubted.set()
            if not self._is_stopping:
                log.warning("leadership_in_doubt", epoch=self._epoch, reason=reason)

    async def _doubted_long_enough(self) -> None:
        """End this connection once it is in doubt: the next one decides."""
        await self._doubted.wait()
        raise BrokerDown("whether it leads is in doubt")

    async def _prove(self, lock: Lock) -> None:
        """Prove again and again that the lock is this connection's."""
        while True:
            await asyncio.sleep(min(1.0, self._heartbeat_seconds / 4))
            await self._prove_once(lock)

    async def _prove_once(self, lock: Lock) -> None:
        asked_at = _time()
        if not await lock.is_held():
            self._doubt(_NOT_PROVED)
            raise BrokerDown(_NOT_PROVED)
        self._proved_at = asked_at

    async def _beat(self, candidate: Candidate) -> None:
        """Say each second that this bridge leads and lives."""
        loop = asyncio.get_running_loop()
        next_at = loop.time()
        while True:
            until = await candidate.published_until()
            beat = Heartbeat(self._epoch, self.instance, timestamp(until) if until else None)
            sealed = self._envelope.seal_loose(beat, ulid_now(), self._clock(), self._epoch)
            exchange = self._topology.exchanges["bridge"]
            if self.is_sure and not await self._herald.is_blocked():
                with suppress(BrokerDown):
                    await self._herald.beat(exchange, sealed)
            next_at = max(next_at + BEAT_SECONDS, loop.time())
            await asyncio.sleep(next_at - loop.time())


def _time() -> float:
    """Return seconds of a clock that goes on while this process, or its machine, is stopped."""
    return time.clock_gettime(_CLOCK)
