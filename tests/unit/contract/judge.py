"""Says whether messages keep to the schemas, as a subscriber of any language would check it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parents[3] / "schemas"


@cache
def validator(path: str) -> Draft202012Validator:
    """Return what checks against the schema under a path, formats too."""
    schema = json.loads((FOLDER / f"{path}.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def paths() -> list[str]:
    """Return the paths of all schemas, without the ending."""
    return sorted(str(each.relative_to(FOLDER))[:-5] for each in FOLDER.rglob("*.json"))


def path_of(event: dict[str, Any]) -> str:
    """Return the path of the schema that an event's `dataschema` names."""
    name = event["dataschema"].removeprefix("tag:tactium-bridge,2026:schema/1/")
    bridge = name.removeprefix("bridge.")
    return f"events/{name}" if bridge == name else f"bridge/{bridge}"


def flaws(path: str, message: Any) -> list[str]:
    """Return what is wrong with a message."""
    return [
        f"{path}: {each.json_path}: {each.message}" for each in validator(path).iter_errors(message)
    ]


def event_flaws(event: dict[str, Any]) -> list[str]:
    """Return what is wrong with an event, its envelope and its data."""
    return [*flaws("event", event), *flaws(path_of(event), event["data"])]


def mutations(message: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return a message with each of its keys once missing and once of a type that it never has."""
    found = []
    for key, value in message.items():
        rest = {name: each for name, each in message.items() if name != key}
        wrong: Any = 1.5 if isinstance(value, dict) or key == "context" else {"no": "thing"}
        found += [(f"without {key}", rest), (f"{key} of another type", {**message, key: wrong})]
    return found
