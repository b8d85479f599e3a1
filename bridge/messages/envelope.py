"""The envelope around every message: CloudEvents 1.0, its id and its routing key.

One message is sealed once, when it gets its number in the journal; from then on
its id and its body never change, however often it is sent (contract.md §2).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Literal
from urllib.parse import quote

import orjson

from bridge.messages.events import Event
from bridge.messages.notices import Gap, Notice

APP_ID = "tactium-bridge"
CONTENT_TYPE = "application/cloudevents+json"
SCHEMA_TAG = "tag:tactium-bridge,2026:schema/1"

LONGEST_WORD_BYTES = 180
"""An agent's word in a routing key, which AMQP limits to 255 bytes as a whole."""

Stream = Literal["events", "bridge"]
"""Which of the two exchanges: what Tactium said, or what the bridge says of itself."""

Occurrence = Event | Notice


@dataclass(frozen=True, slots=True)
class Sealed:
    """One message as it goes to the broker. `time` is when it was read, in UTC."""

    sequence: int
    stream: Stream
    routing_key: str
    id: str
    type: str
    time: datetime
    body: bytes


class Envelope:
    """Seals the messages of one site and one journal.

    `journal_id` names the journal in every id. `schema_base_url` is where the
    schemas are served, None for the `tag:` URIs.
    """

    def __init__(self, *, site: str, journal_id: str, schema_base_url: str | None = None) -> None:
        self._site = site
        self._site_word = agent_word(site)
        self._source = f"/tactium/{quote(site, safe='')}"
        self._journal_id = journal_id
        self._schema_base_url = schema_base_url.rstrip("/") if schema_base_url else None

    def seal(self, what: Occurrence, sequence: int, at: datetime) -> Sealed:
        """Give `what`, which happened `at` (aware, UTC), its number and its final form."""
        stream: Stream
        if isinstance(what, Event):
            stream, subject, schema = "events", what.agent, f"events/{what.type}"
            routing_key = f"{agent_word(what.agent)}.{what.topic}"
        else:
            stream, subject, schema = "bridge", self._site, f"bridge/{what.type}"
            routing_key = f"{self._site_word}.{what.type}"
        number = f"{sequence:020d}"
        message_id = f"{self._journal_id}-{number}"
        kind = f"tactium.{what.type}" if stream == "events" else f"tactium.bridge.{what.type}"
        body = orjson.dumps(
            {
                "specversion": "1.0",
                "id": message_id,
                "source": self._source,
                "type": kind,
                "subject": subject,
                "time": timestamp(at),
                "datacontenttype": "application/json",
                "dataschema": self._schema(schema),
                "sequence": number,
                "partitionkey": subject,
                "data": what.as_json() if isinstance(what, Gap) else what,
            }
        )
        return Sealed(sequence, stream, routing_key, message_id, kind, at, body)

    def _schema(self, path: str) -> str:
        if self._schema_base_url:
            return f"{self._schema_base_url}/{path}.json"
        return f"{SCHEMA_TAG}/{path.removeprefix('events/').replace('/', '.')}"


def timestamp(at: datetime) -> str:
    """Return `at` (aware) as the contract writes a time: RFC 3339, UTC, microseconds, Z."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=16_384)
def agent_word(agent: str) -> str:
    """Return an agent's one word in a routing key (contract.md §1).

    Every byte outside `A-Z a-z 0-9 - _ ~` is percent-encoded from UTF-8, so no
    login can add a word or look like a wildcard. A word over 180 bytes is cut
    to 163, never inside an escape, and a hash of the login stands behind it.
    """
    word = quote(agent, safe="").replace(".", "%2E")
    if len(word) <= LONGEST_WORD_BYTES:
        return word
    digest = sha256(agent.encode()).hexdigest()[:16]
    kept = word[: LONGEST_WORD_BYTES - len(digest) - 1]
    escape = kept.rfind("%", -2)
    return f"{kept[:escape] if escape >= 0 else kept}~{digest}"
