"""`tactium-bridge run`, killed by its own hand at one step: `python dying_bridge.py STEP`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from bridge.amqp.outbox import Outbox
from bridge.amqp.publisher import _Flow
from bridge.cli import main
from bridge.journal.durable import DurableJournal
from bridge.journal.store import Store
from bridge.links.tcp import TcpLink

ROUNDS_BEFORE = 20
"""How often a step of the events' is passed unharmed, so that there is something to lose."""

rounds_left = 0


def die() -> None:
    """Die as from `kill -9`, but not the first times."""
    global rounds_left  # noqa: PLW0603 - a counter of this one process
    rounds_left -= 1
    if rounds_left < 0:
        os.kill(os.getpid(), signal.SIGKILL)


def before(owner: type, name: str) -> None:
    """Die before this method does anything."""
    original: Callable[..., Any] = getattr(owner, name)

    def dying(*arguments: Any, **named: Any) -> Any:
        die()
        return original(*arguments, **named)

    setattr(owner, name, dying)


def after(owner: type, name: str) -> None:
    """Die when this method has done its work."""
    original: Callable[..., Any] = getattr(owner, name)

    def dying(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        die()
        return result

    setattr(owner, name, dying)


def after_awaiting(owner: type, name: str, *, at_once: bool = False) -> None:
    """Die when this method has done its work, or when it has only just begun to wait."""
    original: Callable[..., Any] = getattr(owner, name)

    async def dying(*arguments: Any, **named: Any) -> None:
        working = asyncio.ensure_future(original(*arguments, **named))
        await asyncio.wait((working,), timeout=0.001 if at_once else None)
        die()

    setattr(owner, name, dying)


STEPS: dict[str, Callable[[], None]] = {
    "read, not in the journal": lambda: before(DurableJournal, "append"),
    "before the commit": lambda: before(Store, "commit"),
    "inside the transaction": lambda: before(Store, "_write"),
    "after the commit": lambda: after(Store, "commit"),
    "before publishing": lambda: before(_Flow, "_put"),
    "published, not confirmed": lambda: after_awaiting(_Flow, "_put"),
    "confirmed, not settled": lambda: before(DurableJournal, "settle"),
    "settled, not written": lambda: after(DurableJournal, "settle"),
}

COMMAND_STEPS: dict[str, Callable[[], None]] = {
    "command delivered": lambda: before(DurableJournal, "recall"),
    "command looked up": lambda: after_awaiting(DurableJournal, "recall"),
    "command begun": lambda: after_awaiting(DurableJournal, "begin"),
    "command written": lambda: after_awaiting(TcpLink, "send"),
    "command answered": lambda: before(DurableJournal, "end"),
    "reply kept": lambda: after_awaiting(DurableJournal, "end"),
    "reply sent": lambda: after_awaiting(Outbox, "reply", at_once=True),
    "reply confirmed": lambda: after_awaiting(Outbox, "reply"),
}

if __name__ == "__main__":
    step = sys.argv.pop(1)
    rounds_left = ROUNDS_BEFORE if step in STEPS else 0
    (STEPS | COMMAND_STEPS)[step]()
    sys.argv[1:] = ["run"]
    main()
