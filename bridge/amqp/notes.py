"""What a bridge that leads tells those who stand by, as JSON: notes on commands, agents.

Nobody else is meant to read it; the two sides may be a version apart, so what is not
understood is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import orjson

from bridge.core.notes import Begun, Ended, Lasting
from bridge.messages.envelope import timestamp
from bridge.messages.replies import Outcome, SealedReply

AGENTS_TOGETHER = 200
OLD = 0
"""The number of a note that is told again, to one who was not there when it was made."""

States = Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Told:
    """One note; `number` counts those that one bridge has told, and is `OLD` for others."""

    number: int
    note: Lasting
    states: States


def spell(told: Told) -> bytes:
    """Return a note as JSON."""
    said: dict[str, Any] = {
        "number": told.number,
        "kind": type(told.note).__name__,
        "identity": told.note.identity.hex(),
        "at": timestamp(told.note.at),
        "states": _fragments(told.states.items()),
    }
    match told.note:
        case Begun(_, digest, _, frame):
            said |= {"digest": digest.hex(), "frame": frame.decode("latin-1")}
        case Ended(_, digest, _, reply):
            said |= {"digest": digest.hex(), "reply": _spelt(reply)}
    return orjson.dumps(said)


def read(body: bytes) -> Told:
    """Return the note that was spelt so. Raises `ValueError` or `KeyError` for anything else."""
    said = orjson.loads(body)
    identity, at = bytes.fromhex(said["identity"]), datetime.fromisoformat(said["at"])
    note: Lasting
    match said["kind"]:
        case "Begun":
            frame = said["frame"].encode("latin-1")
            note = Begun(identity, bytes.fromhex(said["digest"]), at, frame)
        case "Ended":
            note = Ended(identity, bytes.fromhex(said["digest"]), at, _reply(said["reply"]))
        case kind:
            raise ValueError(f"no note: {kind}")
    states = {
        agent: None if state is None else orjson.dumps(state)
        for agent, state in said["states"].items()
    }
    return Told(said["number"], note, states)


def spell_agents(states: Iterator[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield the states of agents in messages of a bearable size: one at least."""
    while True:
        some = list(islice(states, AGENTS_TOGETHER))
        yield orjson.dumps(_fragments(some))
        if len(some) < AGENTS_TOGETHER:
            return


def read_agents(body: bytes) -> dict[str, bytes]:
    """Return the states that were spelt so. Raises `ValueError` for anything else."""
    return {agent: orjson.dumps(state) for agent, state in orjson.loads(body).items()}


def _fragments(states: Iterable[tuple[str, bytes | None]]) -> dict[str, Any]:
    return {agent: None if state is None else orjson.Fragment(state) for agent, state in states}


def _spelt(reply: SealedReply) -> dict[str, str]:
    return {
        "id": reply.id,
        "outcome": reply.outcome,
        "reason": reply.reason,
        "body": reply.body.decode(),
    }


def _reply(said: dict[str, str]) -> SealedReply:
    return SealedReply(said["id"], Outcome(said["outcome"]), said["reason"], said["body"].encode())
