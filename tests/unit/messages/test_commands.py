"""Which commands are taken, and what refuses the others (contract.md §4)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import InvalidCommand
from bridge.messages.commands import Disposition, GetAgents, ScheduleCallback, parse

Given = dict[str, Any]

JOSE: Given = {"agent": "jose"}
PAUSE: Given = {"command": "pause", "agent": "jose", "code": "1"}
MAKE_CALL: Given = {"command": "make_call", "agent": "jose", "phone": "40050500"}
CALLBACK: Given = {"command": "schedule_callback", "agent": "jose", "at": "2026-12-01T15:00"}
DISPOSITION: Given = {"command": "set_disposition", "agent": "jose", "disposition": "fax"}

VALID: list[Given] = [
    {"command": "logon", **JOSE},
    {"command": "logoff", **JOSE},
    PAUSE,
    {"command": "resume", **JOSE},
    {"command": "end_wrap_up", **JOSE},
    {"command": "get_status", **JOSE},
    CALLBACK,
    {**CALLBACK, "phone": "40050500"},
    {**CALLBACK, "callback_agent": "jose"},
    {**CALLBACK, "phone": "40050500", "callback_agent": "Ana"},
    DISPOSITION,
    MAKE_CALL,
    {**MAKE_CALL, "area_code": "85", "campaign": "Campanha_Cobrança"},
    {"command": "hang_up", **JOSE},
    {"command": "get_current_call", **JOSE},
    {"command": "get_agents"},
    {"command": "get_agents", **JOSE},
]


def refusal(body: bytes, content_type: str | None = None) -> InvalidCommand:
    with pytest.raises(InvalidCommand) as caught:
        parse(body, content_type)
    assert caught.value.flaws
    assert all(flaw.reason for flaw in caught.value.flaws)
    return caught.value


def wrong_fields(command: Given) -> list[str]:
    return [flaw.field for flaw in refusal(json.dumps(command).encode()).flaws]


# --- what is taken --------------------------------------------------------------


@pytest.mark.parametrize("context", [None, {"order": "A-77"}])
@pytest.mark.parametrize("command", VALID, ids="-".join)
def test_each_command_is_taken_as_it_is(command: Given, context: Given | None) -> None:
    """All twelve, with and without what is optional; a value is never changed on the way."""
    taken = parse(json.dumps({**command, "context": context}).encode())
    dumped = taken.model_dump(exclude_none=True)
    assert dumped.pop("context", None) == context
    if isinstance(taken, ScheduleCallback):
        assert dumped.pop("at") == datetime(2026, 12, 1, 15, 0)  # noqa: DTZ001 (naive on purpose)
    assert dumped == {key: value for key, value in command.items() if key != "at"}


@pytest.mark.parametrize(
    "content_type",
    [None, "", "application/json", "application/json; charset=utf-8", "Application/JSON"],
)
def test_a_missing_content_type_is_json(content_type: str | None) -> None:
    """And a JSON one is, whatever its case and parameters."""
    assert parse(json.dumps(PAUSE).encode(), content_type).command == "pause"


@pytest.mark.parametrize("command", VALID, ids="-".join)
def test_only_the_queries_change_nothing(command: Given) -> None:
    """Two of the eleven may be asked again after a doubt, and so may the bridge's own."""
    queries = {"get_status", "get_current_call", "get_agents"}
    taken = parse(json.dumps(command).encode())
    assert taken.changes_something == (taken.command not in queries)


@pytest.mark.parametrize("name", ["blocked_phone", "out_of_area", "answering_machine", "fax"])
def test_the_four_dispositions(name: str) -> None:
    """By our own names."""
    taken = parse(json.dumps({**DISPOSITION, "disposition": name}).encode())
    assert taken.model_dump()["disposition"] == Disposition(name)


@pytest.mark.parametrize(
    "agent", ["jose.silva", "José", "a#*b", " jose ", "x" * 300, "日本", "admsocket2", "0"]
)
def test_a_login_is_free_text(agent: str) -> None:
    """Dots, accents, wildcards, length: nothing but the protocol's own characters is refused."""
    assert parse(json.dumps({**PAUSE, "agent": agent}).encode()).agent == agent


@pytest.mark.parametrize("phone", ["1", "0123456789+*#", "9" * 32])
def test_phones_hold_1_to_32_digits_and_signs(phone: str) -> None:
    """Digits and `+*#`, in a phone and in an area code."""
    taken = parse(json.dumps({**MAKE_CALL, "phone": phone, "area_code": phone}).encode())
    assert taken.model_dump(include={"phone", "area_code"}) == {"phone": phone, "area_code": phone}


@pytest.mark.parametrize(
    ("at", "offset"),
    [("2026-12-01T15:00", None), ("2026-12-01T15:00Z", 0), ("2026-12-01T15:00-03:00", -3)],
)
def test_a_time_is_naive_or_has_its_offset(at: str, offset: int | None) -> None:
    """The offset is kept: what the naive one means is the link's to say."""
    taken = parse(json.dumps({**CALLBACK, "at": at}).encode())
    assert isinstance(taken, ScheduleCallback)
    expected = None if offset is None else timedelta(hours=offset)
    assert taken.at.utcoffset() == expected
    if offset is not None:
        assert taken.at.astimezone(UTC).hour == 15 - offset


