"""The commands that a user may send, imperative, as contract.md §4 lists them.

Validation is the whole protection of the wire, where nothing can be escaped: a
value that could end a field or a frame is refused here, so no text from a
message can ever become a second frame. What a value must be to fit the link's
character encoding is `wire`'s to say. What stands below a field describes it in
`schemas/`, which says the same rules as far as JSON Schema has words for them.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, NoReturn, get_args

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic import ValidationError as PydanticValidationError
from pydantic_core import ErrorDetails

from bridge.errors import Flaw, InvalidCommand
from bridge.messages.privacy import Personal

ADMINISTRATOR = "admsocket"
"""The canonical login under which the bridge registers (§4.12); never an agent."""

MAX_BODY_BYTES = 64 * 1024
MAX_CONTEXT_BYTES = 1024


def _one_field(text: str) -> str:
    for character in text:
        if character in "<>$":
            raise ValueError(f"must not hold '{character}', which is part of the wire protocol")
        if unicodedata.category(character) == "Cc":
            raise ValueError(f"must not hold the control character U+{ord(character):04X}")
    return text


def _login(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    if text.strip().casefold() == ADMINISTRATOR:
        raise ValueError("is the bridge's own registration and not an agent")
    return text


def _wall_clock(value: object) -> object:
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", value, re.ASCII):
        return value
    raise ValueError("must be a date and time such as 2026-12-01T15:00 or 2026-12-01T15:00-03:00")


def _small(context: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(orjson.dumps(context))
        orjson.dumps(_as_deep_as_it_gets(context))
    except TypeError as error:
        raise ValueError(f"cannot be given back as JSON: {error}") from None
    if size > MAX_CONTEXT_BYTES:
        raise ValueError(f"is {size} bytes of JSON, at most {MAX_CONTEXT_BYTES} are allowed")
    return context


def _as_deep_as_it_gets(context: dict[str, Any]) -> object:
    """Wrap a context as deep as any message carries it: a writer has its limit there."""
    wrapped: object = context
    for _ in range(8):
        wrapped = [wrapped]
    return wrapped


_NO_WIRE = r"^[^<>$\u0000-\u001f\u007f-\u009f]*$"
_ANY_CASE = "".join(f"[{each}{each.upper()}]" for each in ADMINISTRATOR)
_ADMINISTRATOR = {"type": "string", "pattern": rf"^\s*{_ANY_CASE}\s*$"}

Text = Annotated[str, AfterValidator(_one_field), Field(json_schema_extra={"pattern": _NO_WIRE})]
Login = Annotated[
    Text,
    AfterValidator(_login),
    Field(json_schema_extra={"allOf": [{"pattern": r"\S"}, {"not": _ADMINISTRATOR}]}),
]
Dialled = Annotated[str, Field(pattern=r"^[0-9+*#]{1,32}$"), Personal.PHONE]
WallClock = Annotated[
    datetime,
    Field(strict=False),
    BeforeValidator(_wall_clock),
    WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d"}),
]
Context = Annotated[dict[str, Any], AfterValidator(_small), Personal.NOTE]


class Disposition(StrEnum):
    """What became of a dialer's call (§4.8)."""

    BLOCKED_PHONE = "blocked_phone"
    OUT_OF_AREA = "out_of_area"
    ANSWERING_MACHINE = "answering_machine"
    FAX = "fax"


class Request(BaseModel):
    """What all commands share."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    changes_something: ClassVar[bool] = True
    """Whether running it twice could do harm; false for what only asks."""

    context: Context | None = None
    """Comes back with the reply, and with the events of a call that it makes; 1 KiB at most."""


class AgentCommand(Request):
    """What Tactium runs, for one agent."""

    agent: Login
    """The agent's login, in any spelling."""


class Logon(AgentCommand):
    """Bind the connection to an agent who is logged on already (§4.1)."""

    command: Literal["logon"] = "logon"


class Logoff(AgentCommand):
    """Log the agent off (§4.2)."""

    command: Literal["logoff"] = "logoff"


class Pause(AgentCommand):
    """Put the agent on pause (§4.3)."""

    command: Literal["pause"] = "pause"
    code: Annotated[Text, Field(min_length=1)]
    """The external code of the reason, as Tactium has it."""


class Resume(AgentCommand):
    """Take the agent out of pause or wrap-up (§4.4)."""

    command: Literal["resume"] = "resume"


class EndWrapUp(AgentCommand):
    """Take the agent out of wrap-up (§4.5)."""

    command: Literal["end_wrap_up"] = "end_wrap_up"


