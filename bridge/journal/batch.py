"""Messages as the file has them: those of one commit in one row, cut where that grows long.

Writing a row of its own for each would let go of Python's lock and take it again
for each, which costs several times what SQLite does in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import orjson

from bridge.errors import JournalCorrupt
from bridge.journal.sqlite import moment, number
from bridge.messages.envelope import Sealed

MOST_MESSAGES = 512
MOST_BYTES = 1024 * 1024
"""Bodies in one row, unless one alone is larger."""


class Row(NamedTuple):
    """One row of the table `batches`; `size` is that of all bodies."""

    last: int
    messages: int
    size: int
    heads: bytes
    bodies: bytes


def rows(messages: Sequence[Sealed]) -> Iterator[Row]:
    """Yield the rows that keep these messages, whose numbers follow each other."""
    begin = size = 0
    for at, message in enumerate(messages):
        is_full = at - begin >= MOST_MESSAGES or size + len(message.body) > MOST_BYTES
        if is_full and at > begin:
            yield _row(messages[begin:at], size)
            begin, size = at, 0
        size += len(message.body)
    if size:
        yield _row(messages[begin:], size)


def messages(row: Row) -> list[Sealed]:
    """Return the messages that a row keeps. Raises `JournalCorrupt` where it is damaged."""
    first = row.last - row.messages + 1
    try:
        return [
            Sealed(sequence, stream, key, message_id, kind, moment(time), body, trace)
            for sequence, (stream, key, message_id, kind, time, trace), body in zip(
                range(first, row.last + 1),
                orjson.loads(row.heads),
                row.bodies.split(b"\n"),
                strict=True,
            )
        ]
    except (ValueError, TypeError, OverflowError) as error:  # SQLite checks no page
        raise JournalCorrupt(f"messages up to {row.last} are damaged: {error}") from None


def _row(messages: Sequence[Sealed], size: int) -> Row:
    heads = orjson.dumps(
        [(m.stream, m.routing_key, m.id, m.type, number(m.time), m.trace) for m in messages]
    )
    bodies = b"\n".join([message.body for message in messages])  # JSON on one line, each
    return Row(messages[-1].sequence, len(messages), size, heads, bodies)
