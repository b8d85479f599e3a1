"""The exception tree that the rooms above rely on."""

from __future__ import annotations

import re

import pytest

from bridge import errors
from bridge.errors import BridgeError, Flaw, InvalidCommand

TREE = errors.__doc__ or ""


def test_the_drawing_is_the_tree() -> None:
    """Each exception stands in the module's drawing, under the one that it is a kind of."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    for indent, name in re.findall(r"^([│├└─ ]*)([A-Z]\w+)(?:$| {2})", TREE, re.MULTILINE):
        depth = len(indent) // 4
        drawn[name] = above[depth - 1] if depth else Exception.__name__
        above[depth:] = [name]
    there = {
        name: kind.__base__.__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, BridgeError) and kind.__base__
    }
    assert drawn == there


@pytest.mark.parametrize(("command", "agent"), [(None, None), ("pause", None), ("pause", "jose")])
def test_a_refusal_names_each_field_and_why(command: str | None, agent: str | None) -> None:
    """In its message too, for whoever only logs it."""
    flaws = [Flaw("code", "is required"), Flaw("agent", "must not be empty")]
    refusal = InvalidCommand(flaws, command=command, agent=agent)
    assert refusal.flaws == tuple(flaws)
    assert (refusal.command, refusal.agent) == (command, agent)
    for flaw in flaws:
        assert flaw.field in str(refusal)
        assert flaw.reason in str(refusal)
