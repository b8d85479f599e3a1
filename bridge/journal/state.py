"""What the journal knows beside its messages, and how the file has it; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import orjson

from bridge.journal.sqlite import moment, number

_From = TypeVar("_From")
_To = TypeVar("_To")


@dataclass(frozen=True, slots=True)
class Dropped:
    """What had to make way and was not told of yet: how many, and from when to when."""

    messages: int
    first: datetime
    last: datetime


def both(earlier: Dropped | None, later: Dropped | None) -> Dropped | None:
    """Return what was dropped earlier and what was dropped later as one."""
    if earlier is None or later is None:
        return earlier or later
    return Dropped(earlier.messages + later.messages, earlier.first, later.last)


@dataclass(frozen=True, slots=True)
class State:
    """What outlives the messages."""

    journal_id: str
    sequence: int = 0  # the last number given
    first: int = 1  # the lowest number that is neither confirmed nor dropped
    heard_at: datetime | None = None  # when Tactium could last be heard
    dropped: Dropped | None = None
    forgot_at: datetime | None = None  # up to when commands may be forgotten that came again later
    epoch: int = 0  # of the last time that this bridge led
    leads: bool = True  # as far as was known when this was written

    @classmethod
    def of(cls, journal_id: str, row: Sequence[Any]) -> State:
        """Return what a `row` says. Raises `ValueError` or `TypeError` where it is none."""
        sequence, first, heard_at, dropped, dropped_from, dropped_to, *others = row
        forgot_at, epoch, leads = others
        return cls(
            journal_id,
            sequence,
            first,
            _maybe(moment, heard_at),
            Dropped(dropped, moment(dropped_from), moment(dropped_to)) if dropped else None,
            _maybe(moment, forgot_at),
            epoch,
            bool(leads),
        )

    def row(self) -> tuple[object, ...]:
        """Return the columns of the table `state`, but for the id."""
        dropped = self.dropped
        return (
            self.sequence,
            self.first,
            _maybe(number, self.heard_at),
            dropped.messages if dropped else 0,
            number(dropped.first) if dropped else None,
            number(dropped.last) if dropped else None,
            _maybe(number, self.forgot_at),
            self.epoch,
            self.leads,
        )


def beside(state: State, agents: Mapping[str, bytes | None]) -> bytes:
    """Return what can stand beside messages: the state that they lead to, and those of agents."""
    states = {
        name: orjson.Fragment(known) if known is not None else None
        for name, known in agents.items()
    }
    return orjson.dumps((state.row(), states))


def read_beside(journal_id: str, last: int, text: bytes) -> tuple[State, dict[str, bytes | None]]:
    """Return what stands beside messages up to number `last`.

    Raises `ValueError`, `TypeError` or `OverflowError` where it is damaged.
    """
    row, states = orjson.loads(text)
    state = State.of(journal_id, row)
    if state.sequence != last:
        raise ValueError(f"{state.sequence} beside number {last}")
    return state, {
        name: orjson.dumps(known) if known is not None else None
        for name, known in dict(states).items()
    }


def _maybe(convert: Callable[[_From], _To], value: _From | None) -> _To | None:
    return None if value is None else convert(value)
