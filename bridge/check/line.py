"""One line of the check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How one thing is."""

    OK = "ok"
    WARNING = "warning"  # a bridge runs, but see to it
    FAILED = "failed"  # a bridge cannot do its work


@dataclass(frozen=True, slots=True)
class Line:
    """What was looked at, how it is, what was found, and what to do about it.

    `shows_a_bridge`: it was seen by this that a bridge runs already.
    """

    name: str
    verdict: Verdict
    found: str
    todo: str = ""
    shows_a_bridge: bool = False

    @classmethod
    def ok(cls, name: str, found: str, *, shows_a_bridge: bool = False) -> Line:
        """Say that something is as it should be."""
        return cls(name, Verdict.OK, found, shows_a_bridge=shows_a_bridge)

    @classmethod
    def warning(cls, name: str, found: str, todo: str) -> Line:
        """Say that something should be seen to."""
        return cls(name, Verdict.WARNING, found, todo)

    @classmethod
    def failed(cls, name: str, found: str, todo: str) -> Line:
        """Say that something keeps a bridge from its work."""
        return cls(name, Verdict.FAILED, found, todo)

    def __str__(self) -> str:
        todo = f"\n{'':9}→ {self.todo}" if self.todo else ""
        return f"{self.verdict:8} {self.name}: {self.found}{todo}"
