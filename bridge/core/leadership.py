"""Which of several bridges leads: what the core needs of whoever knows that.

One bridge of a site leads: it is connected to Tactium and obeys commands. The others
stand by and follow what it publishes. Leadership is gained through the broker; to
lose the broker is no reason to stop hearing Tactium, so a bridge that led goes on
`alone` until it is known that another leads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from bridge.core.notes import Lasting, Learned
from bridge.core.ports import Delivery, Fence


@dataclass(frozen=True, slots=True)
class Leader:
    """What another bridge's heartbeat says.

    `published_until` is up to when all that Tactium said is at the broker.
    """

    epoch: int
    instance: str
    published_until: datetime | None


class Candidate(Protocol):
    """A bridge that may lead. What it is told, it does in this order."""

    @property
    def last_epoch(self) -> int:
        """The epoch of the leadership that it knows of last."""

    @property
    def leads(self) -> bool:
        """Whether it leads, or did at its end; one that never heard of another does."""

    async def lead(self, epoch: int, reason: str, *, others_led: bool) -> None:
        """Lead from now on, or go on under a new epoch; returns when commands may come.

        `others_led`: others may have led since this bridge did.
        """

    async def go_on_alone(self, reason: str) -> None:
        """Go on hearing Tactium, where it led, though it cannot be known who does now."""

    async def stand_by(self, leader: Leader | None) -> None:
        """Let the other one lead, whoever that is; returns when Tactium is let go."""

    def hear(self, leader: Leader) -> None:
        """Hear the other one's heartbeat."""

    def accept(self, delivery: Delivery) -> None:
        """Take a command."""

    def missed(self) -> None:
        """Hear that what the leader did until now was not followed."""

    def follow(self, message: Mapping[str, Any], trace: str | None) -> None:
        """Hear what the leader has published, as JSON."""

    def follow_note(self, learned: Learned, states: Mapping[str, bytes | None]) -> None:
        """Hear what the leader has noted of a command, and of agents with it."""

    @property
    def can_learn(self) -> bool:
        """Whether there is room for what the leader tells; else it is to be told later."""

    def begin_to_be_told(self) -> None:
        """Hear that the leader begins to tell all its agents, and what it noted before."""

    def follow_agents(self, states: Mapping[str, bytes]) -> None:
        """Hear the states of agents, as the leader has them."""

    def was_told_all(self) -> None:
        """Hear that whoever the leader did not tell of since it began is not known to it."""

    def states(self) -> Iterator[tuple[str, bytes]]:
        """Yield the state of each agent, for one who follows."""

    def notes(self) -> AsyncIterator[Lasting]:
        """Yield what is noted of each command, for one who follows. Raises `JournalError`."""

    async def published_until(self) -> datetime | None:
        """Return up to when all that Tactium said is at the broker, None for never."""


class Leadership(Fence, Protocol):
    """Knows who leads, and tells the candidate."""

    @property
    def instance(self) -> str:
        """How this bridge is called among the others."""

    @property
    def may_speak(self) -> bool:
        """Whether Tactium may be written to, and the broker, as one who leads or goes on alone.

        A process that was stopped and wakes finds out here, before it does either.
        """

    async def run(self, candidate: Candidate) -> None:
        """Take part, over as many connections as it takes, until cancelled."""

    async def stop(self) -> None:
        """Take no more commands. What was delivered can still be concluded."""


class Standbys(Protocol):
    """The bridges that stand by."""

    @property
    def are_there(self) -> bool:
        """Whether there are any, as far as is known."""

    async def tell(self, note: Lasting, states: Mapping[str, bytes | None]) -> None:
        """Let them know a note; returns when the broker has it for all that are there.

        Waits for a connection to the broker.
        """
