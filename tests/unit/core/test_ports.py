"""What makes two messages the same request (contract.md §4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.core.stand_ins import letter

LETTER = letter({"command": "logon", "agent": "jose"}, reply_to=None)


def identity(
    message_id: str | None = None, reply_to: str | None = None, correlation_id: str | None = None
) -> bytes | None:
    asked = replace(LETTER, message_id=message_id, reply_to=reply_to, correlation_id=correlation_id)
    brought_again = replace(asked, redelivered=True, body=b"", user="other")
    assert brought_again.identity == asked.identity
    return asked.identity


def test_the_message_id_decides_alone() -> None:
    """Whatever else differs, and only where it is the same."""
    same = {identity("7"), identity("7", "a"), identity("7", "b", "1"), identity("7", "b", "2")}
    assert len(same) == 1
    assert identity("7") not in {None, identity("8"), identity("8", "a", "1")}


def test_without_it_reply_queue_and_correlation_id_decide_together() -> None:
    """Neither alone, as two requesters may count alike."""
    assert identity(None, "a", "1") == identity("", "a", "1")
    different = {identity(None, "a", "1"), identity(None, "a", "2"), identity(None, "b", "1")}
    assert len(different) == 3
    assert None not in different


@pytest.mark.parametrize(
    "given", [(), (None, "a"), (None, None, "1"), ("", "", "1"), ("", "a", "")]
)
def test_without_both_no_two_messages_are_the_same(given: tuple[str | None, ...]) -> None:
    """A request that says nothing of itself is like no other."""
    assert identity(*given) is None


def test_no_message_id_is_taken_for_a_reply_queue() -> None:
    """The two kinds of identity never meet, nor do two pairs that read alike in a row."""
    assert identity("a1") != identity(None, "a", "1")
    assert identity("a") != identity(None, "a", "a")
    assert identity(None, "a1", "1") != identity(None, "a", "11")
    assert identity("1:a1:1") != identity(None, "a", "1")
