"""Patterns of routing keys, held to what a topic exchange does."""

from __future__ import annotations

import pytest

from bridge.client.patterns import matcher


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("#", "jose.call.ended", True),
        ("#", "", True),
        ("jose.#", "jose.call.ended", True),
        ("jose.#", "jose", True),
        ("jose.#", "josefa.call.ended", False),
        ("*.call.started.*", "jose.call.started.inbound", True),
        ("*.call.started.*", "jose.call.started", False),
        ("*.call.#", "jose.call.started.inbound", True),
        ("*.call.#", "jose.agent.status", False),
        ("#.ended", "jose.call.ended", True),
        ("#.ended", "ended", True),
        ("*", "a.b", False),
        ("#.#", "a", True),
        ("jose%2Esilva.#", "jose%2Esilva.call.ended", True),
        ("j.*.x", "j.a.b.x", False),
        ("j+.#", "jj.a", False),
    ],
)
def test_a_pattern_matches(pattern: str, key: str, *, matches: bool) -> None:
    assert matcher([pattern])(key) is matches


def test_one_of_several_is_enough() -> None:
    wants = matcher(["ana.#", "*.call.ended"])
    assert wants("ana.agent.status")
    assert wants("jose.call.ended")
    assert not wants("jose.agent.status")
