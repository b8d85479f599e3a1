"""Written and read again is the same, and no value can ever become a second frame."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bridge.errors import InvalidCommand
from bridge.messages.commands import GetAgents, WireCommand, parse
from bridge.messages.events import (
    AgentStatus,
    CallEnded,
    CallRecorded,
    CallStarted,
    Confirmed,
    Heard,
)
from bridge.wire import grammar
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import Form, Speller, maybe_command, understand

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ZONE = ZoneInfo("America/Fortaleza")
ENCODINGS = ["cp1252", "utf-8"]

SPELT = {
    "blocked_phone": "BloquedPhone",
    "out_of_area": "OutOfArea",
    "answering_machine": "EletronicResponse",
    "fax": "Fax",
}
STATUSES = {0: "logged_out", 1: "available", 2: "paused", 3: "busy", 4: "wrap_up"}

# What nobody could tell from the protocol's own characters by looking at it.
LOOK_ALIKES = "<>$‹›＜＞＄﹤﹥﹩〈〉⟨⟩≺\r\n\0\x0b\x1b\x7f\x85\x8b\x9b\u2028"


# --- commands -------------------------------------------------------------------


def texts(encoding: str, *, min_size: int = 0) -> st.SearchStrategy[str]:
    characters = st.characters(
        codec=encoding, exclude_characters="<>$", exclude_categories=["Cc", "Cs"]
    )
    return st.text(characters, min_size=min_size, max_size=12)


def commands(encoding: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return every command in every shape, as the JSON that a user sends."""
    text = texts(encoding)
    login = text.filter(lambda t: t.strip() and t.strip().casefold() != "admsocket")
    phone = st.text("0123456789+*#", min_size=1, max_size=32)
    moment = st.datetimes(min_value=datetime(1, 1, 1)).map(  # noqa: DTZ001 (naive on purpose)
        lambda at: at.isoformat(timespec="minutes")
    )
    required: dict[str, dict[str, st.SearchStrategy[Any]]] = {
        "pause": {"code": texts(encoding, min_size=1)},
        "schedule_callback": {"at": moment},
        "set_disposition": {"disposition": st.sampled_from(sorted(SPELT))},
        "make_call": {"phone": phone},
    }
    optional: dict[str, dict[str, st.SearchStrategy[Any]]] = {
        "schedule_callback": {"phone": phone, "callback_agent": text},
        "make_call": {"area_code": phone, "campaign": text},
    }
    names = ["logon", "logoff", "resume", "end_wrap_up", "get_status", "hang_up"]
    return st.one_of(
        [
            st.fixed_dictionaries(
                {"command": st.just(name), "agent": login, **required.get(name, {})},
                optional=optional.get(name, {}),
            )
            for name in [*names, "get_current_call", *required]
        ]
    )


def command_of(given: dict[str, Any]) -> WireCommand:
    parsed = parse(json.dumps(given).encode())
    assert not isinstance(parsed, GetAgents)
    return parsed


def on_the_wire(name: str, value: str) -> str:
    """Return how a value of a command's JSON reads on the wire."""
    if name == "disposition":
        return SPELT[value]
    if name == "at":
        year, month, day, clock = re.split("[-T]", value)
        return f"{day}/{month}/{year} {clock}"
    return value


@pytest.mark.parametrize("encoding", ENCODINGS)
@unhurried
@given(data=st.data())
def test_a_command_written_and_read_is_the_same(encoding: str, data: st.DataObject) -> None:
    """Every command, spelt and decoded, is that command with those values, none of them lost."""
    given = data.draw(commands(encoding))
    command = command_of(given)
    written = Speller(encoding, ZONE).spell(command)
    assume(encoding == "utf-8" or not looks_like_utf8(written))

    (frame,) = Decoder().feed(written)
    assert isinstance(frame, Frame)
    understood = maybe_command(frame)
    assert understood is not None
    kind, values = understood
    assert kind is type(command)
    assert {name: value for name, value in values.items() if value} == {
        name: on_the_wire(name, value)
        for name, value in given.items()
        if name != "command" and value
    }


def maybe_frame(given: dict[str, Any], encoding: str) -> bytes | InvalidCommand:
    try:
        return Speller(encoding, ZONE).spell(command_of(given))
    except InvalidCommand as refusal:
        return refusal


