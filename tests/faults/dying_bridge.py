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
from bridge.links.database import DatabaseLink
from bridge.links.tables import Tables
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


def after_awaiting(name: str, *owners: type, at_once: bool = False) -> None:
    """Die when this method has done its work, or when it has only just begun to wait."""
    for owner in owners:
        _after_awaiting(name, owner, at_once=at_once)


def _after_awaiting(name: str, owner: type, *, at_once: bool) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    async def dying(*arguments: Any, **named: Any) -> Any:
        working = asyncio.ensure_future(original(*arguments, **named))
        await asyncio.wait((working,), timeout=0.001 if at_once else None)
        die()
        return working.result()

    setattr(owner, name, dying)


STEPS: dict[str, Callable[[], None]] = {
    "read, not in the journal": lambda: before(DurableJournal, "append"),
    "before the commit": lambda: before(Store, "commit"),
    "inside the transaction": lambda: before(Store, "_write"),
    "after the commit": lambda: after(Store, "commit"),
    "before publishing": lambda: before(_Flow, "_put"),
    "published, not confirmed": lambda: after_awaiting("_put", _Flow),
    "confirmed, not settled": lambda: before(DurableJournal, "settle"),
    "settled, not written": lambda: after(DurableJournal, "settle"),
}

ROW_STEPS: dict[str, Callable[[], None]] = {
    "rows read": lambda: after_awaiting("read", Tables),
    "handed over": lambda: before(DurableJournal, "append"),
    **{name: STEPS[name] for name in ("before the commit", "inside the transaction")},
    "after the commit": lambda: after(Store, "commit"),
    "not deleted": lambda: before(Tables, "delete"),
    "deleted": lambda: after_awaiting("delete", Tables),
    "forgotten": lambda: after(DurableJournal, "forget_rows"),
}

COMMAND_STEPS: dict[str, Callable[[], None]] = {
    "command delivered": lambda: before(DurableJournal, "recall"),
    "command looked up": lambda: after_awaiting("recall", DurableJournal),
    "command begun": lambda: after_awaiting("begin", DurableJournal),
    "command written": lambda: after_awaiting("send", TcpLink, DatabaseLink),
    "command answered": lambda: before(DurableJournal, "end"),
    "reply kept": lambda: after_awaiting("end", DurableJournal),
    "reply sent": lambda: after_awaiting("reply", Outbox, at_once=True),
    "reply confirmed": lambda: after_awaiting("reply", Outbox),
}

if __name__ == "__main__":
    step = sys.argv.pop(1)
    rounds_left = ROUNDS_BEFORE if step in STEPS | ROW_STEPS else 0
    (STEPS | ROW_STEPS | COMMAND_STEPS)[step]()
    sys.argv[1:] = ["run"]
    main()
