"""How Tactium spells each message: one table, read and written in both directions.

A form is written as the manual writes it, with the message's own field names in
braces. What differs from a plain row of fields (dates, dispositions, the call
events that arrive mangled) has a small function of its own below the table.

Words of the protocol compare without regard to case when read, and are written
exactly as the manual spells them. The section numbers (§) are the manual's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from bridge.errors import Flaw, InvalidCommand
from bridge.messages.commands import (
    Disposition,
    EndWrapUp,
    GetCurrentCall,
    GetStatus,
    HangUp,
    Logoff,
    Logon,
    MakeCall,
    Pause,
    Resume,
    ScheduleCallback,
    SetDisposition,
    WireCommand,
)
from bridge.messages.events import (
    STATUS_NAMES,
    AgentStatus,
    CallEnded,
    CallRecorded,
    CallStarted,
    Confirmed,
    Direction,
    FrameUnknown,
    Heard,
)
from bridge.messages.notices import FrameMalformed
from bridge.wire.frame import Frame, Malformed, decode


class Form:
    """One frame as the manual writes it; `names` are the fields in braces, in order."""

    def __init__(self, spelling: str) -> None:
        self._spelling = spelling
        self._fields = spelling[1:-2].split("><")
        self._words = [(at, f.casefold()) for at, f in enumerate(self._fields) if f[0] != "{"]
        self._slots = [(at, f[1:-1]) for at, f in enumerate(self._fields) if f[0] == "{"]
        self.names = tuple(name for _, name in self._slots)

    def __repr__(self) -> str:
        return f"<Form: {self._spelling}>"

    def write(self, values: Mapping[str, str]) -> str:
        """Return the text of the frame. The values must hold no bracket."""
        return self._spelling.format_map(values)

    def maybe_read(self, fields: Sequence[str]) -> dict[str, str] | None:
        """Return the values by name, or None where the fields are not of this form."""
        if len(fields) != len(self._fields):
            return None
        if any(fields[at].casefold() != word for at, word in self._words):
            return None
        return {name: fields[at] for at, name in self._slots}


COMMANDS: dict[type[WireCommand], Form] = {
    Logon: Form("<{agent}><L><ON>$"),  # §4.1
    Logoff: Form("<{agent}><L><OFF>$"),  # §4.2
    Pause: Form("<{agent}><P><ON><{code}>$"),  # §4.3
    Resume: Form("<{agent}><P><OFF>$"),  # §4.4
    EndWrapUp: Form("<{agent}><POS><OFF>$"),  # §4.5
    GetStatus: Form("<{agent}><S>$"),  # §4.6
    ScheduleCallback: Form("<{agent}><TR><{at}><{phone}><{callback_agent}>$"),  # §4.7
    SetDisposition: Form("<{agent}><C><S><{disposition}>$"),  # §4.8
    MakeCall: Form("<{agent}><A><{area_code}><{phone}><{campaign}>$"),  # §4.9
    HangUp: Form("<{agent}><D>$"),  # §4.10
    GetCurrentCall: Form("<{agent}><AC>$"),  # §4.11
}

CONFIRMED = Form("<{agent}><OK>$")  # §4.1-4.5, §4.7, §4.8
STATUS = Form("<{agent}><S><{code}>$")  # §4.6
CALL_OUTBOUND = Form(
    "<{agent}><A><{dial_item_id}><{origin_area_code}><{origin}><{destination_area_code}>"
    "<{destination}><{description}><{recording_key}><{external_id}>$"
)  # §5.1
CALL_INBOUND = Form(
    "<{agent}><R><{dial_item_id}><{origin_area_code}><{origin}><{destination_area_code}>"
    "<{destination}><---><{external_id}>$"
)  # §5.2
RECORDED = Form("<{agent}><G><{path}>$")  # §5.3
ENDED = Form("<{agent}><EndCall>$")  # §5.4

REGISTER_LOGON = b"<ADMSOCKET><L><ON>$"  # §4.12
REGISTER_STATUS = b"<ADMSOCKET><S>$"  # §2.1

DISPOSITIONS = {
    Disposition.BLOCKED_PHONE: "BloquedPhone",
    Disposition.OUT_OF_AREA: "OutOfArea",
    Disposition.ANSWERING_MACHINE: "EletronicResponse",
    Disposition.FAX: "Fax",
}  # §4.8, spelt as the manual spells them

_NO_VALUE = "---"  # stands where an outbound call has two more fields (§5.2)
_LOST_BRACKET = ">"  # what two empty fields `<><>` leave when a `<` gets lost (§5.1)
_NUMBER = re.compile(r"-?[0-9]{1,18}")  # fits 64 bits, the widest that users of JSON expect


class Speller:
    """Writes commands as frames.

    `encoding` is the character encoding of the link; `timezone` the one in which
    the Tactium server's clock runs.
    """

    def __init__(self, encoding: str, timezone: ZoneInfo) -> None:
        self._encoding = encoding
        self._timezone = timezone

    def spell(self, command: WireCommand) -> bytes:
        """Return the frame of `command`.

        Raises `InvalidCommand` for a value that the link's encoding cannot
        spell, and for a date that the server's clock cannot show.
        """
        form = COMMANDS[type(command)]
        values = {name: self._spell_value(name, getattr(command, name)) for name in form.names}
        return form.write(values).encode(self._encoding)

    def _spell_value(self, name: str, value: object) -> str:
        match value:
            case None:
                return ""
            case datetime():
                return self._spell_date(name, value)
            case Disposition():
                return DISPOSITIONS[value]
        text = str(value)
        try:
            text.encode(self._encoding)
        except UnicodeEncodeError as error:
            reason = f"holds {text[error.start]!a}, which {self._encoding} cannot encode"
            raise InvalidCommand([Flaw(name, reason)]) from None
        return text

    def _spell_date(self, name: str, moment: datetime) -> str:
        try:
            local = moment.astimezone(self._timezone) if moment.tzinfo else moment
        except OverflowError:
            raise InvalidCommand([Flaw(name, "is out of range")]) from None
        return f"{local:%d/%m}/{local.year:04d} {local:%H:%M}"


def understand(frame: Frame) -> Heard:
    """Return what a frame from Tactium says. Every frame says something; never raises."""
    fields = frame.fields
    reader = _READERS.get(fields[1].casefold()) if len(fields) > 1 else None
    heard = reader(fields[0].casefold(), fields, frame.raw) if reader else None
    return heard or FrameUnknown(fields[0].casefold(), fields, frame.raw)


def told(piece: Frame | Malformed) -> Heard | FrameMalformed:
    """Return what a piece from Tactium says, a frame or not."""
    if isinstance(piece, Frame):
        return understand(piece)
    return FrameMalformed.of(piece.reason, decode(piece.raw), piece.raw)


def reread(raw: str) -> Heard:
    """Return what a whole frame says whose text was kept."""
    return understand(Frame(raw[1:-2].split("><"), raw))


def maybe_command(frame: Frame) -> tuple[type[WireCommand], dict[str, str]] | None:
    """Return which command a frame to Tactium is, with its values as spelt, or None."""
    for command, form in COMMANDS.items():
        values = form.maybe_read(frame.fields)
        if values is not None:
            return command, values
    return None


def _outbound(agent: str, fields: list[str], raw: str) -> Heard:
    """Read §5.1 from the left, and its end from the right: it arrives mangled.

    With 10 fields or more all three optional ones are there; with 9 one of them,
    or two whose brackets got lost; with 8 only the external id.
    """
    count = len(fields)
    description = fields[7] if count >= 9 else None
    recording_key = fields[-2] if count >= 10 else None
    if count == 9 and description == _LOST_BRACKET:
        description = recording_key = ""
    external_id = fields[-1] if count >= 8 else None
    return _call(agent, "outbound", fields, description, recording_key, external_id, raw)


def _inbound(agent: str, fields: list[str], raw: str) -> Heard:
    """Read §5.2, where `---` holds the place of what only outbound calls have."""
    tail = fields[7:]
    if tail and tail[0] == _NO_VALUE:
        del tail[0]
    return _call(agent, "inbound", fields, None, None, tail[-1] if tail else None, raw)


def _call(
    agent: str,
    direction: Direction,
    fields: list[str],
    description: str | None,
    recording_key: str | None,
    external_id: str | None,
    raw: str,
) -> CallStarted:
    first: list[str | None] = [*fields[2:7]]
    if len(first) < 5:
        first += [None] * (5 - len(first))
    item, origin_area, origin, destination_area, destination = first
    return CallStarted(
        agent,
        None,
        direction,
        item,
        origin_area,
        origin,
        destination_area,
        destination,
        description,
        recording_key,
        external_id,
        _pairs(external_id) if external_id else {},
        None,
        raw,
    )


def _pairs(external_id: str) -> dict[str, str]:
    """Return the dialer's attributes `key=value;key=value;…` (§5.1), none where there are none."""
    pairs = (part.partition("=") for part in external_id.split(";"))
    return {key: value for key, equals, value in pairs if key and equals}


def _recorded(agent: str, fields: list[str], raw: str) -> Heard:
    return CallRecorded(agent, None, "><".join(fields[2:]) if len(fields) > 2 else None, None, raw)


def _ended(agent: str, _fields: list[str], raw: str) -> Heard:
    return CallEnded(agent, raw=raw)


def _maybe_status(agent: str, fields: list[str], raw: str) -> Heard | None:
    if len(fields) != 3 or not _NUMBER.fullmatch(fields[2]):
        return None
    code = int(fields[2])
    return AgentStatus(agent, code, STATUS_NAMES.get(code, "unknown"), raw)


def _maybe_confirmed(agent: str, fields: list[str], raw: str) -> Heard | None:
    return Confirmed(agent, fields, raw) if len(fields) == 2 else None


_READERS: dict[str, Callable[[str, list[str], str], Heard | None]] = {
    "a": _outbound,
    "r": _inbound,
    "g": _recorded,
    "endcall": _ended,
    "s": _maybe_status,
    "ok": _maybe_confirmed,
}
