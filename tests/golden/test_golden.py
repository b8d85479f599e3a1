"""The transcripts beside this file, written by hand from the manual, hold to the byte."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bridge.messages.commands import GetAgents, WireCommand, parse
from bridge.wire.frame import Decoder, Frame, Malformed
from bridge.wire.grammar import (
    REGISTER_LOGON,
    REGISTER_STATUS,
    Speller,
    maybe_command,
    understand,
)

HERE = Path(__file__).parent
COMMANDS = tomllib.loads((HERE / "commands.toml").read_text("utf-8"))
REPLIES = tomllib.loads((HERE / "replies.toml").read_text("utf-8"))
EVENTS = tomllib.loads((HERE / "events.toml").read_text("utf-8"))

SPELLER = Speller("cp1252", ZoneInfo("America/Fortaleza"))

Entry = dict[str, Any]


def params(entries: list[Entry]) -> list[Any]:
    return [pytest.param(e, id=f"{e['section']} {e['shows']}") for e in entries]


def heard_of(entry: Entry) -> list[Entry]:
    """Decode what an entry says arrives, and put all that comes of it in the entry's terms."""
    found: list[Entry] = []
    for piece in Decoder().feed(entry["bytes"].encode("cp1252")):
        if isinstance(piece, Malformed):
            found.append({"malformed": piece.raw.decode("cp1252")})
            continue
        heard = understand(piece)
        data = {field.name: getattr(heard, field.name) for field in fields(heard)}
        data = {name: value for name, value in data.items() if value is not None}
        found.append({"frame": piece.fields, "heard": type(heard).__name__, "data": data})
    return found


def command_in(entry: Entry) -> WireCommand:
    command = parse(entry["json"].encode())
    assert not isinstance(command, GetAgents)
    return command


@pytest.mark.parametrize("entry", params(COMMANDS["command"]))
def test_each_command_is_written_as_the_manual_spells_it(entry: Entry) -> None:
    """A command's JSON becomes exactly these bytes, and these bytes are that command again."""
    command = command_in(entry)
    frame = SPELLER.spell(command)
    assert frame == entry["bytes"].encode("cp1252")
    assert frame.isascii() or frame == bytes.fromhex(entry["hex"])

    (piece,) = Decoder().feed(frame)
    assert isinstance(piece, Frame)
    understood = maybe_command(piece)
    assert understood is not None
    assert understood[0] is type(command)


@pytest.mark.parametrize("entry", params([e for e in COMMANDS["command"] if "printed" in e]))
def test_a_frame_printed_without_its_end_is_malformed(entry: Entry) -> None:
    """What the manual prints in place of a frame is no frame, and spoils none behind it."""
    printed, whole = entry["printed"].encode("cp1252"), entry["bytes"].encode("cp1252")
    first, second = Decoder().feed(printed + b"\r\n" + whole)
    assert isinstance(first, Malformed)
    assert first.raw == printed
    assert isinstance(second, Frame)
    assert second.raw == entry["bytes"]


@pytest.mark.parametrize("entry", params([*REPLIES["transcript"], *EVENTS["transcript"]]))
def test_what_tactium_says_is_understood_in_every_field(entry: Entry) -> None:
    """These bytes give these frames and malformed pieces, and each frame says exactly this."""
    assert heard_of(entry) == entry["comes"]


@pytest.mark.parametrize(
    ("name", "written"), [("status", REGISTER_STATUS), ("logon", REGISTER_LOGON)]
)
def test_the_registration_is_written_as_the_manual_spells_it(name: str, written: bytes) -> None:
    """Either spelling is exactly the manual's."""
    assert written == COMMANDS["registration"][name]["bytes"].encode("cp1252")


def test_no_section_is_forgotten() -> None:
    """Each section of the manual that spells a message has a transcript in its direction."""
    registrations = list(COMMANDS["registration"].values())
    ours = {entry["section"] for entry in [*COMMANDS["command"], *registrations]}
    assert ours == {"§2.1"} | {f"§4.{n}" for n in range(1, 13)}

    answers = " ".join(entry["section"] for entry in REPLIES["transcript"])
    unanswered = {"§4.9"}  # the manual documents no answer to a call that is asked for
    assert set(re.findall(r"§[\d.]+", answers)) == {f"§4.{n}" for n in range(1, 13)} - unanswered

    assert {entry["section"] for entry in EVENTS["transcript"]} == {
        "§5.1",
        "§5.2",
        "§5.3",
        "§5.4",
    }
