"""All documents of the contract, by their path in `schemas/`."""

from __future__ import annotations

from typing import Any, get_args

from bridge.contract import examples
from bridge.contract.schemas import Schema, schema_of
from bridge.messages.commands import NAMES, Command
from bridge.messages.envelope import CONTENT_TYPE, schema_tag
from bridge.messages.kinds import CLASSES, OWN, PREFIX
from bridge.messages.notices import CommandEnded, Heartbeat
from bridge.messages.replies import Reply

DIALECT = "https://json-schema.org/draft/2020-12/schema"

ENVELOPE, REPLY = "event", "reply"

_FIRST = ("$schema", "$id", "title", "description", "type", "properties", "required")
_LAST = ("$defs", "examples")


def schemas() -> dict[str, Schema]:
    """Return every JSON Schema, by its path without the ending."""
    said = examples.messages()
    data = {path: _data_schema(path, said) for path in KINDS}
    commands = {f"commands/{each}": _command_schema(each) for each in sorted(NAMES)}
    reply = _document(REPLY, "Reply", schema_of(Reply), examples.replies())
    return {ENVELOPE: _envelope_schema(said), **data, **commands, REPLY: reply}


def example_of(path: str, said: list[Schema]) -> Schema:
    """Return the example of the message whose `data` a schema describes."""
    return next(each for each in said if each["type"] == KINDS[path])


def _path(kind: str) -> str:
    """Return the path of the schema of a message's `data`, by the type in its envelope."""
    own = kind.removeprefix(OWN)
    return f"bridge/{own}" if own != kind else f"events/{kind.removeprefix(PREFIX)}"


KINDS = {_path(kind): kind for kind in CLASSES}
"""The types of the messages, by the paths of their data's schemas."""


def _data_schema(path: str, said: list[Schema]) -> Schema:
    described = CLASSES[KINDS[path]]
    schema = schema_of(described)
    if described is CommandEnded:
        schema["properties"]["outcome"]["const"] = path.rpartition(".")[2]
    return _document(path, KINDS[path], schema, [example_of(path, said)["data"]])


def _command_schema(name: str) -> Schema:
    described = next(
        each for each in get_args(Command) if each.model_fields["command"].default == name
    )
    schema = schema_of(described)
    properties = {"command": {"const": name}, **schema["properties"]}
    properties["command"] = {**schema["properties"]["command"], "description": "What to do."}
    required = ["command", *schema.get("required", [])]
    whole = {**schema, "properties": properties, "required": required}
    return _document(f"commands/{name}", name, whole, [examples.command(name)])


def _document(path: str, title: str, schema: Schema, shown: list[Any]) -> Schema:
    """Return a schema as a document of its own."""
    head = {"$schema": DIALECT, "$id": schema_tag(path)}
    whole = {**schema, **head, "title": title, "examples": shown}
    middle = sorted(whole.keys() - {*_FIRST, *_LAST})
    return {key: whole[key] for key in (*_FIRST, *middle, *_LAST) if key in whole}


def _envelope_schema(said: list[Schema]) -> Schema:
    """Return what every message on the two exchanges has around its `data`."""
    properties: dict[str, Schema] = {
        "specversion": {"const": "1.0", "description": "The version of CloudEvents."},
        "id": {
            "pattern": r"^[0-9A-Za-z]+(-\d{20})?$",
            "description": "Never changes, however often the event is sent: with `source`, the key "
            "to deduplicate by. What stands before the dash names the journal; a heartbeat's has "
            "none.",
        },
        "source": {"pattern": "^/tactium/", "description": "Which bridge: `/tactium/<site>`."},
        "type": {"pattern": r"^tactium\.", "description": "What happened; says what `data` holds."},
        "subject": {"description": "The agent's canonical name, or the site."},
        "time": {"format": "date-time", "description": "When it was read from Tactium: UTC."},
        "datacontenttype": {"const": "application/json", "description": "What `data` is."},
        "dataschema": {"format": "uri", "description": "The schema of `data`."},
        "sequence": {
            "pattern": r"^\d{20}$",
            "description": "Orders as text, and grows by one with each message of a journal; a "
            "heartbeat, which goes through none, has none.",
        },
        "partitionkey": {"description": "The same as `subject`."},
    }
    strings = {key: {"type": "string", **each} for key, each in properties.items()}
    epoch = {
        "type": "integer",
        "minimum": 0,
        "description": "Of the leadership in which it was taken in: it grows with each. What a "
        "bridge says that leads no more has a lower one than its successor.",
    }
    data = {"type": "object", "description": "What happened, by `type`: see the folders beside."}
    schema = {
        "type": "object",
        "description": f"What is around every event: CloudEvents 1.0, structured ({CONTENT_TYPE}).",
        "properties": {**strings, "epoch": epoch, "data": data},
        "required": [*(each for each in strings if each != "sequence"), "epoch", "data"],
        "if": {"properties": {"type": {"not": {"const": f"{OWN}{Heartbeat.type}"}}}},
        "then": {"required": ["sequence"]},
    }
    return _document(ENVELOPE, "Event", schema, said[:1])
