"""One example of every message, made as the bridge makes them.

The frames are those of a call of the manual, so what is shown is what a site sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson

from bridge.core.calls import Calls
from bridge.messages.envelope import Envelope, Occurrence, timestamp
from bridge.messages.events import CallCurrent, CallStarted
from bridge.messages.notices import (
    CommandEnded,
    FrameMalformed,
    Gap,
    Heartbeat,
    LeaderGained,
    LeaderLost,
    LinkDown,
    LinkUp,
    ReplyLate,
    Resync,
)
from bridge.messages.replies import Failure, Outcome, Reply, StatusData
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import reread, understand

JOURNAL_ID = "01JD7M2Q8Z5VHJ4T1R6W9K3XNB"
_EPOCH = 7
_INSTANCE = "bridge-a-5H8J2K"
_CALL_ID = "01JD7M3A1B2C3D4E5F6G7H8J9K"
_MOMENT = datetime(2026, 11, 22, 12, 0, 0, 123_456, UTC)
_STEP = timedelta(seconds=7, microseconds=1_250)

_FRAMES = (
    b"<jose><A><15068><0><9988><85><40050500><Cobranca><rec-15068>"
    b"<dialer.CampaignName=Cobranca;dialer.ExternalID=15068>$"
    b"<jose><G></gravacoes/2026/11/22/15068.wav>$"
    b"<jose><S><3>$"
    b"<jose><EndCall>$"
    b"<jose><NEW><1>$"
)

COMMANDS: dict[str, dict[str, Any]] = {
    "logon": {},
    "logoff": {},
    "pause": {"code": "1"},
    "resume": {},
    "end_wrap_up": {},
    "get_status": {},
    "schedule_callback": {"at": "2026-12-01T15:00", "phone": "40050500"},
    "set_disposition": {"disposition": "answering_machine"},
    "make_call": {"area_code": "85", "phone": "40050500", "context": {"order": "A-77"}},
    "hang_up": {},
    "get_current_call": {},
    "get_agents": {},
}
"""What each command has beside its name and its agent."""


def command(name: str) -> dict[str, Any]:
    """Return an example of a command."""
    return {"command": name, "agent": "jose", **COMMANDS[name]}


def messages() -> list[dict[str, Any]]:
    """Return an example of every message on the two exchanges, in one order of events."""
    envelope = Envelope(site="main", journal_id=JOURNAL_ID)
    sealed = [
        envelope.seal(each, number, _MOMENT + number * _STEP, _EPOCH)
        for number, each in enumerate([*_heard(), *_notices()], 42)
    ]
    beat = Heartbeat(_EPOCH, _INSTANCE, timestamp(_MOMENT))
    sealed.append(envelope.seal_loose(beat, "01JD7M5C9P", _MOMENT + _STEP, _EPOCH))
    return [orjson.loads(each.body) for each in sealed]


def replies() -> list[dict[str, Any]]:
    """Return examples of replies: one that went well, and one that was refused."""
    received, sent, replied = (timestamp(_MOMENT + count * _STEP / 1000) for count in (0, 1, 2))
    context = {"order": "A-77"}
    answered = Reply(
        *("01JD7M4X", "get_status", "jose", Outcome.OK, StatusData(1, "available"), None),
        *("<jose><S><1>$", received, sent, replied, context),
    )
    forbidden = Failure("forbidden", "the policy lets this user not give this command")
    refused = replace(
        answered, outcome=Outcome.FORBIDDEN, data=None, error=forbidden, raw=None, sent_at=None
    )
    return [orjson.loads(orjson.dumps(each)) for each in (answered, refused)]


def _heard() -> Iterator[Occurrence]:
    """Yield what becomes of the frames, and the call once more as a resync finds it."""
    calls = Calls(lambda: _CALL_ID, reread)
    decoder = Decoder()
    at = _MOMENT + 42 * _STEP
    for frame in cast("list[Frame]", decoder.feed(_FRAMES)):
        for event in calls.hear(understand(frame), at):
            yield event
            if isinstance(event, CallStarted):
                yield CallCurrent(**vars(event))
        at += _STEP


def _notices() -> Iterator[Occurrence]:
    begin, end = timestamp(_MOMENT), timestamp(_MOMENT + 3 * _STEP)
    peer = "tactium.example:34025"
    yield LinkDown("socket", peer, "Tactium closed the connection")
    yield LinkUp("socket", peer, "registered")
    yield Gap(begin, end, "link_down")
    yield Resync(12, 2, 0.84)
    yield LeaderGained(_EPOCH, _INSTANCE, "nobody else led")
    yield LeaderLost(_EPOCH, _INSTANCE, "it was stopped")
    malformed = b"<jose><EndCall$"
    yield FrameMalformed.of("a frame within a frame", malformed.decode(), malformed)
    yield ReplyLate("jose", "pause", "01JD7M4X", "<jose><OK>$")
    for outcome in Outcome:
        yield CommandEnded(
            *("01JD7M4X", "pause", "jose", "crm", outcome.value, _FAILURES.get(outcome)),
            *(0.012, "A-77", {"order": "A-77"}),
        )


_FAILURES = {
    outcome: Failure(outcome.value, message)
    for outcome, message in {
        Outcome.REJECTED: "Tactium answered something else: see raw",
        Outcome.TIMEOUT: "no answer within 5 s",
        Outcome.UNCERTAIN: "the link was lost before the answer: it may have run",
        Outcome.EXPIRED: "it waited in the queue past its deadline",
        Outcome.UNAVAILABLE: "the link stayed down until the deadline",
        Outcome.FORBIDDEN: "the policy lets this user not give this command",
        Outcome.INVALID: "the command breaks the contract",
    }.items()
}
