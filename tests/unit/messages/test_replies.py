"""The outcomes and the reply, to the letter of contract.md §5."""

from __future__ import annotations

import json

import orjson
import pytest

from bridge.errors import Flaw
from bridge.messages.replies import Failure, Outcome, Reply

OUTCOMES = [
    *("ok", "sent", "rejected", "timeout", "uncertain"),
    *("expired", "unavailable", "forbidden", "invalid"),
]


def test_the_outcomes_are_those_of_the_contract() -> None:
    """Nine, spelt so."""
    assert sorted(outcome.value for outcome in Outcome) == sorted(OUTCOMES)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_three_outcomes_end_among_the_dead(outcome: str) -> None:
    """What was malformed, not allowed or too late is kept as it came (contract.md §1)."""
    assert Outcome(outcome).buried == (outcome in {"invalid", "forbidden", "expired"})


def test_a_reply_has_every_key_in_its_order() -> None:
    """As contract.md §5 prints it."""
    reply = Reply(
        *("7", "pause", "jose", Outcome.OK, None, None, "<jose><OK>$"),
        *("2026-11-22T12:00:00.000000Z", None, "2026-11-22T12:00:01.000000Z", None),
    )
    expected = {
        "id": "7",
        "command": "pause",
        "agent": "jose",
        "outcome": "ok",
        "data": None,
        "error": None,
        "raw": "<jose><OK>$",
        "received_at": "2026-11-22T12:00:00.000000Z",
        "sent_at": None,
        "replied_at": "2026-11-22T12:00:01.000000Z",
        "context": None,
    }
    assert orjson.dumps(reply).decode() == json.dumps(expected, separators=(",", ":"))


def test_an_error_has_code_message_and_details() -> None:
    """The details are a list, empty where there are none, each a field and its reason."""
    failure = Failure("invalid", "it breaks the contract", (Flaw("code", "is required"),))
    expected = {
        "code": "invalid",
        "message": "it breaks the contract",
        "details": [{"field": "code", "reason": "is required"}],
    }
    assert orjson.dumps(failure).decode() == json.dumps(expected, separators=(",", ":"))
    assert json.loads(orjson.dumps(Failure("timeout", "no answer")))["details"] == []
