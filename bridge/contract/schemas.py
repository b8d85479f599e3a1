"""One JSON Schema (2020-12) from one class of messages."""

from __future__ import annotations

from typing import Any, cast

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from bridge.contract.described import field_texts, first_paragraph

Schema = dict[str, Any]

_KEPT_OUTSIDE = ("description", "x-personal-data", "x-unit", "format")
"""What is said of a value that may be null belongs beside it, and not into one of its cases."""


def schema_of(messages: type) -> Schema:
    """Return the schema of what such messages look like as JSON."""
    adapter: TypeAdapter[Any] = TypeAdapter(messages)
    return cast("Schema", _plain(adapter.json_schema(schema_generator=_Generator)))


class _Generator(GenerateJsonSchema):
    """Takes descriptions from below the fields, and leaves out what is no part of the JSON."""

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """Return the schema of what the bridge writes: every key is there."""
        made = super().dataclass_schema(schema)
        fields = cast("core_schema.DataclassArgsSchema", schema["schema"])["fields"]
        keys = {str(each.get("serialization_alias", each["name"])): each["name"] for each in fields}
        shown = {key: name for key, name in keys.items() if not name.startswith("_")}
        properties = {key: made["properties"][key] for key in shown}
        return _described(
            {**made, "properties": properties, "required": list(shown)}, schema["cls"], shown
        )

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return the schema of what the bridge reads."""
        made = super().model_schema(schema)
        return _described(made, schema["cls"], {key: key for key in made["properties"]})


def _described(schema: JsonSchemaValue, by: type, names: dict[str, str]) -> JsonSchemaValue:
    texts = field_texts(by)
    for key, name in names.items():
        if name in texts:
            schema["properties"][key]["description"] = texts[name]
    return {**schema, "description": first_paragraph(by)}


def _plain(schema: Any) -> Any:
    """Say that a value may be null as people do: with two types, not with two cases."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _plain(each) for key, each in schema.items() if key != "default"}
    cases = made.get("anyOf")
    if not isinstance(cases, list) or len(cases) != 2 or cases[1] != {"type": "null"}:
        return made
    case = cases[0]
    said = {key: case[key] for key in _KEPT_OUTSIDE if key in case}
    rest = {key: each for key, each in case.items() if key not in said}
    if "enum" in rest:
        rest = {"enum": [*rest["enum"], None]}
    elif "type" in rest:
        rest = {**rest, "type": [rest["type"], "null"]}
    else:
        rest = {"anyOf": [rest, cases[1]]}
    return said | {key: each for key, each in made.items() if key != "anyOf"} | rest
