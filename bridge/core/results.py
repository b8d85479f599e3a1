"""How a command can end, and the words for it: its reply and its trace; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from bridge.core.ports import Delivery
from bridge.errors import Flaw
from bridge.messages.envelope import timestamp
from bridge.messages.events import (
    BUSY,
    AgentStatus,
    CallData,
    CallStarted,
    Event,
    FrameUnknown,
    Heard,
)
from bridge.messages.notices import CommandEnded
from bridge.messages.privacy import without_phones
from bridge.messages.replies import Failure, Outcome, Reply, ReplyData, SealedReply, StatusData
from bridge.messages.trace import trace_text

DELIVERY_LIMIT = "delivery_limit"
"""The broker's word for a command that came back undone too often."""


@dataclass(frozen=True, slots=True)
class Request:
    """What every reply repeats of its command."""

    id: str
    command: str | None
    agent: str | None
    context: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and when it went out if it did."""

    outcome: Outcome
    data: ReplyData = None
    raw: str | None = None
    failure: Failure | None = None
    sent_at: datetime | None = None

    @property
    def is_busy(self) -> bool:
        """Whether it says that the agent is in a call."""
        return isinstance(self.data, StatusData) and self.data.code == BUSY


def answered(outcome: Outcome, heard: Heard, published: Sequence[Event]) -> Result:
    """Return the result that a frame means.

    `published` is what became of the frame, so that the reply shows a call
    exactly as its event does.
    """
    match heard:
        case AgentStatus():
            return Result(outcome, StatusData(heard.code, heard.status), heard.raw)
        case CallStarted():
            call = published[-1]
            return Result(outcome, call if isinstance(call, CallData) else None, heard.raw)
        case FrameUnknown():
            failure = Failure("rejected", "Tactium answered something else: see raw")
            return Result(outcome, None, heard.raw, failure)
    return Result(outcome, None, heard.raw)


def given_up(reason: str | None) -> Result | None:
    """Return how a command ended that the broker gave up for this reason, None for any other."""
    if reason is None:
        return None
    if reason == DELIVERY_LIMIT:
        return uncertain("it was delivered too often, and may have been run")
    return expired("it waited in the queue past its deadline")


def invalid(flaws: Sequence[Flaw]) -> Result:
    """Return the end of a command that breaks the contract."""
    failure = Failure("invalid", "the command breaks the contract", tuple(flaws))
    return Result(Outcome.INVALID, failure=failure)


def forbidden(reason: str) -> Result:
    """Return the end of a command that its sender may not give."""
    return Result(Outcome.FORBIDDEN, failure=Failure("forbidden", reason))


def expired(reason: str) -> Result:
    """Return the end of a command that was too late, and never sent."""
    return Result(Outcome.EXPIRED, failure=Failure("expired", reason))


def unavailable(reason: str) -> Result:
    """Return the end of a command that could not be sent in time."""
    return Result(Outcome.UNAVAILABLE, failure=Failure("unavailable", reason))


def timed_out(seconds: float) -> Result:
    """Return the end of a command that Tactium did not answer."""
    failure = Failure("timeout", f"Tactium did not answer within {seconds:g} s")
    return Result(Outcome.TIMEOUT, failure=failure)


def uncertain(reason: str, sent_at: datetime | None = None) -> Result:
    """Return the end of a command that may have run."""
    failure = Failure("uncertain", f"{reason}; it is not run again")
    return Result(Outcome.UNCERTAIN, failure=failure, sent_at=sent_at)


def reply_of(request: Request, result: Result, delivery: Delivery, now: datetime) -> Reply:
    """Return the reply, written `now`, to a request delivered so."""
    return Reply(
        request.id,
        request.command,
        request.agent,
        result.outcome,
        result.data,
        result.failure,
        result.raw,
        timestamp(delivery.received_at),
        timestamp(result.sent_at) if result.sent_at else None,
        timestamp(now),
        request.context,
    )


def seal(reply: Reply) -> SealedReply:
    """Return a reply as it goes out, now and whenever it is asked for again."""
    error = reply.error
    reason = error.message if error else ""
    if error and error.details:
        reason = "; ".join(f"{flaw.field}: {flaw.reason}" for flaw in error.details)
    return SealedReply(reply.id, reply.outcome, reason, orjson.dumps(reply))


def trace_of(reply: Reply, delivery: Delivery, now: datetime, *, mask: bool) -> CommandEnded:
    """Return the trace of a command in the audit trail; `mask` keeps phone numbers out of it."""
    command, agent, context, error = reply.command, reply.agent, reply.context, reply.error
    if mask:
        command, agent = without_phones(command), without_phones(agent)
        context = without_phones(context)
    if mask and error is not None:
        details = [Flaw(*map(without_phones, astuple(flaw))) for flaw in error.details]
        error = replace(error, details=tuple(details))
    return CommandEnded(
        reply.id,
        command,
        agent,
        delivery.user,
        reply.outcome,
        error,
        (now - delivery.received_at).total_seconds(),
        delivery.correlation_id,
        context,
        _trace=trace_text(delivery.trace),
    )
