"""A hundred thousand agents: what they cost in memory, at each event, and at a restart."""

from __future__ import annotations

import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from bridge.core.calls import Calls
from bridge.journal.commands import Memory
from bridge.journal.store import News, Store
from bridge.messages.envelope import Envelope
from bridge.settings import JournalSettings
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import reread, understand
from tests.faults.conftest import Ledger
from tests.faults.test_faults import SOAK

MANY, FEW = 100_000 if SOAK else 10_000, 100
MOST_BYTES = 1024
EVENTS = 50_000
START = datetime(2026, 11, 24, 12, tzinfo=UTC)
ENVELOPE = Envelope(site="main", journal_id="J")


def new_calls() -> Calls:
    ids = count(10**9)
    return Calls(lambda: f"01JD7M2Q8Z5V00000{next(ids)}", reread)


def frames_of(agents: int, number: int) -> bytes:
    """Return what is said of one agent: a call that ended, a status, and a call that goes on."""
    agent, phone = f"agent{number % agents:06}", f"4005{number % 10_000:04}"
    said = (
        f"<{agent}><A><{number}><0><9988><0><{phone}><><><dialer.ItemID={number};>$",
        f"<{agent}><EndCall>$",
        f"<{agent}><S><3>$",
        f"<{agent}><R><0><85><{phone}><0><3001><---><>$",
    )
    return "".join(said).encode()


def hear(calls: Calls, data: bytes) -> int:
    """Take all of it, as the bridge does, up to the sealed messages; return how many those are."""
    sealed = 0
    for piece in Decoder().feed(data):
        assert isinstance(piece, Frame)
        for event in calls.hear(understand(piece), START):
            ENVELOPE.seal(event, 1, START)
            sealed += 1
    calls.take_changes()
    return sealed


def populated(agents: int) -> Calls:
    calls = new_calls()
    calls.reconnected()
    for number in range(agents):
        hear(calls, frames_of(agents, number))
    return calls


def microseconds_an_event(calls: Calls, agents: int) -> float:
    data = [frames_of(agents, number * 7919) for number in range(EVENTS // 4)]
    begin = time.perf_counter()
    events = sum(hear(calls, each) for each in data)
    return (time.perf_counter() - begin) / events * 1e6


def test_many_agents(tmp_path: Path, ledger: Ledger) -> None:
    """Each agent, in a call and after one, takes less than a kilobyte."""
    tracemalloc.start()
    many = populated(MANY)
    each = tracemalloc.get_traced_memory()[0] / MANY
    tracemalloc.stop()
    few = populated(FEW)
    ratios = [microseconds_an_event(many, MANY) / microseconds_an_event(few, FEW) for _ in range(3)]
    path = JournalSettings(path=tmp_path / "bridge.db").path
    memory = Memory(timedelta(days=1), 1_000)
    store = Store(path, "process", "J", memory)
    many.change_all()
    store.commit(News([], agents=many.take_changes()), store.state, 1 << 62)
    store.close()
    begin = time.perf_counter()
    store = Store(path, "process", "J", memory)
    again = new_calls()
    again.restore(store.agents())
    seconds = time.perf_counter() - begin
    store.close()
    ledger.remark(
        f"{MANY:,} of them: {each:.0f} bytes each, an event costs {sorted(ratios)[1]:.2f} times "
        f"that with {FEW}, restored in {seconds:.1f} s"
    )
    assert each < MOST_BYTES
    assert list(again.known()) == list(many.known())
