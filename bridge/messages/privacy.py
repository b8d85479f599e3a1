"""The marker that says a field is personal data.

A field is marked once, where its message is defined, and everything that shows
messages to people (logs, the audit trail, the page, the schemas) goes by the
mark and never guesses from a field's name or from how its text looks.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


class Personal(Enum):
    """What kind of personal data a field holds."""

    PHONE = "phone"  # a telephone number, or the part of one
    NOTE = "note"  # free text that may name a customer or hold an id such as a CPF
    FRAME = "frame"  # the bytes or fields of a frame, which may hold any of the others

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Let the mark show in a JSON Schema."""
        return {**handler(schema), "x-personal-data": self.value}


Phone = Annotated[str, Personal.PHONE]
Note = Annotated[str, Personal.NOTE]
GivenBack = Annotated[
    dict[str, Any] | None,
    Personal.NOTE,
    Field(description="The `context` of the command behind it; null where there is none."),
]
RawFrame = Annotated[str, Personal.FRAME, Field(description="The frame from Tactium, as it came.")]

_NUMBER = re.compile(r"\+?\d(?:[\W_]{0,3}\d){6,}")
"""Seven digits and more, whatever stands between them; what is shorter is an extension."""

_Json = TypeVar("_Json")


def masked(phone: str) -> str:
    """Return a telephone number of which only the last two digits can be read."""
    return f"***{phone[-2:]}" if len(phone) > 3 else "***"


def without_phones(value: _Json) -> _Json:
    """Return free text or JSON, of which nobody has said what it holds, without telephone numbers.

    Every run of so many digits is taken for one.
    """
    clean: _Json = _without_phones(value)
    return clean


def _without_phones(value: Any) -> Any:
    match value:
        case str():
            return _NUMBER.sub(lambda found: masked(found[0]), value)
        case int() | float() if not isinstance(value, bool) and abs(value) >= 10**6:
            return masked(str(value))
        case dict():
            return {_without_phones(key): _without_phones(each) for key, each in value.items()}
        case list():
            return [_without_phones(each) for each in value]
    return value