class GetStatus(AgentCommand):
    """Ask for the agent's status (§4.6)."""

    changes_something: ClassVar[bool] = False
    command: Literal["get_status"] = "get_status"


class ScheduleCallback(AgentCommand):
    """Call the current customer again later (§4.7; dialer calls only)."""

    command: Literal["schedule_callback"] = "schedule_callback"
    at: WallClock
    """When, to the minute: wall-clock time at the Tactium server, or any with an offset."""
    phone: Dialled | None = None
    """Another number to call."""
    callback_agent: Text | None = None
    """The agent who is to call; whoever is free where it is missing."""


class SetDisposition(AgentCommand):
    """Say what became of a dialer's call (§4.8)."""

    command: Literal["set_disposition"] = "set_disposition"
    disposition: Annotated[Disposition, Field(strict=False)]
    """What became of it."""


class MakeCall(AgentCommand):
    """Dial (§4.9)."""

    command: Literal["make_call"] = "make_call"
    area_code: Dialled | None = None
    """The area code of the number."""
    phone: Dialled
    """The number to dial."""
    campaign: Text | None = None
    """The service or campaign to book the call under."""


class HangUp(AgentCommand):
    """End the current call (§4.10)."""

    command: Literal["hang_up"] = "hang_up"


class GetCurrentCall(AgentCommand):
    """Ask for the call that the agent is in (§4.11)."""

    changes_something: ClassVar[bool] = False
    command: Literal["get_current_call"] = "get_current_call"


class GetAgents(Request):
    """Ask the bridge, not Tactium, what it knows of one agent or of all."""

    changes_something: ClassVar[bool] = False
    command: Literal["get_agents"] = "get_agents"
    agent: Login | None = None
    """The one agent to tell of; all of them where it is missing."""


WireCommand = (
    Logon
    | Logoff
    | Pause
    | Resume
    | EndWrapUp
    | GetStatus
    | ScheduleCallback
    | SetDisposition
    | MakeCall
    | HangUp
    | GetCurrentCall
)
"""The eleven that become a frame."""

Command = WireCommand | GetAgents

NAMES: frozenset[str] = frozenset(
    each.model_fields["command"].default for each in get_args(Command)
)
"""What the commands are called."""

_COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="command")])


def parse(body: bytes, content_type: str | None = None) -> Command:
    """Read one command from the body of a message.

    Raises `InvalidCommand`, which names each wrong field and says why; its
    `command` and `agent` hold what could be read of them all the same.
    """
    media_type = (content_type or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise InvalidCommand([Flaw("content_type", "must be application/json")])
    if len(body) > MAX_BODY_BYTES:
        reason = f"is over {MAX_BODY_BYTES} bytes"
        raise InvalidCommand([Flaw("body", reason)])
    fields = _read_object(body)
    try:
        return _COMMAND.validate_python(fields)
    except PydanticValidationError as error:
        raise InvalidCommand(
            [_flaw(detail) for detail in error.errors(include_url=False, include_input=False)],
            command=_maybe_text(fields.get("command")),
            agent=_maybe_text(fields.get("agent")),
        ) from None


def _read_object(body: bytes) -> dict[str, Any]:
    """Read one JSON object, more strictly than most: RFC 8259 without its loopholes.

    A key given twice, or a number that no JSON can hold, would mean one thing
    here and another elsewhere, so both are refused.
    """
    try:
        text = body.decode("utf-8")
        fields = json.loads(
            text,
            object_pairs_hook=_each_key_once,
            parse_constant=_no_number,
            parse_float=_finite,
        )
        if "\\u" in text:
            json.dumps(fields, ensure_ascii=False).encode("utf-8")  # refuses half a surrogate pair
    except (ValueError, RecursionError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidCommand([Flaw("body", f"is not JSON: {reason}")]) from None
    if not isinstance(fields, dict):
        raise InvalidCommand([Flaw("body", "must be a JSON object")])
    return fields


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError("a key is given twice")
    return keys


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is out of range")
    return number


def _flaw(detail: ErrorDetails) -> Flaw:
    """Say in the field's own terms what pydantic found."""
    kind, location = detail["type"], detail["loc"]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        known = detail.get("ctx", {}).get("expected_tags")
        return Flaw("command", f"must be one of {known}" if known else "is required")
    reason = {
        "missing": "is required",
        "extra_forbidden": "is not a key of this command",
        "string_pattern_mismatch": "must be 1 to 32 digits, +, * or #",
    }.get(kind, detail["msg"].removeprefix("Value error, "))
    return Flaw(".".join(str(step) for step in location[1:]), reason)


def _maybe_text(value: object) -> str | None:
    return value if isinstance(value, str) else None
