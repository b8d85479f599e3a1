"""Give each service of compose.yaml its secrets; runs at each start, before all others.

    docker compose run --rm setup show NAME          print a secret
    docker compose run --rm -T setup set NAME < FILE replace it by what the file holds

The names are those of `NAMES`. A secret that is missing is made up, one that is there
stays, so nothing has a default password. The folder of all secrets is seen by this
program alone; each service sees what was handed out to it, in a volume of its own.
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes, token_urlsafe
from typing import Any
from urllib.parse import quote

NAMES = (
    *("bridge", "subscriber", "commander", "operator"),
    *("http_token", "grafana", "erlang_cookie"),
)
"""Four users of RabbitMQ, who opens the bridge's HTTP, Grafana's user `admin`, RabbitMQ's nodes."""

GIVEN = ("database_url",)
"""What cannot be made up: the URL of Tactium's database, where that is the way to it."""

CLUSTER = ("rabbitmq", "rabbitmq-2", "rabbitmq-3")

DEFINITIONS = Path("/deploy/rabbitmq/definitions.json")
SECRETS = Path("/secrets")
SERVICES = Path("/services")

_FOR_ONE = 0o400
_FOR_ALL = 0o444  # all who see the volume: each service has a user id of its own


def main(arguments: Sequence[str]) -> int:
    """Do what was asked for; return the process's exit status, 0 or 2."""
    match arguments:
        case []:
            hand_out(kept(SECRETS))
        case ["show", name] if name in NAMES or ((SECRETS / name).is_file() and name in GIVEN):
            sys.stdout.write(f"{kept(SECRETS)[name]}\n")
        case ["set", name] if name in NAMES + GIVEN and (secret := sys.stdin.read().strip()):
            write(SECRETS / name, secret, _FOR_ONE)
            hand_out(kept(SECRETS))
        case _:
            names = ", ".join(NAMES + GIVEN)
            sys.stderr.write(f"show NAME, or set NAME < FILE; NAME is one of {names}\n")
            return 2
    return 0


def kept(folder: Path) -> dict[str, str]:
    """Return all secrets, by name; those not in the folder yet are made up and put there."""
    for name in NAMES:
        if not (folder / name).exists():
            write(folder / name, token_urlsafe(32), _FOR_ONE)
    given = [name for name in GIVEN if (folder / name).exists()]
    return {name: (folder / name).read_text() for name in [*NAMES, *given]}


def hand_out(secrets: Mapping[str, str]) -> None:
    """Write what each service reads."""
    urls = {
        f"{user}/BRIDGE_AMQP__URL": urls_of(user, secrets[user])
        for user in ("bridge", "subscriber", "commander")
    }
    if "database_url" in secrets:
        urls["bridge/BRIDGE_LINK__DATABASE_URL"] = secrets["database_url"]
    definitions = with_passwords(json.loads(DEFINITIONS.read_text()), secrets)
    for place, text in {
        **urls,
        "bridge/BRIDGE_HTTP__TOKEN": secrets["http_token"],
        "rabbitmq/erlang_cookie": secrets["erlang_cookie"],
        "rabbitmq/definitions.json": json.dumps(definitions, indent=2),
        "prometheus/bridge_http_token": secrets["http_token"],
        "grafana/admin_password": secrets["grafana"],
    }.items():
        write(SERVICES / place, text, _FOR_ALL)


def urls_of(user: str, password: str) -> str:
    """Return the URL of each of RabbitMQ's nodes, with commas between them."""
    has_three = "ha" in os.environ.get("COMPOSE_PROFILES", "").split(",")
    return ",".join(
        f"amqp://{user}:{quote(password, safe='')}@{node}/"
        for node in (CLUSTER if has_three else CLUSTER[:1])
    )


def with_passwords(definitions: dict[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """Return the definitions with a password for each user, and with the user `operator`."""
    operator = {"name": "operator", "tags": "administrator"}
    everything = {"user": "operator", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
    return {
        **definitions,
        "users": [
            {**user, "password_hash": password_hash(secrets[user["name"]])}
            for user in [*definitions["users"], operator]
        ],
        "permissions": [*definitions["permissions"], everything],
    }


def password_hash(password: str) -> str:
    """Return what RabbitMQ keeps of a password: a salt, and both hashed (SHA-256), in Base64."""
    salt = token_bytes(4)
    return b64encode(salt + sha256(salt + password.encode()).digest()).decode()


def write(path: Path, text: str, mode: int) -> None:
    """Write a file as a whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.rename(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
