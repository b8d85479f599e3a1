"""What each frame from Tactium says, and how each command is spelt (protocol.md §3, §4)."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bridge.errors import InvalidCommand
from bridge.messages.commands import GetAgents, WireCommand, parse
from bridge.messages.events import (
    AgentStatus,
    CallEnded,
    CallRecorded,
    CallStarted,
    Confirmed,
    FrameUnknown,
    Heard,
)
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import Speller, maybe_command, understand

SEVEN = ["jose", "A", "15068", "0", "9988", "85", "7017"]
SEVEN_NAMES = ["dial_item_id", "origin_area_code", "origin", "destination_area_code", "destination"]


def heard(text: str) -> Heard:
    (frame,) = Decoder().feed(text.encode())
    assert isinstance(frame, Frame)
    return understand(frame)


def call(frame_fields: list[str]) -> CallStarted:
    said = heard(f"<{'><'.join(frame_fields)}>$")
    assert isinstance(said, CallStarted)
    return said


def tail(said: CallStarted) -> tuple[str | None, str | None, str | None]:
    return said.description, said.recording_key, said.external_id


# --- outbound: §5.1, whose end arrives mangled --------------------------------


@pytest.mark.parametrize(
    ("end", "description", "recording_key", "external_id"),
    [
        pytest.param([], None, None, None, id="7 fields"),
        pytest.param(["x"], None, None, "x", id="8: the external id"),
        pytest.param([""], None, None, "", id="8, empty"),
        pytest.param(["d", "x"], "d", None, "x", id="9: description, external id"),
        pytest.param(["", "x"], "", None, "x", id="9, the description empty"),
        pytest.param([">", "x"], "", "", "x", id="9, two empty fields lost a bracket"),
        pytest.param([">", ""], "", "", "", id="9, the same and the external id empty"),
        pytest.param(["d", "k", "x"], "d", "k", "x", id="10: all three"),
        pytest.param(["", "", ""], "", "", "", id="10, all empty"),
        pytest.param([">", "k", "x"], ">", "k", "x", id="10: a lone bracket stands for itself"),
        pytest.param(["d", "1", "k", "x"], "d", "k", "x", id="11: the last two from the right"),
        pytest.param(["d", "1", "2", "k", "x"], "d", "k", "x", id="12"),
    ],
)
def test_the_end_of_an_outbound_call_by_its_number_of_fields(
    end: list[str], description: str | None, recording_key: str | None, external_id: str | None
) -> None:
    """Counting all fields, login first: what is missing is null, what is empty is empty."""
    said = call(SEVEN + end)
    assert said.direction == "outbound"
    assert [getattr(said, name) for name in SEVEN_NAMES] == SEVEN[2:]
    assert tail(said) == (description, recording_key, external_id)


@pytest.mark.parametrize("word", ["A", "R"])
@pytest.mark.parametrize("count", range(2, 8))
def test_a_call_with_fewer_fields_says_what_it_can(word: str, count: int) -> None:
    """The fields that are there keep their meaning from the left, the rest is null."""
    present = ["jose", word, *SEVEN[2:]][:count]
    said = call(present)
    expected = [*present[2:], *[None] * (7 - count)]
    assert [getattr(said, name) for name in SEVEN_NAMES] == expected
    assert tail(said) == (None, None, None)
    assert said.external == {}
    assert said.raw == f"<{'><'.join(present)}>$"


def test_an_empty_field_is_no_absent_one() -> None:
    """`<>` is the empty text; null is for what is not there."""
    said = call(["jose", "A", "", "", "", "", ""])
    assert [getattr(said, name) for name in SEVEN_NAMES] == [""] * 5
    assert said.external_id is None


# --- inbound: §5.2 ------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "external_id"),
    [
        pytest.param([], None, id="7 fields"),
        pytest.param(["---"], None, id="the place-holder alone"),
        pytest.param(["---", "x"], "x", id="as the form says"),
        pytest.param(["---", ""], "", id="empty"),
        pytest.param(["---", "1", "x"], "x", id="the last one after it"),
    ],
)
def test_the_end_of_an_inbound_call(end: list[str], external_id: str | None) -> None:
    """`---` is skipped, the last field after it is the external id, the other two are null."""
    said = call(["jose", "R", *SEVEN[2:], *end])
    assert said.direction == "inbound"
    assert [getattr(said, name) for name in SEVEN_NAMES] == SEVEN[2:]
    assert tail(said) == (None, None, external_id)


@pytest.mark.parametrize(
    ("external_id", "external"),
    [
        ("", {}),
        ("4711", {}),
        ("a=1", {"a": "1"}),
        ("a=1;b=2", {"a": "1", "b": "2"}),
        ("a=1;b=2;", {"a": "1", "b": "2"}),
        ("a=;b=2;", {"a": "", "b": "2"}),
        ("a=x=y;", {"a": "x=y"}),
        ("a=1;loose;b=2", {"a": "1", "b": "2"}),
        (";;", {}),
    ],
)
def test_the_dialers_attributes_stand_beside_the_string(
    external_id: str, external: dict[str, str]
) -> None:
    """The string is kept as it is, and the pairs in it are given as pairs."""
    for fields_ in ([*SEVEN, "", "", external_id], ["jose", "R", *SEVEN[2:], "---", external_id]):
        said = call(fields_)
        assert said.external_id == external_id
        assert said.external == external


# --- the other events and the replies -----------------------------------------


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (r"<jose><G><c:\records\a.wav>$", r"c:\records\a.wav"),
        (r"<jose><G><\\server\c$\records\x.wav>$", r"\\server\c$\records\x.wav"),
        ("<jose><G><>$", ""),
        ("<jose><G>$", None),
    ],
)
def test_a_recording_address(text: str, path: str | None) -> None:
    """The address is kept as it is, a `$` in it included; absent it is null."""
    assert heard(text) == CallRecorded("jose", None, path, None, text)


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [
        ("0", 0, "logged_out"),
        ("1", 1, "available"),
        ("2", 2, "paused"),
        ("3", 3, "busy"),
        ("4", 4, "wrap_up"),
        ("5", 5, "unknown"),
        ("42", 42, "unknown"),
        ("2147483648", 2147483648, "unknown"),
        ("-1", -1, "unknown"),
    ],
)
def test_a_status_keeps_its_number(number: str, code: int, status: str) -> None:
    """Five numbers have a name; any other keeps its number, with the name `unknown`."""
    text = f"<jose><S><{number}>$"
    said = heard(text)
    assert isinstance(said, AgentStatus)
    assert (said.agent, said.code, said.status, said.raw) == ("jose", code, status, text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<JOSÉ><a><1><2><3><4><5>$", CallStarted),
        ("<JOSÉ><r><1><2><3><4><5>$", CallStarted),
        ("<JOSÉ><g><x>$", CallRecorded),
        ("<JOSÉ><ENDCALL>$", CallEnded),
        ("<JOSÉ><endcall>$", CallEnded),
        ("<JOSÉ><s><1>$", AgentStatus),
        ("<JOSÉ><ok>$", Confirmed),
        ("<JOSÉ><Ok>$", Confirmed),
        ("<JOSÉ><Qualquer>$", FrameUnknown),
    ],
)
def test_words_and_logins_compare_without_case(text: str, kind: type[Heard]) -> None:
    """The agent is the casefolded login, accents too; the text stays as it came."""
    said = heard(text)
    assert type(said) is kind
    assert said.agent == "josé"
    assert said.raw == text


@pytest.mark.parametrize(
    "text",
    [
        "<jose>$",
        "<Jose><Novo>$",
        "<jose><>$",
        "<jose><OK><mais>$",
        "<jose><S>$",
        "<jose><S><>$",
        "<jose><S><um>$",
        "<jose><S><1><2>$",
        "<jose><ERRO><agente desconhecido>$",
        "<jose><AC>$",
        "<jose><L><ON>$",
        "<jose>x<OK>$",
    ],
)
def test_a_frame_that_fits_nothing_is_unknown(text: str) -> None:
    """A frame of one field or of no known word keeps all its fields, the login first."""
    login = text[1 : text.index(">")]
    said = heard(text)
    assert type(said) is FrameUnknown
    assert said.fields[0] == login or len(said.fields) == 1
    assert f"<{'><'.join(said.fields)}>$" == said.raw == text


@pytest.mark.parametrize("text", ["<jose><EndCall>$", "<Jose><EndCall><>$", "<jose><EndCall><1>$"])
def test_the_end_of_a_call_is_told_by_its_word(text: str) -> None:
    """`EndCall` is the end of the call, always; the frame alone knows nothing else of it."""
    said = heard(text)
    assert type(said) is CallEnded
    told = {"agent": "jose", "repeated": False, "inferred": False, "raw": text}
    known = {each.name: getattr(said, each.name) for each in fields(said) if each.name[0] != "_"}
    assert known == {
        **dict.fromkeys(
            ["call_id", "direction", "started_at", "duration_seconds", "recordings", "context"]
        ),
        **told,
    }


# --- commands -----------------------------------------------------------------


def command(given: dict[str, Any]) -> WireCommand:
    parsed = parse(json.dumps(given).encode())
    assert not isinstance(parsed, GetAgents)
    return parsed


@pytest.mark.parametrize(
    ("at", "zone", "written"),
    [
        ("2026-12-01T15:00", "America/Fortaleza", "01/12/2026 15:00"),
        ("2026-12-01T15:00:59", "America/Fortaleza", "01/12/2026 15:00"),
        ("2026-12-01T15:00-03:00", "America/Fortaleza", "01/12/2026 15:00"),
        ("2026-12-01T15:00Z", "America/Fortaleza", "01/12/2026 12:00"),
        ("2026-12-01T01:30Z", "America/Fortaleza", "30/11/2026 22:30"),
        ("2026-12-31T23:30-05:00", "America/Fortaleza", "01/01/2027 01:30"),
        ("2026-07-01T12:00Z", "Europe/Lisbon", "01/07/2026 13:00"),
        ("2026-12-01T12:00Z", "Europe/Lisbon", "01/12/2026 12:00"),
        ("2026-07-01T12:00", "Europe/Lisbon", "01/07/2026 12:00"),
        ("0800-01-02T03:04", "America/Fortaleza", "02/01/0800 03:04"),
    ],
)
def test_a_date_is_wall_clock_time_at_the_server(at: str, zone: str, written: str) -> None:
    """A naive time is the server's own, one with an offset is converted; to the minute."""
    spoken = command({"command": "schedule_callback", "agent": "jose", "at": at})
    frame = Speller("cp1252", ZoneInfo(zone)).spell(spoken)
    assert frame == f"<jose><TR><{written}><><>$".encode()


