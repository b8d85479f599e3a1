"""The envelope around every message: CloudEvents 1.0, its id and its routing key.

One message is sealed once, when it gets its number in the journal; from then on
its id and its body never change, however often it is sent (contract.md §2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Literal
from urllib.parse import quote

import orjson

from bridge.messages.events import Event
from bridge.messages.notices import Gap, Notice
from bridge.messages.trace import Trace

APP_ID = "tactium-bridge"
CONTENT_TYPE = "application/cloudevents+json"
SCHEMA_TAG = "tag:tactium-bridge,2026:schema/1"
"""Where schemas are found that are served nowhere; the number is the version of the contract."""

LONGEST_WORD_BYTES = 180
"""An agent's word in a routing key, which AMQP limits to 255 bytes as a whole."""

_PLAIN = re.compile(r"[A-Za-z0-9_~-]{1,180}")

Stream = Literal["events", "bridge"]
"""Which of the two exchanges: what Tactium said, or what the bridge says of itself."""

Occurrence = Event | Notice


@dataclass(slots=True)
class Sealed:
    """One message as it goes to the broker; nobody changes it any more.

    `time` is when it was read, in UTC; `trace` that of the command that caused it.
    """

    sequence: int
    stream: Stream
    routing_key: str
    id: str
    type: str
    time: datetime
    body: bytes
    trace: Trace = None


@dataclass(frozen=True, slots=True)
class _Kind:
    """What all messages of one type have in common; the envelope's text between what differs."""

    stream: Stream
    type: str
    source: str
    schema: str


class Envelope:
    """Seals the messages of one site and one journal.

    `journal_id` names the journal in every id. `schema_base_url` is where the
    schemas are served, None for the `tag:` URIs.

    An envelope is hardly more than its data and differs little from the one before,
    so its text is put together: writing it as JSON would take twice as long.
    """

    def __init__(self, *, site: str, journal_id: str, schema_base_url: str | None = None) -> None:
        self._site = site
        self._source = f"/tactium/{quote(site, safe='')}"
        self._journal_id = journal_id
        self._schema_base_url = schema_base_url.rstrip("/") if schema_base_url else None
        self._kinds: dict[str, _Kind] = {}

    @property
    def source(self) -> str:
        """The `source` of all its messages: the site."""
        return self._source

    def seal(self, what: Occurrence, sequence: int, at: datetime, epoch: int = 0) -> Sealed:
        """Give `what`, which happened `at` (aware, UTC), its number and its final form.

        `epoch` is that of the leadership in which it did, 0 before there was any.
        """
        number = str(sequence).zfill(20)  # in half the time that a format takes
        message_id = f"{self._journal_id}-{number}"
        return self._seal(what, message_id, f'"sequence":"{number}",', sequence, at, epoch)

    def seal_loose(self, what: Occurrence, message_id: str, at: datetime, epoch: int) -> Sealed:
        """Give what goes through no journal its final form: it has an id, and no number."""
        return self._seal(what, message_id, "", 0, at, epoch)

    def _seal(
        self,
        what: Occurrence,
        message_id: str,
        number: str,
        sequence: int,
        at: datetime,
        epoch: int,
    ) -> Sealed:
        kind = self._kinds.get(what.type) or self._learn(what)
        if isinstance(what, Event):
            word, subject = _spelt(what.agent)
            routing_key = f"{word}.{what.topic}"
        else:
            word, subject = _spelt(self._site)
            routing_key = f"{word}.{what.type}"
        head = (
            f'{{"specversion":"1.0","id":"{message_id}",{kind.source},"subject":{subject},'
            f'"time":"{timestamp(at)}",{kind.schema},{number}'
            f'"partitionkey":{subject},"epoch":{epoch},"data":'
        )
        data = what.as_json() if isinstance(what, Gap) else what
        body = b"".join((head.encode(), orjson.dumps(data), b"}"))
        trace = getattr(what, "trace", None)
        return Sealed(sequence, kind.stream, routing_key, message_id, kind.type, at, body, trace)

    def _learn(self, what: Occurrence) -> _Kind:
        """Return what messages of a type have in common that was not met before."""
        stream: Stream = "events" if isinstance(what, Event) else "bridge"
        kind = f"tactium.{what.type}" if stream == "events" else f"tactium.bridge.{what.type}"
        source = {"source": self._source, "type": kind}
        schema = {
            "datacontenttype": "application/json",
            "dataschema": self._schema(f"{stream}/{what.type}"),
        }
        learned = _Kind(stream, kind, _members(source), _members(schema))
        self._kinds[what.type] = learned
        return learned

    def _schema(self, path: str) -> str:
        if self._schema_base_url:
            return f"{self._schema_base_url}/{path}.json"
        return schema_tag(path)


def schema_tag(path: str) -> str:
    """Return the name of the schema that lies under a path in `schemas/`, without its ending."""
    return f"{SCHEMA_TAG}/{path.removeprefix('events/').replace('/', '.')}"


def _members(of: dict[str, str]) -> str:
    """Return the members of a JSON object, without its braces."""
    return orjson.dumps(of).decode()[1:-1]


@lru_cache(maxsize=16_384)
def _spelt(agent: str) -> tuple[str, str]:
    """Return an agent as its word in a routing key, and as JSON."""
    return agent_word(agent), orjson.dumps(agent).decode()


@lru_cache(maxsize=256)  # what one read brings has one time
def timestamp(at: datetime) -> str:
    """Return `at` (aware) as the contract writes a time: RFC 3339, UTC, microseconds, Z."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def agent_word(agent: str) -> str:
    """Return an agent's one word in a routing key (contract.md §1).

    Every byte outside `A-Z a-z 0-9 - _ ~` is percent-encoded from UTF-8, so no
    login can add a word or look like a wildcard. A word over 180 bytes is cut
    to 163, never inside an escape, and a hash of the login stands behind it.
    """
    if _PLAIN.fullmatch(agent):
        return agent
    word = quote(agent, safe="").replace(".", "%2E")
    if len(word) <= LONGEST_WORD_BYTES:
        return word
    digest = sha256(agent.encode()).hexdigest()[:16]
    kept = word[: LONGEST_WORD_BYTES - len(digest) - 1]
    escape = kept.rfind("%", -2)
    return f"{kept[:escape] if escape >= 0 else kept}~{digest}"