@pytest.mark.parametrize("encoding", [*ENCODINGS, "iso-8859-1"])
@pytest.mark.parametrize(
    ("given_", "field", "count"),
    [
        ({"command": "logon"}, "agent", 3),
        ({"command": "pause", "agent": "jose"}, "code", 4),
        ({"command": "make_call", "agent": "jose", "phone": "1"}, "campaign", 5),
        ({"command": "make_call", "agent": "jose", "phone": "1"}, "area_code", 5),
        ({"command": "make_call", "agent": "jose"}, "phone", 5),
        (
            {"command": "schedule_callback", "agent": "jose", "at": "2026-12-01T15:00"},
            "callback_agent",
            5,
        ),
        ({"command": "schedule_callback", "agent": "jose"}, "at", 5),
        ({"command": "set_disposition", "agent": "jose"}, "disposition", 4),
    ],
)
@unhurried
@given(value=st.one_of(st.text(), st.text(LOOK_ALIKES + "aé", min_size=1, max_size=4)))
def test_no_value_can_become_a_second_frame(
    encoding: str, given_: dict[str, Any], field: str, count: int, value: str
) -> None:
    """Whatever stands in a field: refused by its name, or one frame of as many fields as ever."""
    written = maybe_frame({**given_, field: value}, encoding)
    if isinstance(written, InvalidCommand):
        assert {flaw.field for flaw in written.flaws} == {field}
        return
    assert written.count(b"<") == written.count(b">") == count
    assert written.count(b"$") == 1
    assert not re.search(rb"[\x00-\x1f\x7f]", written)
    (frame,) = Decoder().feed(written)
    assert isinstance(frame, Frame)


# --- events ---------------------------------------------------------------------


def values(encoding: str, *, min_size: int = 0) -> st.SearchStrategy[str]:
    """Return what may stand in a field: a `$` too, but not as the trace of a lost end."""
    characters = st.characters(codec=encoding, exclude_characters="<>", exclude_categories=["Cs"])
    return st.text(characters, min_size=min_size, max_size=12).filter(
        lambda text: not re.search("[$][\r\n\0]", text)
    )


def said(form: Form, given: dict[str, str], encoding: str) -> Heard:
    """Write a form, decode it and return what it says."""
    text = form.write(given)
    data = text.encode(encoding)
    assume(encoding == "utf-8" or not looks_like_utf8(data))
    (frame,) = Decoder().feed(data)
    assert isinstance(frame, Frame)
    heard = understand(frame)
    assert heard.agent == given["agent"].casefold()
    assert heard.raw == text
    return heard


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("direction", ["outbound", "inbound"])
@unhurried
@given(data=st.data())
def test_a_call_written_and_read_is_the_same(
    encoding: str, direction: str, data: st.DataObject
) -> None:
    """Every field of §5.1 and of §5.2 comes back as it was."""
    form = grammar.CALL_OUTBOUND if direction == "outbound" else grammar.CALL_INBOUND
    given = {name: data.draw(values(encoding), label=name) for name in form.names}
    given["agent"] = data.draw(values(encoding, min_size=1), label="agent")
    heard = said(form, given, encoding)
    assert isinstance(heard, CallStarted)
    assert heard.direction == direction
    del given["agent"]
    assert {name: getattr(heard, name) for name in given} == given


@pytest.mark.parametrize("encoding", ENCODINGS)
@unhurried
@given(data=st.data(), number=st.integers(0, 10**6))
def test_the_other_forms_written_and_read_are_the_same(
    encoding: str, data: st.DataObject, number: int
) -> None:
    """§5.3, §5.4, a status and an `OK` come back as they were."""
    agent = {"agent": data.draw(values(encoding, min_size=1), label="agent")}
    path = data.draw(values(encoding), label="path")
    recorded = said(grammar.RECORDED, {**agent, "path": path}, encoding)
    assert isinstance(recorded, CallRecorded)
    assert recorded.path == path
    status = said(grammar.STATUS, {**agent, "code": str(number)}, encoding)
    assert isinstance(status, AgentStatus)
    assert (status.code, status.status) == (number, STATUSES.get(number, "unknown"))
    assert isinstance(said(grammar.ENDED, agent, encoding), CallEnded)
    assert isinstance(said(grammar.CONFIRMED, agent, encoding), Confirmed)


words = st.sampled_from(["A", "R", "G", "S", "OK", "EndCall", "D", "", "---", ">"])


@unhurried
@given(values("utf-8", min_size=1), st.lists(words | values("utf-8"), max_size=14))
def test_every_frame_says_something(login: str, rest: list[str]) -> None:
    """Whatever the fields, nothing raises, the agent is the login and the text is carried."""
    fields = [login, *rest]
    raw = f"<{'><'.join(fields)}>$"
    heard = understand(Frame(fields, raw))
    assert heard.agent == login.casefold()
    assert heard.raw == raw


def looks_like_utf8(data: bytes) -> bool:
    """Whether bytes of another encoding happen to be valid UTF-8, as which they are then read."""
    try:
        return not data.isascii() and bool(data.decode())
    except UnicodeDecodeError:
        return False
