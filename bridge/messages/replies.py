"""How a command ended, and the reply that says so (contract.md §5)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bridge.errors import Flaw
from bridge.messages.events import CallData
from bridge.messages.fields import Agent, Moment, StatusCode, StatusName
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
    """Why a command did not end well."""

    code: str
    """The outcome, or what of it: for programs."""
    message: str
    """The same for people."""
    details: tuple[Flaw, ...] = ()
    """Each thing that is wrong with the command, where it is `invalid`."""


@dataclass(slots=True)
class StatusData:
    """What `get_status` is answered."""

    code: StatusCode
    status: StatusName


@dataclass(slots=True)
class AgentData:
    """An agent, as the bridge knows it."""

    agent: Agent
    code: StatusCode | None
    status: StatusName | None
    since: Moment | None
    """Since when the status holds."""
    call: CallData | None
    """The call that the agent is in: the data of its `call.started`."""


@dataclass(slots=True)
class AgentsData:
    """What `get_agents` is answered: every agent that Tactium has named, or the one asked for."""

    agents: list[AgentData]
    """One for each agent."""


ReplyData = CallData | StatusData | AgentsData | None
"""What a command was answered; null where there is nothing to say, or it did not end well."""


@dataclass(slots=True)
class Reply:
    """The one answer to a command; the keys of its JSON, in order.

    What stands below a field describes it in `schemas/`.
    """

    id: str
    """The command's `message_id`, else one that the bridge gave."""
    command: str | None
    """What the command is called; null where that cannot be read."""
    agent: str | None
    """For whom it was, as the requester spelt it; null where that cannot be read."""
    outcome: Outcome
    """How it ended."""
    data: ReplyData
    """What Tactium or the bridge answered; null where there is nothing to say."""
    error: Failure | None
    """Why it did not end well; null where it did."""
    raw: RawFrame | None
    received_at: Moment
    """When the bridge got the command."""
    sent_at: Moment | None
    """When it went to Tactium; null where it did not."""
    replied_at: Moment
    """When it was answered."""
    context: GivenBack

    @property
    def ok(self) -> bool:
        """Whether it went well: Tactium confirmed it, or it was written and has no answer."""
        return self.outcome in (Outcome.OK, Outcome.SENT)


@dataclass(frozen=True, slots=True)
class SealedReply:
    """A reply in its final form: whoever asks again gets the same bytes.

    `reason` says in a line why the command was not run, where it was not.
    """

    id: str
    outcome: Outcome
    reason: str
    body: bytes
