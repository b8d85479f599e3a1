"""The AsyncAPI 3.0 document: which messages are where, and who answers whom."""

from __future__ import annotations

from typing import Any

from bridge.contract import examples
from bridge.contract.documents import ENVELOPE, KINDS, REPLY, example_of
from bridge.contract.schemas import Schema
from bridge.messages.envelope import CONTENT_TYPE

_ABOUT = """\
Telephony events of Tactium IP on RabbitMQ, and commands back.

Delivery is at least once: deduplicate by `source` and `id`. An agent's events come in the
order in which they were read. Bind a queue of your own to the topic exchange `tactium.events`
(`jose.#` is everything of one agent, `*.call.started.*` every arriving call), or to
`tactium.bridge` for what the bridge says of itself. `tactium` is the setting `amqp.prefix`.
"""

_AGENT = "The agent's canonical name as one word: percent-encoded but for `A-Z a-z 0-9 - _ ~`."
_HEADERS: Schema = {
    "type": "object",
    "properties": {
        "late": {
            "type": "boolean",
            "description": "True on what was published over 5 s after it was read.",
        },
        "traceparent": {
            "type": "string",
            "description": "W3C Trace Context of the command behind it.",
        },
        "tracestate": {"type": "string", "description": "The rest of that context."},
    },
}


def asyncapi(schemas: dict[str, Schema], version: str) -> Schema:
    """Return the document, from all schemas by their paths; `version` is the package's."""
    data = [path for path in schemas if path.startswith(("events/", "bridge/"))]
    commands = [path for path in schemas if path.startswith("commands/")]
    events = {_name(path): _channel(path) for path in data}
    said = examples.messages()
    messages = {
        **{_name(path): _event(path, example_of(path, said)) for path in data},
        **{_name(path): _command(path, schemas[path]) for path in commands},
        REPLY: _reply(schemas[REPLY]),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tactium-bridge",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "localhost:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "Your RabbitMQ: the setting `amqp.url`.",
            }
        },
        "channels": {**events, "commands": _commands_channel(commands), "replies": _REPLIES},
        "operations": {
            **{f"publish.{_name(path)}": _publishes(path) for path in data},
            "answer.commands": _answers(commands),
        },
        "components": {
            "messages": messages,
            "schemas": {
                **{_name(path): _embedded(each) for path, each in schemas.items()},
                "headers": _HEADERS,
            },
        },
    }


def _name(path: str) -> str:
    """Return what a message and its schema are called: its path, as one word."""
    return path.replace("/", ".")


def _ref(*steps: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(steps)}


def _embedded(schema: Schema) -> Schema:
    """Return a schema as part of the document: its references count from its own place."""
    inside = {key: each for key, each in schema.items() if not key.startswith("$")}
    return {key: _inlined(each, schema.get("$defs", {})) for key, each in inside.items()}


def _inlined(schema: Any, definitions: dict[str, Schema]) -> Any:
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if (reference := schema.get("$ref")) is not None:
        meant = definitions[reference.rpartition("/")[2]]
        rest = {key: each for key, each in schema.items() if key != "$ref"}
        return {**_inlined(meant, definitions), **rest}
    return {key: _inlined(each, definitions) for key, each in schema.items()}


def _event(path: str, example: Schema) -> Schema:
    name = _name(path)
    only = {"type": {"const": KINDS[path]}, "data": _ref("components", "schemas", name)}
    return {
        "name": KINDS[path],
        "contentType": CONTENT_TYPE,
        "headers": _ref("components", "schemas", "headers"),
        "payload": {
            "allOf": [_ref("components", "schemas", ENVELOPE), {"properties": only}],
        },
        "examples": [{"payload": example}],
        "bindings": {"amqp": {"messageType": KINDS[path]}},
    }


def _command(path: str, schema: Schema) -> Schema:
    return {
        "name": schema["title"],
        "summary": schema["description"],
        "headers": {
            "type": "object",
            "properties": {
                "message_id": {
                    "type": "string",
                    "description": "The same one is executed once; asking again gets the answer.",
                },
                "reply_to": {"type": "string", "description": "The queue for the reply."},
                "correlation_id": {"type": "string", "description": "Comes back on the reply."},
            },
        },
        "correlationId": {"location": "$message.header#/correlation_id"},
        "payload": _ref("components", "schemas", _name(path)),
        "examples": [{"payload": each} for each in schema["examples"]],
    }


def _reply(schema: Schema) -> Schema:
    return {
        "name": "tactium.reply",
        "correlationId": {"location": "$message.header#/correlation_id"},
        "payload": _ref("components", "schemas", REPLY),
        "examples": [{"payload": each} for each in schema["examples"]],
        "bindings": {"amqp": {"messageType": "tactium.reply"}},
    }


def _topic(name: str) -> Schema:
    exchange = {"name": name, "type": "topic", "durable": True, "autoDelete": False}
    return {"amqp": {"is": "routingKey", "exchange": exchange}}


def _channel(path: str) -> Schema:
    stream, _, topic = path.partition("/")
    parameters: Schema
    if stream == "events":
        parameters = {"agent": {"description": _AGENT}}
        address = f"{{agent}}.{topic}"
    else:
        parameters = {"site": {"description": "The setting `site`."}}
        address = f"{{site}}.{topic}"
    if topic == "call.started":
        address += ".{direction}"
        parameters["direction"] = {"enum": ["outbound", "inbound"]}
    return {
        "address": address,
        "messages": {_name(path): _ref("components", "messages", _name(path))},
        "parameters": parameters,
        "bindings": _topic(f"tactium.{stream}"),
    }


def _commands_channel(paths: list[str]) -> Schema:
    return {
        "address": "{agent}.{command}",
        "description": "Any routing key will do; the queue `tactium.commands` gets all of them.",
        "messages": {_name(path): _ref("components", "messages", _name(path)) for path in paths},
        "parameters": {
            "agent": {"description": _AGENT},
            "command": {"enum": [path.partition("/")[2] for path in paths]},
        },
        "bindings": _topic("tactium.commands"),
    }


_REPLIES: Schema = {
    "address": None,
    "description": "The queue that the command's `reply_to` names.",
    "messages": {REPLY: _ref("components", "messages", REPLY)},
}


def _publishes(path: str) -> Schema:
    name = _name(path)
    return {
        "action": "send",
        "channel": _ref("channels", name),
        "messages": [_ref("channels", name, "messages", name)],
        "bindings": {"amqp": {"deliveryMode": 2, "timestamp": True}},
    }


def _answers(paths: list[str]) -> Schema:
    names = map(_name, paths)
    return {
        "action": "receive",
        "channel": _ref("channels", "commands"),
        "messages": [_ref("channels", "commands", "messages", name) for name in names],
        "reply": {
            "address": {"location": "$message.header#/reply_to"},
            "channel": _ref("channels", "replies"),
            "messages": [_ref("channels", "replies", "messages", REPLY)],
        },
        "bindings": {"amqp": {"ack": True}},
    }
