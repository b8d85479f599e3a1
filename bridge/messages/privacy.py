"""The marker that says a field is personal data.

A field is marked once, where its message is defined, and everything that shows
messages to people (logs, the audit trail, the page, the schemas) goes by the
mark and never guesses from a field's name or from how its text looks.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any


class Personal(Enum):
    """What kind of personal data a field holds."""

    PHONE = "phone"  # a telephone number, or the part of one
    NOTE = "note"  # free text that may name a customer or hold an id such as a CPF
    FRAME = "frame"  # the bytes or fields of a frame, which may hold any of the others


Phone = Annotated[str, Personal.PHONE]
Note = Annotated[str, Personal.NOTE]
GivenBack = Annotated[dict[str, Any] | None, Personal.NOTE]  # a command's context
RawFrame = Annotated[str, Personal.FRAME]
