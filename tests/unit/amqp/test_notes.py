"""What leaders tell those who stand by comes back as it was told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from bridge.amqp.notes import (
    TOGETHER,
    Told,
    read,
    read_agents,
    read_notes,
    spell,
    spell_agents,
    spell_notes,
)
from bridge.core.notes import Begun, Ended, Lasting
from bridge.messages.replies import Outcome, SealedReply

AT = datetime(2026, 11, 22, 12, 0, 0, 123_456, UTC)
IDENTITY, DIGEST = bytes(range(16)), bytes(range(32))
REPLY = SealedReply("7", Outcome.UNCERTAIN, "perhaps", '{"context":"ção"}'.encode())


@pytest.mark.parametrize(
    "note",
    [
        Begun(IDENTITY, DIGEST, AT, "<josé><P><ON><1>$".encode("cp1252")),
        Ended(IDENTITY, DIGEST, AT, REPLY),
    ],
)
def test_a_note_comes_back(note: Lasting) -> None:
    told = Told("a-1", 3, 42, note, {"josé": b'{"code":1}', "ana": None})
    assert read(spell(told)) == told


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"kind":"Other","identity":"","at":"x"}'])
def test_what_is_no_note_raises(body: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        read(body)


@pytest.mark.parametrize("count", [0, 1, TOGETHER, 2 * TOGETHER + 1])
def test_agents_come_back(count: int) -> None:
    """In as many messages as it takes; in one, where there are none, which says so."""
    states = {f"agent{number}": b'{"code":%d}' % number for number in range(count)}
    bodies = list(spell_agents(iter(states.items())))
    found: dict[str, bytes] = {}
    for body in bodies:
        found |= read_agents(body)
    assert found == states
    assert bodies


@pytest.mark.parametrize("count", [0, 1, TOGETHER, 2 * TOGETHER + 1])
async def test_notes_of_before_come_back(count: int) -> None:
    made = [Begun(number.to_bytes(16), DIGEST, AT, b"<ana><P><ON><1>$") for number in range(count)]

    async def each() -> AsyncIterator[Lasting]:
        for note in made:
            yield note

    bodies = [body async for body in spell_notes(each())]
    assert [note for body in bodies for note in read_notes(body)] == made
