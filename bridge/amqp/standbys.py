"""What one who leads tells those who stand by: each note, and all that it knows when asked."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from aiormq.abc import DeliveredMessage

from bridge.amqp import notes
from bridge.amqp.herald import Herald, Kind
from bridge.amqp.session import FOREIGN
from bridge.amqp.topology import Topology
from bridge.core.leadership import Candidate
from bridge.core.notes import Lasting
from bridge.errors import BrokerDown, BrokerError, JournalError

log = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0
"""How often it is looked whether anybody stands by."""

RETRY_SECONDS = 0.1
_ASKS_AGAIN = "it asks again by itself; see RabbitMQ's log and the journal's disk"


class AmqpStandbys:
    """Those who stand by, as the one who leads sees them, the `instance`.

    They write to whoever leads; and what it sends them comes back where nobody stands by.
    """

    def __init__(self, topology: Topology, herald: Herald, instance: str) -> None:
        self._topology = topology
        self._herald = herald
        self._instance = instance
        self._epoch = 0
        self._notes = 0
        self._letters = 0
        self._candidate: Candidate | None = None  # whose knowledge is told
        self._telling: dict[str, asyncio.Task[None]] = {}
        self.are_there = False  # as far as is known

    def __repr__(self) -> str:
        return f"<AmqpStandbys: {'there' if self.are_there else 'none'}>"

    def begin(self, epoch: int) -> None:
        """Speak from now on as who leads; until it is known, there may be some."""
        self._epoch, self.are_there = epoch, True

    def end(self) -> None:
        """Lead no more: answer nobody."""
        self._candidate = None
        for task in self._telling.values():
            task.cancel()

    async def tell(self, note: Lasting, states: notes.States) -> None:
        """Let them know a note; returns when the broker has it for all that are there.

        Where the broker says that nobody stands by there is nobody to tell: one who
        begins to takes what was noted before for unknown.
        """
        self._notes += 1
        if not self.are_there:
            return None
        told = notes.Told(self._instance, self._epoch, self._notes, note, states)
        body = notes.spell(told)
        while True:
            try:
                return await self._herald.tell(self._topology.standbys, "", body, kind=Kind.NOTE)
            except BrokerDown:
                await asyncio.sleep(RETRY_SECONDS)

    def answer(self, candidate: Candidate) -> None:
        """Tell all that the candidate knows whoever asks from now on."""
        self._candidate = candidate

    def hear(self, letter: DeliveredMessage) -> None:
        """Read what one who stands by wrote to who leads."""
        self._letters += 1
        self.are_there = True
        properties = letter.header.properties
        who, question = properties.reply_to, properties.correlation_id
        if properties.message_type == Kind.ALL_WANTED and who and question:
            self._answer(who, question)

    def _answer(self, who: str, question: str) -> None:
        if self._candidate is None:  # who is not answered asks again
            return
        telling = self._telling
        if who in telling:  # what was asked before is answered with this
            telling[who].cancel()
        task = asyncio.create_task(self._tell_all(self._candidate, who, question))
        telling[who] = task
        task.add_done_callback(lambda _: telling.get(who) is task and telling.pop(who))

    async def look(self) -> None:
        """Find out again and again whether anybody is there, where none has written."""
        while True:
            letters = self._letters
            with suppress(BrokerDown):
                are_there = await self._herald.reaches_any(self._topology.standbys, kind=Kind.LOOK)
                if letters == self._letters:
                    self.are_there = are_there
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell_all(self, candidate: Candidate, who: str, question: str) -> None:
        """Tell one who begins to stand by all that is known of agents, then of commands."""

        async def tell(kind: Kind, body: bytes) -> None:
            await self._herald.tell("", who, body, kind=kind, correlation_id=question)

        try:
            for body in notes.spell_agents(candidate.states()):
                await tell(Kind.AGENTS, body)
            async for body in notes.spell_notes(candidate.notes()):
                await tell(Kind.NOTES, body)
            await tell(Kind.ALL_TOLD, b"")
        except (BrokerError, JournalError, *FOREIGN) as error:
            log.warning("standby_not_told", queue=who, reason=str(error), todo=_ASKS_AGAIN)
