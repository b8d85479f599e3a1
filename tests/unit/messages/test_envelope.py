"""The envelope, its id and its routing key, to the letter of contract.md §1 and §2."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import Flaw, InvalidCommand
from bridge.messages.commands import parse
from bridge.messages.envelope import Envelope, Occurrence, agent_word, timestamp
from bridge.messages.events import (
    AgentStatus,
    CallCurrent,
    CallEnded,
    CallRecorded,
    CallStarted,
    Confirmed,
    FrameUnknown,
)
from bridge.messages.notices import CommandEnded, FrameMalformed, LinkDown, LinkUp
from bridge.messages.replies import Failure, Outcome
from bridge.wire.frame import Decoder, Frame, decode
from bridge.wire.grammar import understand

AT = datetime(2026, 11, 22, 12, 0, 0, 123456, UTC)
ENVELOPE = Envelope(site="main", journal_id="01JD7M2Q8Z5V")
TAG = "tag:tactium-bridge,2026:schema/1"

CALL: dict[str, Any] = {
    "agent": "jose",
    "call_id": "01JD",
    "direction": "outbound",
    "dial_item_id": "15068",
    "origin_area_code": "0",
    "origin": "9988",
    "destination_area_code": "0",
    "destination": "7017",
    "description": "",
    "recording_key": "",
    "external_id": "dialer.CampaignName=Discador;…",
    "external": {"dialer.CampaignName": "Discador", "dialer.ExternalID": "15068"},
    "context": None,
    "raw": "<jose><A><15068>…>$",
}
ENDED = CommandEnded("7", "pause", "jose", "crm", "ok", None, 0.25, "c-1", {"order": "A-77"})


def sealed(what: Occurrence, sequence: int = 42, at: datetime = AT) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(ENVELOPE.seal(what, sequence, at).body)
    return envelope


def test_the_example_of_the_contract() -> None:
    """The event that contract.md §2 prints comes out key by key, in that order, with an epoch."""
    message = ENVELOPE.seal(CallStarted(**CALL), 42, AT, 7)
    expected = {
        "specversion": "1.0",
        "id": "01JD7M2Q8Z5V-00000000000000000042",
        "source": "/tactium/main",
        "type": "tactium.call.started",
        "subject": "jose",
        "time": "2026-11-22T12:00:00.123456Z",
        "datacontenttype": "application/json",
        "dataschema": "tag:tactium-bridge,2026:schema/1/call.started",
        "sequence": "00000000000000000042",
        "partitionkey": "jose",
        "epoch": 7,
        "data": CALL,
    }
    assert message.body.decode() == json.dumps(expected, ensure_ascii=False, separators=(",", ":"))
    assert (message.sequence, message.stream, message.time) == (42, "events", AT)
    assert (message.id, message.type) == (
        "01JD7M2Q8Z5V-00000000000000000042",
        "tactium.call.started",
    )
    assert message.routing_key == "jose.call.started.outbound"


@pytest.mark.parametrize(
    ("what", "key", "kind"),
    [
        (CallStarted(**CALL), "jose.call.started.outbound", "call.started"),
        (
            CallStarted(**{**CALL, "direction": "inbound"}),
            "jose.call.started.inbound",
            "call.started",
        ),
        (CallRecorded("jose", None, "a.wav", None, "<>"), "jose.call.recorded", "call.recorded"),
        (CallEnded("jose"), "jose.call.ended", "call.ended"),
        (AgentStatus("jose", 1, "available", "<>"), "jose.agent.status", "agent.status"),
        (CallCurrent(**CALL), "jose.call.current", "call.current"),
        (FrameUnknown("jose", ["jose"], "<jose>$"), "jose.frame.unknown", "frame.unknown"),
    ],
)
def test_each_event_has_its_key_its_type_and_its_schema(
    what: Occurrence, key: str, kind: str
) -> None:
    """As the table of contract.md §1 has them; the agent is subject and partition key."""
    message = ENVELOPE.seal(what, 1, AT)
    envelope = json.loads(message.body)
    assert (message.stream, message.routing_key) == ("events", key)
    assert message.type == envelope["type"] == f"tactium.{kind}"
    assert envelope["dataschema"] == f"{TAG}/{kind}"
    assert envelope["subject"] == envelope["partitionkey"] == envelope["data"]["agent"] == "jose"


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (LinkUp("socket", "pbx:34025", "registered"), "link.up"),
        (LinkDown("socket", "pbx:34025", "closed"), "link.down"),
        (FrameMalformed.of("stray", "x", b"x"), "frame.malformed"),
        *(
            (CommandEnded("1", None, None, None, name, None, 0.0, None, None), f"command.{name}")
            for name in Outcome
        ),
    ],
)
def test_each_notice_has_its_key_and_its_type(what: Occurrence, kind: str) -> None:
    """On the bridge's own exchange, under the site's name (contract.md §1, §3)."""
    message = ENVELOPE.seal(what, 1, AT)
    envelope = json.loads(message.body)
    assert (message.stream, message.routing_key) == ("bridge", f"main.{kind}")
    assert message.type == envelope["type"] == f"tactium.bridge.{kind}"
    assert envelope["subject"] == envelope["partitionkey"] == "main"
    assert envelope["source"] == "/tactium/main"
    assert list(envelope) == list(sealed(CallEnded("jose")))


def test_the_audit_trail_holds_what_the_contract_lists() -> None:
    """Every key of `command.<outcome>`, in order, an error with its details included."""
    failure = Failure("invalid", "it breaks the contract", (Flaw("code", "is required"),))
    ended = CommandEnded("7", "pause", "jose", "crm", "invalid", failure, 0.25, "c-1", None)
    assert json.loads(ENVELOPE.seal(ended, 1, AT).body)["data"] == {
        "id": "7",
        "command": "pause",
        "agent": "jose",
        "user": "crm",
        "outcome": "invalid",
        "error": {
            "code": "invalid",
            "message": "it breaks the contract",
            "details": [{"field": "code", "reason": "is required"}],
        },
        "duration_seconds": 0.25,
        "correlation_id": "c-1",
        "context": None,
    }


# --- id, sequence, time, schema -------------------------------------------------


@pytest.mark.parametrize("what", [CallEnded("jose"), ENDED])
def test_sequences_order_as_text(what: Occurrence) -> None:
    """Twenty digits each; the id is the journal's name, a hyphen, and the same digits."""
    numbers = [0, 1, 9, 10, 99, 12345, 10**12, 2**63 - 1]
    envelopes = [sealed(what, number) for number in numbers]
    sequences = [envelope["sequence"] for envelope in envelopes]
    assert sequences == sorted(sequences)
    assert [int(sequence) for sequence in sequences] == numbers
    assert {len(sequence) for sequence in sequences} == {20}
    assert [e["id"] for e in envelopes] == [f"01JD7M2Q8Z5V-{s}" for s in sequences]


