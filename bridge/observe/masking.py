"""What people may see of a message: personal data masked by the mark of its field; pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from bridge.messages.commands import NAMES
from bridge.messages.kinds import CLASSES, PREFIX
from bridge.messages.privacy import Personal, masked

HIDDEN = "***"
"""Stands for free text and for frames: whatever they hold is not for everybody's eyes."""


def short_type(message_type: str) -> str:
    """Return a message's type without `tactium.`, as people and metrics have it."""
    return message_type.removeprefix(PREFIX)


def command_name(name: object) -> str:
    """Return what a command is called; `unknown` where there is no such command."""
    return str(name) if name in NAMES else "unknown"


def shown(kind: str, data: Mapping[str, Any], *, mask: bool = True) -> dict[str, Any]:
    """Return a message's data, of the short type `kind`, as people may see it.

    Only the last two digits of a telephone number are left, nothing of free text,
    and frames are left out. Without `mask` all but the frames is shown.
    """
    marks = _marks(CLASSES[f"{PREFIX}{kind}"])
    seen = {}
    for name, value in data.items():
        mark = marks.get(name)
        if mark is Personal.FRAME:
            continue
        seen[name] = _masked(mark, value) if mask and mark is not None and value else value
    return seen


def _masked(mark: Personal, value: object) -> object:
    return masked(value) if mark is Personal.PHONE and isinstance(value, str) else HIDDEN


@cache
def _marks(kind: type) -> dict[str, Personal]:
    """Return the mark of each field of a message's class that has one."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: mark for name, hint in hints.items() if (mark := _maybe_mark(hint)) is not None}


def _maybe_mark(hint: object) -> Personal | None:
    if get_origin(hint) is Annotated:
        return next((each for each in get_args(hint)[1:] if isinstance(each, Personal)), None)
    if get_origin(hint) in (Union, UnionType):
        return next((mark for each in get_args(hint) if (mark := _maybe_mark(each))), None)
    return None