# --- what is refused ------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ({}, ["command"]),
        ({"agent": "jose"}, ["command"]),
        ({"command": "", **JOSE}, ["command"]),
        ({"command": "Pause", **JOSE}, ["command"]),
        ({"command": "dial", **JOSE}, ["command"]),
        ({"command": None, **JOSE}, ["command"]),
        ({"command": 1, **JOSE}, ["command"]),
        ({"command": ["pause"], **JOSE}, ["command"]),
        ({"command": {}, **JOSE}, ["command"]),
        ({"command": "logon"}, ["agent"]),
        ({"command": "pause"}, ["agent", "code"]),
        ({"command": "make_call"}, ["agent", "phone"]),
        ({"command": "schedule_callback", **JOSE}, ["at"]),
        ({"command": "set_disposition", **JOSE}, ["disposition"]),
        ({**PAUSE, "extra": 1}, ["extra"]),
        ({**PAUSE, "phone": "1"}, ["phone"]),
        ({**PAUSE, "Agent": "jose"}, ["Agent"]),
        ({"command": "get_agents", "phone": "1"}, ["phone"]),
        ({**PAUSE, "code": ""}, ["code"]),
        ({**MAKE_CALL, "phone": "", "area_code": "x", "extra": 1}, ["area_code", "phone", "extra"]),
    ],
)
def test_what_is_missing_or_unknown_is_named(command: Given, fields: list[str]) -> None:
    """Each wrong field is named, all of them at once, and no other."""
    assert sorted(wrong_fields(command)) == sorted(fields)


@pytest.mark.parametrize("wrong", [None, 1, 1.5, True, [], ["jose"], {}])
@pytest.mark.parametrize(
    ("command", "field"),
    [
        (PAUSE, "agent"),
        (PAUSE, "code"),
        (MAKE_CALL, "phone"),
        (CALLBACK, "at"),
        (DISPOSITION, "disposition"),
        (MAKE_CALL, "area_code"),
        (MAKE_CALL, "campaign"),
        (CALLBACK, "callback_agent"),
        ({"command": "get_agents"}, "agent"),
    ],
)
def test_a_value_of_another_type_is_refused(command: Given, field: str, wrong: object) -> None:
    """A number is no text: nothing is converted. Null stands for what is optional only."""
    if wrong is None and field not in command:
        taken = parse(json.dumps({**command, field: wrong}).encode())
        assert taken.model_dump()[field] is None
    else:
        assert wrong_fields({**command, field: wrong}) == [field]


CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (PAUSE, "agent"),
        (PAUSE, "code"),
        (MAKE_CALL, "campaign"),
        (MAKE_CALL, "phone"),
        (MAKE_CALL, "area_code"),
        (CALLBACK, "phone"),
        (CALLBACK, "callback_agent"),
        (CALLBACK, "at"),
        (DISPOSITION, "disposition"),
        ({"command": "get_agents"}, "agent"),
    ],
)
def test_no_value_holds_the_protocols_own_characters(command: Given, field: str) -> None:
    """`<`, `>`, `$` and every control character are refused wherever they stand."""
    value = str(command.get(field, "40050500"))
    for character in ["<", ">", "$", *CONTROLS]:
        for text in (character, character + value, value + character, f"{value}{character}{value}"):
            assert wrong_fields({**command, field: text}) == [field]


@pytest.mark.parametrize(
    "agent", ["", " ", "\u00a0", "ADMSOCKET", "AdmSocket", "admsocket", " ADMSOCKET "]
)
@pytest.mark.parametrize("command", VALID, ids="-".join)
def test_nobody_and_the_administrator_are_no_agent(command: Given, agent: str) -> None:
    """An empty login, and the bridge's own in any spelling, are refused in every command."""
    assert wrong_fields({**command, "agent": agent}) == ["agent"]


@pytest.mark.parametrize(
    "phone", ["", "9" * 33, "40 050500", "(85)1", "1-2", "a", "١٢٣", "１２", "1\n", "85.1"]
)
@pytest.mark.parametrize(
    ("command", "field"),
    [(MAKE_CALL, "phone"), (MAKE_CALL, "area_code"), (CALLBACK, "phone")],
)
def test_a_phone_that_is_none_is_refused(command: Given, field: str, phone: str) -> None:
    """Digits of other scripts, spaces and punctuation included."""
    assert wrong_fields({**command, field: phone}) == [field]


@pytest.mark.parametrize(
    "at",
    [
        *("", "tomorrow", "17/08/2010 15:00", "2026-12-01", "15:00", "1796137200"),
        *("2026-13-01T15:00", "2026-02-30T15:00", "2026-12-01T25:00", "2026-12-01T15:00+99:00"),
        *("2026-12-01T15:00 <x>", "2026-12-01T15:00\n", " 2026-12-01T15:00", "2026-12-01T15"),
    ],
)
def test_a_time_that_is_none_is_refused(at: str) -> None:
    """Only a date and time in ISO 8601 will do."""
    assert wrong_fields({**CALLBACK, "at": at}) == ["at"]


