"""Who hears what happens, and lets the lights, the numbers, the page and the log say it.

What is counted is counted here, from what the journal has taken in, so that all of
them tell the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

import orjson
import structlog

from bridge.core.ports import Part
from bridge.messages.envelope import Occurrence, Sealed
from bridge.messages.events import Event
from bridge.messages.kinds import OWN
from bridge.messages.replies import Outcome
from bridge.observe.board import Agents, Board
from bridge.observe.masking import command_name, short_type, shown
from bridge.observe.metrics import PEERS, Metrics
from bridge.observe.status import Status
from bridge.observe.tracing import span

log = structlog.get_logger(__name__)
_level = logging.getLogger(__name__)


class Watch:
    """The observer of one bridge; see `bridge.core.ports.Observer`."""

    def __init__(
        self,
        *,
        site: str,
        mask: bool,
        max_bytes: int,
        agents: Agents,
        clock: Callable[[], datetime],
    ) -> None:
        self._mask = mask
        self.status = Status(clock)
        self.metrics = Metrics(max_bytes)
        self.board = Board(site=site, mask=mask, status=self.status, agents=agents, clock=clock)
        self._were_up: set[Part] = set()
        self._given_up = 0  # and not settled yet

    def __repr__(self) -> str:
        return f"<Watch: {self.status}>"

    def leads(self, instance: str, *, here: bool) -> None:
        """Show who leads."""
        self.status.lead(leads=here, instance=instance)

    def changed(self, part: Part, *, ok: bool, reason: str) -> None:
        """Show how a part is."""
        if self.status.change(part, ok=ok, reason=reason) and ok and part in PEERS:
            if part in self._were_up:
                self.metrics.reconnected(PEERS[part])
            self._were_up.add(part)

    def hindered(self, part: Part, reason: str | None) -> None:
        """Show that a part does not do its work, though it is there, or does again."""
        if not self.status.hinder(part, reason) or part != "broker":
            return
        if reason is not None:
            log.error(
                "broker_blocked", todo="free RabbitMQ's memory or disk: events wait meanwhile"
            )
        else:
            log.warning("broker_unblocked")

    def contested(self, site: str | None) -> None:
        """Show that another site's bridge leads under this one's prefix."""
        if self.status.contest(site) and site is not None:
            log.error("prefix_contested", by=site, todo="give each site an amqp.prefix of its own")

    def committed(self, messages: Sequence[Sealed], agents: Collection[str]) -> None:
        """Count and show what was taken in."""
        try:
            own = [message for message in messages if message.stream == "bridge"]
            self.metrics.flow.took(messages)
            self.board.committed(messages, own, agents)
            for message in own:
                self._took_own(message)
            if _level.isEnabledFor(logging.DEBUG):
                self._log_all(messages)
        except Exception:  # nobody's event must be lost because it could not be shown
            log.exception("watching_failed", todo="report this as a bug")

    def shed(self, what: Occurrence) -> None:
        """Count what came and had to make way at once."""
        kind = what.type if isinstance(what, Event) else short_type(f"{OWN}{what.type}")
        self.metrics.flow.taken[f"tactium.{kind}"] += 1
        self.metrics.drop(1)

    def dropped(self, count: int) -> None:
        """Count what had to make way."""
        self.metrics.drop(count)

    def confirmed(self, count: int, seconds: float) -> None:
        """Measure how long the broker took."""
        self.metrics.flow.observe(seconds, count)

    def settled(self, count: int) -> None:
        """Count what the broker has; what was given up is counted as that."""
        given_up = min(count, self._given_up)
        self._given_up -= given_up
        self.metrics.flow.confirmed += count - given_up

    def refused(self, count: int) -> None:
        """Count what was given up for a full queue's sake."""
        self._given_up += count
        self.metrics.refused.inc(count)

    def repeated(self, count: int) -> None:
        """Count what is sent again."""
        self.metrics.repeated.inc(count)

    def returned(self) -> None:
        """Count a reply that nobody gets."""
        self.metrics.returned.inc()

    def _took_own(self, message: Sealed) -> None:
        kind = message.type.removeprefix(OWN)
        if kind == "frame.malformed":
            self.metrics.malformed()
        elif kind == "gap":
            gap = _data(message)
            self.metrics.missed(gap)
            begin, end = gap.pop("from"), gap.pop("to")
            log.warning("gap", event_id=message.id, begin=begin, end=end, **gap)
        elif kind.startswith("command."):
            command = _data(message)
            self.metrics.ended(command)
            span(message, command)
            is_well = command["outcome"] in (Outcome.OK, Outcome.SENT)
            report = log.debug if is_well else log.info  # the audit trail has them all
            report(
                "command_ended",
                event_id=message.id,
                command_id=command["id"],
                command=command_name(command["command"]),
                **{name: command[name] for name in ("agent", "user", "outcome")},
                seconds=command["duration_seconds"],
            )

    def _log_all(self, messages: Sequence[Sealed]) -> None:
        """Log each message, masked as the page is."""
        for message in messages:
            kind, data = short_type(message.type), _data(message)
            log.debug(
                "journaled",
                event_id=message.id,
                type=kind,
                agent=data.pop("agent", None),
                data=shown(kind, data, mask=self._mask),
            )


def _data(message: Sealed) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(message.body)["data"]
    return data
