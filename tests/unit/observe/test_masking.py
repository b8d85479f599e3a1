"""What people may see of a message goes by the marks of its fields."""

from __future__ import annotations

import re
from dataclasses import asdict, fields
from typing import get_args

import pytest

from bridge.messages.events import CallStarted, Event
from bridge.messages.notices import CommandEnded, Notice
from bridge.observe.masking import HIDDEN, shown

CALL = CallStarted(
    agent="ana",
    call_id="01J",
    direction="inbound",
    dial_item_id="7",
    origin_area_code="85",
    origin="40050500",
    destination_area_code=None,
    destination="1",
    description="cobrança de Maria",
    recording_key="k",
    external_id="CPF1",
    external={"cpf": "11122233344"},
    context={"order": "A-17"},
    raw="<ana><A>…>",
)


def test_phones_keep_their_last_digits_and_free_text_nothing() -> None:
    """Whatever the text looks like: the field decides. Frames are left out."""
    seen = shown("call.started", asdict(CALL))
    assert seen["origin"] == "***00"
    assert seen["origin_area_code"] == "***"
    assert seen["destination"] == "***"
    assert seen["destination_area_code"] is None
    assert {seen[name] for name in ("description", "recording_key", "external_id")} == {HIDDEN}
    assert seen["external"] == seen["context"] == HIDDEN
    assert "raw" not in seen
    assert (seen["agent"], seen["call_id"], seen["dial_item_id"]) == ("ana", "01J", "7")


def test_unmasked_shows_all_but_frames() -> None:
    """Who has turned masking off sees the numbers."""
    seen = shown("call.started", asdict(CALL), mask=False)
    assert seen["origin"] == "40050500"
    assert seen["external"] == {"cpf": "11122233344"}
    assert "raw" not in seen


@pytest.mark.parametrize("each", [*get_args(Event), *get_args(Notice)])
def test_every_field_with_a_mark_is_masked(each: type) -> None:
    """No message is shown as it is because nobody thought of it."""
    marks = {
        field.name: field.type
        for field in fields(each)
        if re.search(r"Phone|Note|RawFrame|GivenBack|Personal", str(field.type))
    }
    kind = "command.ok" if each is CommandEnded else each.type  # type: ignore[attr-defined]
    kind = kind if each in get_args(Event) else f"bridge.{kind}"
    seen = shown(kind, dict.fromkeys(marks, "40050500"))
    assert "40050500" not in seen.values()
    assert shown(kind, {"agent": "ana"}) == {"agent": "ana"}
