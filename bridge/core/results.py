"""How a command can end, and the words for it: its reply and its trace; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bridge.core.ports import Delivery
from bridge.errors import Flaw
from bridge.messages.envelope import timestamp
from bridge.messages.events import AgentStatus, CallStarted, Event, FrameUnknown, Heard
from bridge.messages.notices import CommandEnded
from bridge.messages.replies import Failure, Outcome, Reply


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
    data: Any = None
    raw: str | None = None
    failure: Failure | None = None
    sent_at: datetime | None = None


def answered(outcome: Outcome, heard: Heard, published: Sequence[Event]) -> Result:
    """Return the result that a frame means.

    `published` is what became of the frame, so that the reply shows a call
    exactly as its event does.
    """
    match heard:
        case AgentStatus():
            return Result(outcome, {"code": heard.code, "status": heard.status}, heard.raw)
        case CallStarted():
            return Result(outcome, published[-1], heard.raw)
        case FrameUnknown():
            failure = Failure("rejected", "Tactium answered something else: see raw")
            return Result(outcome, None, heard.raw, failure)
    return Result(outcome, None, heard.raw)


def given_up(reason: str | None) -> Result | None:
    """Return how a command ended that the broker gave up for this reason, None for any other."""
    if reason is None:
        return None
    if reason == "delivery_limit":
        return uncertain("it was delivered too often, and may have been run")
    return expired("it waited in the queue past its deadline")


def invalid(flaws: Sequence[Flaw]) -> Result:
    """Return the end of a command that breaks the contract."""
    failure = Failure("invalid", "the command breaks the contract", tuple(flaws))
    return Result(Outcome.INVALID, failure=failure)


def expired(reason: str) -> Result:
    """Return the end of a command that was too late, and never sent."""
    return Result(Outcome.EXPIRED, failure=Failure("expired", reason))


def unavailable(reason: str) -> Result:
    """Return the end of a command that could not be sent in time."""
    return Result(Outcome.UNAVAILABLE, failure=Failure("unavailable", reason))


def timed_out(seconds: float, sent_at: datetime) -> Result:
    """Return the end of a command that Tactium did not answer."""
    failure = Failure("timeout", f"Tactium did not answer within {seconds:g} s")
    return Result(Outcome.TIMEOUT, failure=failure, sent_at=sent_at)


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


def audit_of(reply: Reply, delivery: Delivery, now: datetime) -> CommandEnded:
    """Return the trace of a command in the audit trail."""
    return CommandEnded(
        reply.id,
        reply.command,
        reply.agent,
        delivery.user,
        reply.outcome,
        reply.error,
        (now - delivery.received_at).total_seconds(),
        delivery.correlation_id,
        reply.context,
    )