@pytest.mark.parametrize("disposition", ["", "Fax", "BloquedPhone", "busy"])
def test_a_disposition_that_is_none_is_refused(disposition: str) -> None:
    """The wire's own spellings included."""
    assert wrong_fields({**DISPOSITION, "disposition": disposition}) == ["disposition"]


@pytest.mark.parametrize("context", [[], "x", 1, True, {"x": "y" * 1024}, {"x": 2**70}])
def test_a_context_is_a_small_json_object(context: object) -> None:
    """Anything else, or one that no JSON could give back, is refused."""
    assert wrong_fields({**PAUSE, "context": context}) == ["context"]


def test_a_context_may_have_1_kib() -> None:
    """Exactly 1024 bytes of JSON are taken, 1025 are not; bytes count, not characters."""
    whole = {"x": "y" * (1024 - len('{"x":""}'))}
    assert parse(json.dumps({**PAUSE, "context": whole}).encode()).context == whole
    assert wrong_fields({**PAUSE, "context": {"x": whole["x"] + "y"}}) == ["context"]
    assert wrong_fields({**PAUSE, "context": {"x": "é" * 512}}) == ["context"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/xml", "json", "application/jsonx"]
)
def test_a_content_type_other_than_json_is_refused(content_type: str) -> None:
    """Even where the body is JSON."""
    assert [f.field for f in refusal(json.dumps(PAUSE).encode(), content_type).flaws] == [
        "content_type"
    ]


def test_a_body_may_have_64_kib() -> None:
    """Exactly 65,536 bytes are read, 65,537 are refused unread."""
    whole = json.dumps(PAUSE).encode().ljust(65_536)
    assert parse(whole).command == "pause"
    assert [flaw.field for flaw in refusal(whole + b" ").flaws] == ["body"]
    assert [flaw.field for flaw in refusal(b"[" * 10_000_000).flaws] == ["body"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"pause", id="no JSON"),
        pytest.param(b'{"command":"logon","agent":"jose"', id="cut off"),
        pytest.param(b'{"command":"logon","agent":"jose"}x', id="something behind it"),
        pytest.param(b'{"command":"logon","agent":"jose",}', id="a comma too many"),
        pytest.param(b"{'command':'logon','agent':'jose'}", id="single quotes"),
        pytest.param(b'\xef\xbb\xbf{"command":"logon","agent":"jose"}', id="a byte order mark"),
        pytest.param('{"command":"logon","agent":"josé"}'.encode("cp1252"), id="not UTF-8"),
        pytest.param('{"command":"logon","agent":"jose"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"command":"logon","agent":"jo\nse"}', id="a raw line break"),
        pytest.param(b'{"command":"logon","agent":"\\ud800"}', id="half a surrogate pair"),
        pytest.param(b'{"command":"logon","agent":"a","agent":"b"}', id="a key twice"),
        pytest.param(
            b'{"command":"logon","agent":"a","context":{"x":1,"x":2}}', id="a key twice, deep"
        ),
        pytest.param(b'{"command":"logon","agent":"a","context":{"x":NaN}}', id="NaN"),
        pytest.param(b'{"command":"logon","agent":"a","context":{"x":-Infinity}}', id="infinity"),
        pytest.param(b'{"command":"logon","agent":"a","context":{"x":1e999}}', id="too big"),
        pytest.param(b'{"command":"logon","agent":"a","context":' + b"[" * 30_000, id="too deep"),
        pytest.param(b"[" * 20_000 + b"]" * 20_000, id="too deep, but whole"),
        pytest.param(b"9" * 10_000, id="a number of 10,000 digits"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b'[{"command":"logon","agent":"jose"}]', id="an array of commands"),
        pytest.param(b'"logon"', id="a string"),
        pytest.param(b"null", id="null"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    """RFC 8259 to the letter, without the loopholes that readers differ in."""
    error = refusal(body)
    assert [flaw.field for flaw in error.flaws] == ["body"]
    assert (error.command, error.agent) == (None, None)


def test_what_could_be_read_is_told_all_the_same() -> None:
    """The refusal says which command and whose it was meant to be, where that is text."""
    error = refusal(b'{"command":"pause","agent":"Jose"}')
    assert (error.command, error.agent) == ("pause", "Jose")
    error = refusal(b'{"command":"dial","agent":5}')
    assert (error.command, error.agent) == ("dial", None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.sampled_from(["command", "agent", "code", "phone", "at", "context", "x", ""])
names = st.sampled_from([str(command["command"]) for command in VALID])


@settings(deadline=None)
@given(
    st.binary(max_size=80)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda name, rest: json.dumps({"command": name, **rest}).encode(),
        names,
        st.dictionaries(keys, json_values, max_size=4),
    )
)
def test_any_body_is_a_command_or_refused(body: bytes) -> None:
    """Nothing raises but the refusal, which names at least one flaw."""
    try:
        taken = parse(body)
    except InvalidCommand as error:
        assert error.flaws  # noqa: PT017 (either way out is right)
    else:
        assert isinstance(taken, GetAgents) or taken.agent.strip()