@pytest.mark.parametrize("at", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_a_date_that_the_servers_clock_cannot_show_is_refused(at: str) -> None:
    """It is the command that is invalid, and `at` is named."""
    spoken = command({"command": "schedule_callback", "agent": "jose", "at": at})
    with pytest.raises(InvalidCommand) as caught:
        Speller("cp1252", ZoneInfo("America/Fortaleza")).spell(spoken)
    assert [flaw.field for flaw in caught.value.flaws] == ["at"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"command": "logon", "agent": "日本"}, "agent"),
        ({"command": "pause", "agent": "jose", "code": "almoço 🍲"}, "code"),
        ({"command": "make_call", "agent": "jose", "phone": "1", "campaign": "Č"}, "campaign"),
        (
            {"command": "schedule_callback", "agent": "jose", "at": "2026-12-01T15:00"}
            | {"callback_agent": "ł"},
            "callback_agent",
        ),
    ],
)
def test_a_character_outside_the_encoding_makes_the_command_invalid(
    given: dict[str, Any], field: str
) -> None:
    """The field is named and the encoding too; nothing is replaced by a question mark."""
    spoken = command(given)
    with pytest.raises(InvalidCommand) as caught:
        Speller("cp1252", ZoneInfo("UTC")).spell(spoken)
    (flaw,) = caught.value.flaws
    assert flaw.field == field
    assert "cp1252" in flaw.reason
    assert Speller("utf-8", ZoneInfo("UTC")).spell(spoken).decode().startswith("<")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "iso-8859-1"])
def test_the_login_goes_out_as_the_requester_spelt_it(encoding: str) -> None:
    """Neither its case nor its accents are touched, in each encoding."""
    spoken = command({"command": "logon", "agent": " José.Silva#* "})
    frame = Speller(encoding, ZoneInfo("UTC")).spell(spoken)
    assert frame == "< José.Silva#* ><L><ON>$".encode(encoding)


@pytest.mark.parametrize(
    "text",
    [
        "<jose>$",
        "<jose><OK>$",
        "<jose><S><1>$",
        "<jose><L>$",
        "<jose><L><OFF><1>$",
        "<jose><P><ON>$",
        "<jose><C><X><Fax>$",
        "<jose><EndCall>$",
    ],
)
def test_what_is_no_command_is_none(text: str) -> None:
    """A frame to Tactium is a command only where words and number of fields fit."""
    (frame,) = Decoder().feed(text.encode())
    assert isinstance(frame, Frame)
    assert maybe_command(frame) is None
