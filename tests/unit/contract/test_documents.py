"""The schemas: what the models say, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.contract import differences, examples, schemas, write
from bridge.errors import ContractError, InvalidCommand
from bridge.messages.commands import parse
from tests.unit.contract.judge import FOLDER, event_flaws, flaws, mutations, paths

MESSAGES = examples.messages()
REPLIES = examples.replies()


def named(messages: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(each, id=each["type"]) for each in messages]


def described(schema: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every property of a schema, those of its definitions among them."""
    for name, each in schema.get("properties", {}).items():
        yield f"{where}: {name}", each
    for name, each in schema.get("$defs", {}).items():
        yield from described(each, f"{where}: {name}")


def test_the_committed_files_are_what_the_models_say() -> None:
    """Whoever changes a message changes its schema in the same commit."""
    assert differences(FOLDER) == []


def test_what_differs_is_missing_or_is_extra_is_found(tmp_path: Path) -> None:
    """Each with its name; what was written anew is in order."""
    write(tmp_path)
    assert differences(tmp_path) == []
    (tmp_path / "reply.json").unlink()
    (tmp_path / "event.json").write_text("{}")
    (tmp_path / "events" / "old.json").write_text("{}")
    found = differences(tmp_path)
    assert sorted(line.removeprefix(f"{tmp_path}/") for line in found) == [
        "event.json: differs",
        "events/old.json: extra",
        "reply.json: missing",
    ]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """As an error of one line, not a traceback."""
    (tmp_path / "schemas").write_text("a file")
    with pytest.raises(ContractError, match="schemas"):
        write(tmp_path / "schemas")


def test_there_is_a_schema_for_every_message() -> None:
    """Whatever the models can say."""
    assert paths() == sorted(schemas())
    assert {"event", "reply", "commands/make_call", "events/call.ended"} <= set(paths())


@pytest.mark.parametrize("path", paths())
def test_every_field_is_described(path: str) -> None:
    """A title, a description, and an example of the whole."""
    schema = json.loads((FOLDER / f"{path}.json").read_text("utf-8"))
    assert schema["title"]
    assert schema["description"]
    assert schema["examples"]
    assert [name for name, each in described(schema, path) if not each.get("description")] == []


@pytest.mark.parametrize("message", named(MESSAGES))
def test_an_event_is_valid_and_its_mutations_are_not(message: dict[str, Any]) -> None:
    """Every key has to be there, of its type."""
    assert event_flaws(message) == []
    for what, mutated in mutations(message["data"]):
        assert event_flaws({**message, "data": mutated}), what
    for what, mutated in mutations(message):
        assert flaws("event", mutated), what


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_is_valid_and_its_mutations_are_not(reply: dict[str, Any]) -> None:
    """Every key has to be there, of its type."""
    assert flaws("reply", reply) == []
    for what, mutated in mutations(reply):
        assert flaws("reply", mutated), what
    assert flaws("reply", {**reply, "outcome": "perhaps"})


@pytest.mark.parametrize("name", sorted(examples.COMMANDS))
def test_a_schema_refuses_what_the_bridge_refuses(name: str) -> None:
    """A command is valid for the one where it is for the other, and so are its mutations."""
    path, command = f"commands/{name}", examples.command(name)
    assert flaws(path, command) == []
    assert parse(json.dumps(command).encode()).model_dump()["command"] == name
    tried = [
        *mutations(command),
        *((f"{key} null", {**command, key: None}) for key in command),
        *((f"{key} a frame", {**command, key: "1>$<ana><D"}) for key in command),
        ("unknown key", {**command, "code2": "1"}),
        ("the bridge itself", {**command, "agent": " AdmSocket"}),
        ("nobody", {**command, "agent": "  "}),
        ("a control character", {**command, "agent": "jo\x07se"}),
    ]
    for what, mutated in tried:
        try:
            parse(json.dumps(mutated).encode())
        except InvalidCommand:
            assert flaws(path, mutated), what
        else:
            assert flaws(path, mutated) == [], what


def test_personal_data_is_marked() -> None:
    """A schema says which fields hold it, and of which kind."""
    marks = {
        name.rpartition(" ")[2]: each["x-personal-data"]
        for path, schema in schemas().items()
        for name, each in described(schema, path)
        if "x-personal-data" in each
    }
    assert marks["phone"] == marks["origin"] == marks["destination"] == "phone"
    assert marks["context"] == marks["external"] == marks["recordings"] == "note"
    assert marks["raw"] == marks["base64"] == "frame"
    assert not {"agent", "call_id", "code", "outcome"} & marks.keys()
