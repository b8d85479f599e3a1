"""Every field that can hold a telephone number is marked; the types are walked."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import pytest

from bridge.messages.commands import Command
from bridge.messages.events import Event, Heard
from bridge.messages.notices import Notice
from bridge.messages.privacy import Personal
from bridge.messages.replies import Reply

MESSAGES: list[type[Any]] = sorted(
    {*get_args(Event), *get_args(Heard), *get_args(Notice), *get_args(Command), Reply},
    key=lambda kind: kind.__name__,
)

CONTEXT = "context"  # has a test of its own

# Text that can hold no phone, each with its reason.
HARMLESS = {
    "begin": "a time",
    "end": "a time",
    "agent": "a login",
    "callback_agent": "a login",
    "user": "a login at the broker",
    "call_id": "the bridge's own",
    "id": "the requester's own",
    "command_id": "the requester's own",
    "correlation_id": "the requester's own",
    "dial_item_id": "the dialer's own number for the item",
    "code": "of a pause, as the supervisors number them",
    "campaign": "the name of a service or campaign",
    "at": "a moment",
    "started_at": "a moment",
    "received_at": "a moment",
    "sent_at": "a moment",
    "replied_at": "a moment",
    "command": "one of twelve, or what stood in its place",
    "outcome": "one of nine",
    "transport": "the bridge's own word",
    "instance": "a host, and six characters of chance",
    "published_until": "a moment",
    "peer": "a host and a port",
    "reason": "the bridge's own words",
    "error": "the bridge's own words",
    "data": "messages, whose own fields are marked",
}


def fields_of(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if get_origin(hint) is not ClassVar and not name.startswith(("_", "model_")):
            yield name, hint


def marks(hint: Any) -> set[Personal]:
    """Return the marks on a type, wherever in it they stand."""
    found = {extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Personal)}
    if get_origin(hint) is Literal:
        return found
    return found.union(*(marks(part) for part in get_args(hint) if get_args(part)))


def holds_text(hint: Any) -> bool:
    """Whether free text can stand in a value of this type."""
    if get_origin(hint) is Annotated:
        return holds_text(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return False
    if get_args(hint):
        return any(holds_text(part) for part in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum | bool | int | float):
        return False
    return hint is not type(None)


@pytest.mark.parametrize("kind", MESSAGES)
def test_what_is_not_marked_can_hold_no_phone(kind: type[Any]) -> None:
    """Every text is marked, but for those known to be harmless."""
    unmarked = {name for name, hint in fields_of(kind) if holds_text(hint) and not marks(hint)}
    if kind.__name__ == "Confirmed":
        unmarked -= {"fields"}  # a login and `OK`, nothing else
    assert unmarked - {CONTEXT} <= HARMLESS.keys()


def test_no_name_is_harmless_without_need() -> None:
    """What is listed as harmless is there and is unmarked, so the list cannot hide a field."""
    unmarked = {
        name
        for kind in MESSAGES
        for name, hint in fields_of(kind)
        if holds_text(hint) and not marks(hint)
    }
    assert HARMLESS.keys() <= unmarked


@pytest.mark.parametrize(
    ("kind", "name", "mark"),
    [
        ("CallStarted", "origin", Personal.PHONE),
        ("CallStarted", "destination", Personal.PHONE),
        ("CallCurrent", "origin", Personal.PHONE),
        ("CallCurrent", "destination", Personal.PHONE),
        ("MakeCall", "phone", Personal.PHONE),
        ("MakeCall", "area_code", Personal.PHONE),
        ("ScheduleCallback", "phone", Personal.PHONE),
        ("CallStarted", "description", Personal.NOTE),
        ("CallStarted", "recording_key", Personal.NOTE),
        ("CallStarted", "external_id", Personal.NOTE),
        ("CallStarted", "external", Personal.NOTE),
        ("CallRecorded", "path", Personal.NOTE),
        ("CallEnded", "recordings", Personal.NOTE),
        ("FrameUnknown", "fields", Personal.FRAME),
        ("FrameMalformed", "text", Personal.FRAME),
        ("FrameMalformed", "base64", Personal.FRAME),
        ("Reply", "raw", Personal.FRAME),
        *(
            (kind, "raw", Personal.FRAME)
            for kind in ("CallStarted", "CallCurrent", "CallRecorded", "CallEnded", "AgentStatus")
        ),
        ("FrameUnknown", "raw", Personal.FRAME),
    ],
)
def test_what_holds_personal_data_says_which_kind(kind: str, name: str, mark: Personal) -> None:
    """A number, free text, or a frame that may hold either."""
    (message,) = (message for message in MESSAGES if message.__name__ == kind)
    assert marks(dict(fields_of(message))[name]) == {mark}


def test_a_context_is_marked() -> None:
    """It is the requester's own JSON, in which a customer's number is likely enough."""
    contexts = {
        kind.__name__: hint
        for kind in MESSAGES
        for name, hint in fields_of(kind)
        if name == CONTEXT
    }
    assert "Reply" in contexts
    assert [name for name, hint in contexts.items() if not marks(hint)] == []
