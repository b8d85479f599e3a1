"""Events out: from the journal to the exchanges, in order, every one confirmed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol, cast

import structlog
from aio_pika.abc import AbstractConnection
from aiormq import Channel

from bridge.amqp.connection import Health, keep_connected
from bridge.amqp.express import Express
from bridge.amqp.marshal import publish
from bridge.amqp.outbox import Outbox
from bridge.amqp.session import is_blocked
from bridge.amqp.topology import Topology
from bridge.amqp.window import Window
from bridge.backoff import delays
from bridge.core.journal import Journal
from bridge.core.ports import Observer
from bridge.errors import BrokerDown
from bridge.messages.envelope import Sealed
from bridge.settings import AmqpSettings

log = structlog.get_logger(__name__)

CONNECTION = "events"
MOST_TRIES = 4
LATE_AFTER = timedelta(seconds=5)
MOST_AT_ONCE = 512
FEW = 32
"""Messages that are sent without waiting for the connection to take them."""

_NOTHING: tuple[Sequence[Sealed], bytes] = ((), b"")
_BLOCKED = "it takes nothing: its memory or disk alarm is on"
WATCH_SECONDS = 0.5
GATE_SECONDS = 0.05


class Gate(Protocol):
    """Holds back what this bridge says while it is in doubt whether it still leads."""

    @property
    def may_publish(self) -> bool:
        """Whether what is in the journal may go out."""


class Publisher:
    """Owns the publishing connection; the `outbox` shares it."""

    def __init__(
        self,
        settings: AmqpSettings,
        topology: Topology,
        outbox: Outbox,
        health: Health,
        observer: Observer,
        gate: Gate,
    ) -> None:
        self._gate = gate
        self._settings = settings
        self._health = health
        self._topology = topology
        self._outbox = outbox
        self._observer = observer
        self._sent = 0  # the highest number that any connection took

    async def run(self, journal: Journal) -> None:
        """Publish and settle, over as many connections as it takes, until cancelled."""

        async def use(connection: AbstractConnection, on_ready: Callable[[], None]) -> None:
            await self._publish(journal, connection, on_ready)

        await keep_connected(CONNECTION, self._settings, self._health, use)

    async def _publish(
        self, journal: Journal, connection: AbstractConnection, on_ready: Callable[[], None]
    ) -> None:
        """Publish from the lowest number not settled, for as long as the connection lasts."""
        channel = await connection.channel()
        await self._topology.declare_exchanges(channel)
        await self._topology.declare_history(channel)
        await self._topology.declare_dead(channel)
        events = cast("Channel", await channel.get_underlay_channel())
        replies = await (await connection.channel(on_return_raises=True)).get_underlay_channel()
        self._outbox.attach(replies)
        flow = _Flow(
            events,
            journal,
            self._topology,
            self._settings,
            self._observer,
            self._gate,
            sent_before=self._sent,
        )
        on_ready()
        journal.hand_to(flow)
        work = (flow.send(), flow.send_again(), flow.watch())
        working = {asyncio.create_task(each) for each in work}
        try:
            # A reply can bring its channel down; without one nobody would get any more.
            await asyncio.wait(
                {*working, events.closing, replies.closing},
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._outbox.attach(None)
            journal.hand_to(None)
            self._sent = max(self._sent, flow.last_sent)
            self._observer.hindered("broker", None)
            for task in working:
                task.cancel()
            await asyncio.wait(working)
        for task in working:
            if not task.cancelled():
                task.result()
        raise BrokerDown("the broker closed a channel: was an exchange deleted?")


class _Flow:
    """What one connection carries: messages out, confirms in, the journal settled by them."""

    def __init__(
        self,
        channel: Channel,
        journal: Journal,
        topology: Topology,
        settings: AmqpSettings,
        observer: Observer,
        gate: Gate,
        *,
        sent_before: int,
    ) -> None:
        self._gate = gate
        self._channel = channel
        self._express = Express(channel, self._on_confirm)
        self._journal = journal
        self._exchanges = topology.exchanges
        self._confirm_seconds = settings.confirm_timeout_seconds
        self._observer = observer
        self._sent_before = sent_before  # up to this number, on another connection
        self._window = Window(journal.settled)
        self._room = asyncio.Event()
        self._is_waiting = False  # for the journal
        self._expected = _NOTHING
        self._again: list[Sealed] = []  # refused
        self._refused = asyncio.Event()

    async def send(self) -> None:
        """Send what the journal has, as long as there is room in the window for so many."""
        while True:
            while self._window.room < MOST_AT_ONCE:
                self._room.clear()
                await self._room.wait()
            self._is_waiting = True
            batch = await self._journal.read(self._window.last, MOST_AT_ONCE)
            self._is_waiting = False
            last = self._window.last  # which `take` may have raised meanwhile
            batch = [each for each in batch if each.sequence > last]
            await self._wait_at_gate()
            if batch and batch[0].sequence <= self._sent_before:
                again = sum(each.sequence <= self._sent_before for each in batch)
                self._observer.repeated(again)
            await self._put(batch)

    async def send_again(self) -> None:
        """Send what was refused once more, after a while that grows."""
        for seconds in delays():
            await self._refused.wait()
            await asyncio.sleep(seconds)
            await self._wait_at_gate()
            self._refused.clear()
            again, self._again = self._again, []
            await self._put(again)

    def expect(self, messages: Sequence[Sealed]) -> None:
        """Marshal what is about to be committed: sooner done than when the disk was waited for."""
        if self._may_take(messages):
            self._expected = messages, self._marshal(messages)

    def take(self, messages: Sequence[Sealed]) -> bool:
        """Send what was just committed, where it is what `send` waits for; return whether it was.

        In quiet times nothing has to be woken for it.
        """
        (expected, payload), self._expected = self._expected, _NOTHING
        if not self._may_take(messages):
            return False
        first = self._express.next_number
        if expected is not messages or _is_late(messages[0], datetime.now(UTC)):
            payload = self._marshal(messages)
        self._express.send_now(payload, len(messages))
        self._window.send(first, messages, time.monotonic())  # after it: each moment counts
        return True

    def _may_take(self, messages: Sequence[Sealed]) -> bool:
        """Return whether these are what `send` waits for, are few, and can go out at once."""
        is_next = self._is_waiting and messages[0].sequence == self._window.last + 1
        is_small = len(messages) <= min(FEW, self._window.room)
        return is_next and is_small and self._express.is_free and self._gate.may_publish

    async def watch(self) -> None:
        """Raise `BrokerDown` where a message is not confirmed in time."""
        blocked_at = 0.0  # when it was seen last
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            takes_nothing = await is_blocked(self._channel)
            self._observer.hindered("broker", _BLOCKED if takes_nothing else None)
            if takes_nothing:  # it confirms nothing then, and its heartbeats show that it lives
                blocked_at = time.monotonic()
            since = self._window.waiting_since
            if since is None:
                continue
            if time.monotonic() - max(since, blocked_at) > self._confirm_seconds:
                raise BrokerDown(f"not confirmed within {self._confirm_seconds:g} s")

    @property
    def last_sent(self) -> int:
        """The highest number that was sent."""
        return self._window.last

    async def _wait_at_gate(self) -> None:
        """Wait until this bridge may say something."""
        while not self._gate.may_publish:  # noqa: ASYNC110 - asking is what finds it out
            await asyncio.sleep(GATE_SECONDS)

    async def _put(self, batch: Sequence[Sealed]) -> None:
        """Put messages on the wire, in order."""
        if batch:
            payload = self._marshal(batch)
            self._window.send(self._express.next_number, batch, time.monotonic())
            await self._express.send(payload, len(batch))

    def _marshal(self, batch: Sequence[Sealed]) -> bytes:
        """Return the bytes of messages, which are late or not as they are now."""
        express = self._express
        channel, frame_max = express.number, express.frame_max
        now = datetime.now(UTC)
        return b"".join(
            [
                publish(
                    message,
                    self._exchanges[message.stream],
                    channel,
                    frame_max,
                    late=_is_late(message, now),
                )
                for message in batch
            ]
        )

    def _on_confirm(self, number: int, *, multiple: bool, taken: bool) -> None:
        """Settle what is confirmed.

        A message that is refused is refused by a queue that is full and says so to
        its publisher, or that is on a node which is down. It is sent again a few times
        for that queue's sake and no more: one subscriber must not keep events from all
        others.
        """
        in_flight, since = self._window.in_flight, self._window.waiting_since
        refused = self._window.confirm(number, multiple=multiple, taken=taken)
        if taken and since is not None:
            count = in_flight - self._window.in_flight
            self._observer.confirmed(count, time.monotonic() - since)
        given_up = [message for message, tries in refused if tries >= MOST_TRIES]
        for message in given_up:
            self._window.give_up(message)
        if given_up:
            self._observer.refused(len(given_up))
            log.error(
                "events_refused",
                count=len(given_up),
                first=given_up[0].id,
                todo="a queue that is bound is full and refuses (x-overflow), or its node is down: "
                "see which",
            )
        self._again += [message for message, tries in refused if tries < MOST_TRIES]
        if self._again:
            self._refused.set()
        self._journal.settle(self._window.settled)
        self._room.set()


def _is_late(message: Sealed, now: datetime) -> bool:
    return now - message.time > LATE_AFTER
