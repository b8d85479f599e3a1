"""Who may command whom (contract.md §6), and where a reply may go (§5); pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import translate

from bridge.settings import PolicyRule

ANONYMOUS = "anonymous"
"""Who sends a message without a `user_id`."""

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to."


@dataclass(frozen=True, slots=True)
class _Rule:
    users: re.Pattern[str]
    commands: re.Pattern[str]
    agents: re.Pattern[str]
    covers_all_agents: bool
    allow: bool


class Policy:
    """Ordered rules of which the first that matches decides; none matches: refused.

    No rules at all let everybody do everything whom RabbitMQ lets publish.
    """

    def __init__(self, rules: Sequence[PolicyRule]) -> None:
        self._rules = [
            _Rule(
                _any_of([rule.user]),
                _any_of(rule.commands),
                _any_of([pattern.casefold() for pattern in rule.agents]),
                "*" in rule.agents,
                rule.allow,
            )
            for rule in rules
        ]

    def __repr__(self) -> str:
        return f"<Policy: {len(self._rules)} rules>"

    def allows(self, user: str | None, command: str, agent: str | None) -> bool:
        """Return whether `user` may give this command for this agent (the canonical login).

        Without an agent, whether there may be one for whom it is allowed.
        """
        if not self._rules:
            return True
        for rule in self._rules:
            if not rule.users.match(user or ANONYMOUS) or not rule.commands.match(command):
                continue
            if agent is None:
                if rule.allow or rule.covers_all_agents:
                    return rule.allow
            elif rule.agents.match(agent):
                return rule.allow
        return False


class ReplyQueues:
    """The queues that a reply may go to.

    `pattern` is a glob, None for any; `own` are globs too: of the bridge's
    own, which no reply may reach.
    """

    def __init__(self, pattern: str | None, own: Collection[str]) -> None:
        self._pattern = _any_of([pattern or "*"])
        self._own = _any_of(sorted(own))

    def allow(self, reply_to: str) -> bool:
        """Return whether a reply may be sent there; direct reply-to always may."""
        if reply_to.startswith(DIRECT_REPLY_TO):
            return True
        return not self._own.match(reply_to) and bool(self._pattern.match(reply_to))


def _any_of(globs: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{translate(glob)})" for glob in globs) or r"(?!)")
