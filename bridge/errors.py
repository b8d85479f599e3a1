"""Everything that the bridge raises on purpose.

BridgeError
├── SettingsError          a setting is unknown or wrong; the start stops (exit 2)
├── InvalidCommand         a command that breaks the contract; answered `invalid`
├── InvalidEvent           a message on the bridge's exchanges that the bridge never says
├── NoReply                no reply came in time; the command may have run
├── LinkError
│   ├── LinkDown           nothing can be written to Tactium just now
│   │   └── LinkHeld       for it is not known yet whether another bridge leads
│   ├── LinkRefused        Tactium's database will not take this, now or later
│   └── LinkSilent         the peer accepts and says nothing; reconnect
├── BrokerError
│   ├── BrokerDown         RabbitMQ cannot be reached just now; try again
│   ├── Unconfirmed        one message was sent and not confirmed
│   │   └── NeverConfirmed  nor will it be: its queue takes nothing and says nothing
│   ├── BrokerRefused      RabbitMQ lets this user not in, or not do that
│   └── TopologyConflict   a queue or exchange exists with other arguments
├── JournalError
│   ├── JournalBusy        another bridge has the journal's file
│   ├── JournalCorrupt     the file is no journal any more
│   └── JournalUnwritable  the disk or the rights forbid it just now
├── ContractError          the schemas cannot be written
└── SandboxError           no private RabbitMQ node can be run on this machine

An exception of a library is translated at the edge where it arrives and goes
no further, so nobody above `links` or `amqp` catches a foreign one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class BridgeError(Exception):
    """The root: its message says what is wrong and, where one can, what to do."""


class SettingsError(BridgeError):
    """A setting is unknown or wrong."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong with a command."""

    field: str
    """The key of the command, or the property of its message; empty for the whole of it."""
    reason: str
    """What is wrong, and what would be right."""


class InvalidCommand(BridgeError):
    """A command that breaks the contract.

    `flaws` says which fields, and why; `command` and `agent` are what could be
    read of them all the same. Nothing of it reaches Tactium.
    """

    def __init__(
        self, flaws: Sequence[Flaw], *, command: str | None = None, agent: str | None = None
    ) -> None:
        self.flaws = tuple(flaws)
        self.command = command
        self.agent = agent
        super().__init__("; ".join(f"{flaw.field}: {flaw.reason}" for flaw in self.flaws))


class InvalidEvent(BridgeError):
    """A message on the bridge's exchanges that is no event of the bridge."""


class NoReply(BridgeError):
    """No reply came in time. The command may have run: ask again with the same id to know."""


class LinkError(BridgeError):
    """The connection to Tactium failed."""


class LinkDown(LinkError):
    """Nothing can be written to Tactium just now, and nothing was."""


class LinkHeld(LinkDown):
    """Nothing may be written until it is known whether another bridge leads."""


class LinkRefused(LinkError):
    """Tactium's database does not take what is written, and trying again will not help."""


class LinkSilent(LinkError):
    """The peer took the connection but does not speak; only a new one can help."""


class BrokerError(BridgeError):
    """RabbitMQ refused or failed."""


class BrokerDown(BrokerError):
    """RabbitMQ cannot be reached just now."""


class Unconfirmed(BrokerError):
    """One message was sent and not confirmed: the broker is away, or will not have it."""


class NeverConfirmed(Unconfirmed):
    """One message was sent, and its queue neither takes nor refuses it."""


class BrokerRefused(BrokerError):
    """RabbitMQ lets this user not in, or not do that."""


class TopologyConflict(BrokerError):
    """A queue or an exchange is there already, with other arguments."""


class JournalError(BridgeError):
    """The journal's file cannot be used."""


class JournalBusy(JournalError):
    """Another bridge has the journal's file."""


class JournalCorrupt(JournalError):
    """The file is no journal any more."""


class JournalUnwritable(JournalError):
    """The disk or the rights forbid it just now."""


class ContractError(BridgeError):
    """The schemas cannot be written where they should be."""


class SandboxError(BridgeError):
    """No private RabbitMQ node can be run on this machine."""
