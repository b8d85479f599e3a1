"""What is noted of a command, so that it is not run twice: in the journal, and by standbys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bridge.messages.replies import SealedReply


@dataclass(frozen=True, slots=True)
class Begun:
    """A command whose bytes may have gone out from this moment on."""

    identity: bytes
    digest: bytes
    at: datetime
    frame: bytes


@dataclass(frozen=True, slots=True)
class ClearedUp:
    """A command that was begun, and of which it is known now whether Tactium took it."""

    identity: bytes
    at: datetime
    was_taken: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has its reply."""

    identity: bytes
    digest: bytes
    at: datetime
    reply: SealedReply


Lasting = Begun | Ended
"""What those who stand by are told too."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What another bridge has noted; `is_old` where it was made before that one was followed.

    An old one may come later than what was noted since, and says nothing against it.
    """

    note: Lasting
    is_old: bool


Note = Lasting | ClearedUp | Learned