def test_sealed_again_an_event_is_the_same() -> None:
    """The same event, number and moment give the same id and the same bytes."""
    one, other = (ENVELOPE.seal(CallStarted(**CALL), 42, AT) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (AT, "2026-11-22T12:00:00.123456Z"),
        (AT.replace(microsecond=0), "2026-11-22T12:00:00.000000Z"),
        (AT.astimezone(timezone(timedelta(hours=-3))), "2026-11-22T12:00:00.123456Z"),
    ],
)
def test_time_is_utc_with_microseconds(at: datetime, text: str) -> None:
    """Always six digits and a `Z`, so times order as text."""
    assert sealed(CallEnded("jose"), at=at)["time"] == text
    assert timestamp(at) == text


@pytest.mark.parametrize("base", ["https://schemas.example/t", "https://schemas.example/t/"])
def test_schemas_are_named_by_the_base_url_where_given(base: str) -> None:
    """An event's under `events/`, a notice's under `bridge/`."""
    envelope = Envelope(site="main", journal_id="j", schema_base_url=base)
    event = json.loads(envelope.seal(CallStarted(**CALL), 1, AT).body)
    notice = json.loads(envelope.seal(LinkUp("socket", "p", "r"), 1, AT).body)
    assert event["dataschema"] == "https://schemas.example/t/events/call.started.json"
    assert notice["dataschema"] == "https://schemas.example/t/bridge/link.up.json"


