"""How a command ended, and the reply that says so (contract.md §5)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.errors import Flaw
from bridge.messages.privacy import GivenBack, RawFrame


class Outcome(StrEnum):
    """How a command ended."""

    OK = "ok"  # Tactium confirmed
    SENT = "sent"  # written; the protocol promises no answer (make_call only)
    REJECTED = "rejected"  # Tactium answered something else
    TIMEOUT = "timeout"  # no answer in time, the link being up
    UNCERTAIN = "uncertain"  # the bridge or the link died in the middle: it may have run
    EXPIRED = "expired"  # older than its deadline; never sent
    UNAVAILABLE = "unavailable"  # the link stayed down until the deadline; never sent
    FORBIDDEN = "forbidden"  # policy does not let this user do this; never sent
    INVALID = "invalid"  # malformed; never sent

    @property
    def buried(self) -> bool:
        """Whether the command is kept among the dead ones, as it came."""
        return self in (Outcome.INVALID, Outcome.FORBIDDEN, Outcome.EXPIRED)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command did not end well: `error` in its reply."""

    code: str
    message: str
    details: tuple[Flaw, ...] = ()


@dataclass(slots=True)
class Reply:
    """The one answer to a command; the keys of its JSON, in order."""

    id: str
    command: str | None
    agent: str | None
    outcome: Outcome
    data: Any
    error: Failure | None
    raw: RawFrame | None
    received_at: str
    sent_at: str | None
    replied_at: str
    context: GivenBack


@dataclass(frozen=True, slots=True)
class SealedReply:
    """A reply in its final form: whoever asks again gets the same bytes.

    `reason` says in a line why the command was not run, where it was not.
    """

    id: str
    outcome: Outcome
    reason: str
    body: bytes
