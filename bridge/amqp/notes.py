"""What a bridge that leads tells those who stand by, as JSON: notes on commands, agents.

Each note is told when it is made, with the states of agents that it changes. To one who
begins to stand by all that is known is told first: agents, then the notes of before.

Nobody else is meant to read it; the two sides may be a version apart, so what is not
understood is passed over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import orjson

from bridge.core.notes import Begun, Ended, Lasting
from bridge.messages.envelope import timestamp
from bridge.messages.replies import Outcome, SealedReply

TOGETHER = 200
"""Agents, or notes of before, in one message."""

States = Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Told:
    """One note; `number` counts those that one bridge has made, the `teller`."""

    teller: str
    epoch: int
    number: int
    note: Lasting
    states: States


def spell(told: Told) -> bytes:
    """Return a note as JSON."""
    said = {
        "teller": told.teller,
        "epoch": told.epoch,
        "number": told.number,
        **_spelt_note(told.note),
        "states": _fragments(told.states.items()),
    }
    return orjson.dumps(said)


def read(body: bytes) -> Told:
    """Return the note that was spelt so. Raises `ValueError` or `KeyError` for anything else."""
    said = orjson.loads(body)
    states = {
        agent: None if state is None else orjson.dumps(state)
        for agent, state in said["states"].items()
    }
    return Told(said["teller"], said["epoch"], said["number"], _note(said), states)


async def spell_notes(made: AsyncIterator[Lasting]) -> AsyncIterator[bytes]:
    """Yield notes of before in messages of a bearable size."""
    some: list[dict[str, Any]] = []
    async for note in made:
        some.append(_spelt_note(note))
        if len(some) == TOGETHER:
            yield orjson.dumps(some)
            some = []
    if some:
        yield orjson.dumps(some)


def read_notes(body: bytes) -> list[Lasting]:
    """Return the notes that were spelt so. Raises `ValueError` or `KeyError` for anything else."""
    return [_note(said) for said in orjson.loads(body)]


def spell_agents(states: Iterator[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield the states of agents in messages of a bearable size: one at least."""
    while True:
        some = list(islice(states, TOGETHER))
        yield orjson.dumps(_fragments(some))
        if len(some) < TOGETHER:
            return


def read_agents(body: bytes) -> dict[str, bytes]:
    """Return the states that were spelt so. Raises `ValueError` for anything else."""
    return {agent: orjson.dumps(state) for agent, state in orjson.loads(body).items()}


def _fragments(states: Iterable[tuple[str, bytes | None]]) -> dict[str, Any]:
    return {agent: None if state is None else orjson.Fragment(state) for agent, state in states}


def _spelt_note(note: Lasting) -> dict[str, Any]:
    said: dict[str, Any] = {
        "kind": type(note).__name__,
        "identity": note.identity.hex(),
        "digest": note.digest.hex(),
        "at": timestamp(note.at),
    }
    match note:
        case Begun(_, _, _, frame):
            said["frame"] = frame.decode("latin-1")
        case Ended(_, _, _, reply):
            said["reply"] = _spelt(reply)
    return said


def _note(said: dict[str, Any]) -> Lasting:
    identity, digest = bytes.fromhex(said["identity"]), bytes.fromhex(said["digest"])
    at = datetime.fromisoformat(said["at"])
    match said["kind"]:
        case "Begun":
            return Begun(identity, digest, at, said["frame"].encode("latin-1"))
        case "Ended":
            return Ended(identity, digest, at, _reply(said["reply"]))
        case kind:
            raise ValueError(f"no note: {kind}")


def _spelt(reply: SealedReply) -> dict[str, str]:
    return {
        "id": reply.id,
        "outcome": reply.outcome,
        "reason": reply.reason,
        "body": reply.body.decode(),
    }


def _reply(said: dict[str, str]) -> SealedReply:
    return SealedReply(said["id"], Outcome(said["outcome"]), said["reason"], said["body"].encode())
