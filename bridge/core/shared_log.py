"""The command log of a bridge that leads: what it notes, those who stand by note too.

A command goes out only when they know of it, so that the one who takes over never
runs it a second time; and its reply only when they know that, so that it answers
the same. How it ended they hear when it is in this bridge's journal, and its trace
with it: one who answers what another one ended tells the audit trail nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from bridge.core.journal import CommandLog, Remembered
from bridge.core.leadership import Standbys
from bridge.core.notes import Begun, Ended
from bridge.messages.notices import CommandEnded
from bridge.messages.replies import SealedReply

PATIENCE_SECONDS = 2.0
"""How long an answer waits for the journal before they hear it, and then until they know it;
after that the requester goes first."""


class SharedLog:
    """A `CommandLog` that tells the `standbys` what it writes to the one of this bridge."""

    def __init__(self, log: CommandLog, standbys: Standbys) -> None:
        self._log = log
        self._standbys = standbys

    def __repr__(self) -> str:
        return f"<SharedLog: {self._log}>"

    @property
    def forgot_at(self) -> datetime | None:
        """Up to when commands may have been begun that are not remembered any more."""
        return self._log.forgot_at

    async def recall(self, identity: bytes) -> Remembered | None:
        """Return what is known of a command. Raises `JournalError`."""
        return await self._log.recall(identity)

    async def begin(
        self,
        identity: bytes,
        digest: bytes,
        frame: bytes,
        at: datetime,
        states: Mapping[str, bytes | None],
    ) -> None:
        """Note that a command's bytes go out; returns once that is kept, here and there."""
        note = Begun(identity, digest, at, frame)
        await asyncio.gather(
            self._log.begin(identity, digest, frame, at, states),
            self._standbys.tell(note, states),
        )

    async def end(
        self,
        trace: CommandEnded,
        at: datetime,
        *,
        identity: bytes | None,
        digest: bytes,
        reply: SealedReply,
    ) -> None:
        """Publish the trace of a command and note its reply; returns once that is kept.

        Raises `JournalError`; they are told all the same.
        """
        end = self._log.end(trace, at, identity=identity, digest=digest, reply=reply)
        if identity is None:
            return await end
        note = Ended(identity, digest, at, reply)
        if not self._standbys.are_there:  # nearly always, and it takes no task
            try:
                return await end
            finally:
                await self._tell(note)  # one may have come meanwhile
        keeping = asyncio.create_task(end)
        try:
            await asyncio.wait((keeping,), timeout=PATIENCE_SECONDS)
            await self._tell(note)
            await keeping
        finally:
            keeping.cancel()  # where whoever waits has given up; else it has ended

    async def _tell(self, note: Ended) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._standbys.tell(note, {})
