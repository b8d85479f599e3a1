"""The data of each event: every key, in the order of contract.md §2."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from bridge.messages.events import (
    STATUS_NAMES,
    AgentStatus,
    CallCurrent,
    CallEnded,
    CallRecorded,
    CallStarted,
    Confirmed,
    Event,
    FrameUnknown,
)

CALL_KEYS = [
    *("agent", "call_id", "direction", "dial_item_id", "origin_area_code", "origin"),
    *("destination_area_code", "destination", "description", "recording_key"),
    *("external_id", "external", "context", "raw"),
]
ENDED_KEYS = [
    *("agent", "call_id", "direction", "started_at", "duration_seconds", "recordings"),
    *("context", "repeated", "inferred", "raw"),
]
CALL: dict[str, Any] = {**dict.fromkeys(CALL_KEYS), "agent": "jose", "external": {}, "raw": "<>"}


@pytest.mark.parametrize(
    ("event", "keys"),
    [
        (CallStarted(**CALL), CALL_KEYS),
        (CallCurrent(**CALL), CALL_KEYS),
        (
            CallRecorded("jose", None, None, None, "<>"),
            ["agent", "call_id", "path", "context", "raw"],
        ),
        (CallEnded("jose"), ENDED_KEYS),
        (AgentStatus("jose", 1, "available", "<>"), ["agent", "code", "status", "raw"]),
        (FrameUnknown("jose", ["jose"], "<jose>$"), ["agent", "fields", "raw"]),
    ],
)
def test_every_key_is_there_in_its_order(event: Event, keys: list[str]) -> None:
    """Also where nothing is known: null, and never absent."""
    data: dict[str, Any] = json.loads(orjson.dumps(event))
    assert list(data) == keys


def test_an_end_alone_knows_nothing_of_a_call() -> None:
    """Null throughout, neither repeated nor inferred until somebody says so."""
    data = json.loads(orjson.dumps(CallEnded("jose", raw="<jose><EndCall>$")))
    assert data == {
        **dict.fromkeys(ENDED_KEYS),
        "agent": "jose",
        "repeated": False,
        "inferred": False,
        "raw": "<jose><EndCall>$",
    }


def test_the_five_statuses_of_the_manual() -> None:
    """By the names of contract.md §2 and the numbers of §4.6."""
    assert STATUS_NAMES == {0: "logged_out", 1: "available", 2: "paused", 3: "busy", 4: "wrap_up"}


def test_an_ok_that_nothing_waited_for_is_an_unknown_frame() -> None:
    """With all its fields and its text."""
    confirmed = Confirmed("jose", ["Jose", "OK"], "<Jose><OK>$")
    assert confirmed.as_unknown() == FrameUnknown("jose", ["Jose", "OK"], "<Jose><OK>$")
