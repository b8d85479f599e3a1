"""What the bridge says of itself: the data of contract.md §3."""

from __future__ import annotations

import base64
import json

import orjson
import pytest

from bridge.messages.notices import CommandEnded, FrameMalformed, LinkDown, LinkUp, Notice


@pytest.mark.parametrize(
    ("notice", "kind", "data"),
    [
        (
            LinkUp("socket", "pbx:34025", "registered"),
            "link.up",
            {"transport": "socket", "peer": "pbx:34025", "reason": "registered"},
        ),
        (
            LinkDown("socket", "pbx:34025", "closed"),
            "link.down",
            {"transport": "socket", "peer": "pbx:34025", "reason": "closed"},
        ),
        (
            CommandEnded("7", "pause", "jose", None, "sent", None, 1.5, "c", {"order": 1}),
            "command.sent",
            {"id": "7", "command": "pause", "agent": "jose", "user": None, "outcome": "sent"}
            | {"error": None, "duration_seconds": 1.5, "correlation_id": "c"}
            | {"context": {"order": 1}},
        ),
    ],
)
def test_each_notice_has_its_type_and_every_key(
    notice: Notice, kind: str, data: dict[str, object]
) -> None:
    """In the order of the contract, null where there is nothing."""
    assert notice.type == kind
    assert list(json.loads(orjson.dumps(notice)).items()) == list(data.items())


@pytest.mark.parametrize("raw", [b"x", b"\xe9\xff\x00 <a", bytes(range(256))])
def test_malformed_bytes_are_told_as_they_came(raw: bytes) -> None:
    """Readable beside the bytes themselves, which no encoding can lose."""
    notice = FrameMalformed.of("stray bytes", "x", raw)
    data = json.loads(orjson.dumps(notice))
    assert list(data) == ["reason", "text", "base64"]
    assert base64.b64decode(data["base64"], validate=True) == raw
    assert (data["reason"], data["text"], notice.type) == ("stray bytes", "x", "frame.malformed")
