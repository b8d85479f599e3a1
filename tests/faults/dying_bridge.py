"""`tactium-bridge run`, killed by its own hand at one step: `python dying_bridge.py STEP`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from bridge.amqp.publisher import Publisher
from bridge.cli import main
from bridge.journal.durable import DurableJournal
from bridge.journal.store import Store

ROUNDS_BEFORE = 20
"""How often the step is passed unharmed, so that there is something to lose."""

passed = 0


def die() -> None:
    """Die as from `kill -9`, but not the first times."""
    global passed  # noqa: PLW0603 - a counter of this one process
    passed += 1
    if passed > ROUNDS_BEFORE:
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


def after_sending(*, confirmed: bool) -> None:
    """Die when a batch is on the wire, or when it is confirmed as well."""
    original = Publisher._send

    async def dying(self: Publisher, *arguments: Any) -> None:
        sending = asyncio.ensure_future(original(self, *arguments))
        await asyncio.wait((sending,), timeout=None if confirmed else 0.001)
        die()
        await sending

    setattr(Publisher, "_send", dying)  # noqa: B010 - replaced on purpose, as above


STEPS: dict[str, Callable[[], None]] = {
    "read, not in the journal": lambda: before(DurableJournal, "append"),
    "before the commit": lambda: before(Store, "commit"),
    "inside the transaction": lambda: before(Store, "_write"),
    "after the commit": lambda: after(Store, "commit"),
    "before publishing": lambda: before(Publisher, "_send"),
    "published, not confirmed": lambda: after_sending(confirmed=False),
    "confirmed, not settled": lambda: after_sending(confirmed=True),
    "settled, not written": lambda: after(DurableJournal, "settle"),
}

if __name__ == "__main__":
    STEPS[sys.argv.pop(1)]()
    sys.argv[1:] = ["run"]
    main()
