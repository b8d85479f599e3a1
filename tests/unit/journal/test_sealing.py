"""What entries come to."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from bridge.core.notes import ClearedUp
from bridge.journal.rows import RowsRead
from bridge.journal.sealing import news_of
from bridge.journal.waiting import Entry
from bridge.messages.envelope import Envelope
from bridge.messages.notices import LinkUp

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
ENVELOPE = Envelope(site="recife", journal_id="J")


def test_all_entries_are_numbered_in_order_and_what_is_latest_holds() -> None:
    """The state of an agent and the rows that were read: an entry without any changes neither."""
    up = [LinkUp("socket", "peer", str(number)) for number in range(4)]
    first, last = RowsRead({"1": "a"}), RowsRead({"2": "b"})
    note = ClearedUp(b"c", AT, was_taken=True)
    entries = [
        Entry(AT, deque(up[:1]), {"ana": b"1", "rui": b"1"}, rows=first),
        Entry(AT, note=note),
        Entry(AT, deque(up[1:3]), {"ana": None}, rows=last),
        Entry(AT, deque(up[3:])),
    ]
    news = news_of(entries, ENVELOPE, 41, 7)
    assert [each.sequence for each in news.messages] == [41, 42, 43, 44]
    assert [b'"reason":"%d"' % n in each.body for n, each in enumerate(news.messages)] == [True] * 4
    assert all(b'"epoch":7' in each.body for each in news.messages)
    assert news.notes == [note]
    assert news.agents == {"ana": None, "rui": b"1"}
    assert news.rows is last
    assert news_of([], ENVELOPE, 41, 7).rows is None