def test_the_site_is_in_source_and_in_the_notices_keys() -> None:
    """Two sites on one broker can be told apart."""
    envelope = Envelope(site="fortaleza-2", journal_id="j")
    event = envelope.seal(CallEnded("jose"), 1, AT)
    notice = envelope.seal(LinkUp("socket", "p", "r"), 2, AT)
    assert json.loads(event.body)["source"] == "/tactium/fortaleza-2"
    assert event.routing_key == "jose.call.ended"
    assert notice.routing_key == "fortaleza-2.link.up"


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=60), st.sampled_from([b"A", b"R", b"G", b"S", b"OK", b"?"]))
def test_whatever_tactium_says_can_be_sealed(data: bytes, word: bytes) -> None:
    """Any bytes, as a frame or as none: JSON that a reader takes, with the text in it."""
    decoder = Decoder()
    for piece in [*decoder.feed(b"<a><" + word + b"><" + data + b">$" + data), *decoder.finish()]:
        if isinstance(piece, Frame):
            heard = understand(piece)
            event = heard.as_unknown() if isinstance(heard, Confirmed) else heard
            assert sealed(event)["data"]["raw"] == piece.raw
        else:
            notice = FrameMalformed.of(piece.reason, decode(piece.raw), piece.raw)
            assert sealed(notice)["data"]["text"] == decode(piece.raw)


def test_a_context_that_was_accepted_can_be_given_back() -> None:
    """However deep: it is refused with its command, or it fits in the audit trail."""
    for depth in (10, *range(100, 1024 // 2 - 8)):
        context = b'{"x":' + b"[" * depth + b"]" * depth + b"}"
        try:
            command = parse(b'{"command":"logon","agent":"jose","context":' + context + b"}")
        except InvalidCommand:
            continue
        ended = CommandEnded("1", "logon", "jose", None, "ok", None, 0.0, None, command.context)
        assert ENVELOPE.seal(ended, 1, AT).body, f"{depth} levels are taken and cannot be told"


# --- the agent's word -----------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "word"),
    [
        ("jose", "jose"),
        ("jose.silva", "jose%2Esilva"),
        ("a-b_c~d", "a-b_c~d"),
        ("josé", "jos%C3%A9"),
        ("#", "%23"),
        ("*", "%2A"),
        ("a b/c", "a%20b%2Fc"),
        ("100%", "100%25"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
        ("a\x81b", "a%C2%81b"),
    ],
)
def test_a_login_is_one_word(agent: str, word: str) -> None:
    """Every byte outside `A-Z a-z 0-9 - _ ~` is percent-encoded from UTF-8."""
    assert agent_word(agent) == word
    assert ENVELOPE.seal(CallEnded(agent), 1, AT).routing_key == f"{word}.call.ended"


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=15))
def test_a_word_can_be_read_back_and_is_no_wildcard(agent: str) -> None:
    """Two logins never share a word, and none adds a word or matches others'."""
    word = agent_word(agent)
    assert unquote(word, errors="strict") == agent  # so short a login is never cut
    assert re.fullmatch(r"(?:[A-Za-z0-9_~-]|%[0-9A-F]{2})+", word)


@pytest.mark.parametrize(
    ("agent", "kept"),
    [
        pytest.param("a" * 181, "a" * 163, id="plain"),
        pytest.param("a" * 163 + "é" * 3, "a" * 163, id="cut between two"),
        pytest.param("a" * 162 + "é" * 4, "a" * 162, id="cut behind the percent sign"),
        pytest.param("a" * 161 + "é" * 4, "a" * 161, id="cut behind the first digit"),
        pytest.param("a" * 160 + "é" * 4, "a" * 160 + "%C3", id="cut behind the escape"),
        pytest.param("." * 61, "%2E" * 54, id="escapes alone"),
    ],
)
def test_a_word_over_180_bytes_is_cut_and_hashed(agent: str, kept: str) -> None:
    """Its first 163 bytes, never half an escape, `~`, and 16 hex digits of the login's hash."""
    digest = hashlib.sha256(agent.encode("utf-8")).hexdigest()[:16]
    assert agent_word(agent) == f"{kept}~{digest}"


@pytest.mark.parametrize("agent", ["a" * 180, "é" * 30, "." * 60])
def test_a_word_of_exactly_180_bytes_is_whole(agent: str) -> None:
    """180 is still short enough."""
    word = agent_word(agent)
    assert len(word) == 180
    assert unquote(word) == agent


def test_the_longest_key_fits_amqp() -> None:
    """A routing key has at most 255 bytes, whoever the agent."""
    for agent in ("x" * 70_000, "é" * 30_000, "." * 181):
        key = ENVELOPE.seal(CallStarted(**{**CALL, "agent": agent}), 1, AT).routing_key
        assert len(key.encode()) <= 255
