"""The link over Tactium's database (§2.2).

A row of T_TTO is deleted only when its event is in the journal, with the row's
number: whatever dies in between, it is known when it is met again. A row stays
known for as long as it is there and no longer, for a database may give its number
again, and may show a lower one later than a higher one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import count
from typing import Any

import structlog

from bridge.core.journal import RowLog
from bridge.core.ports import Clock, Ear, Observer
from bridge.errors import JournalError, LinkDown, LinkError, LinkHeld, LinkSilent, SettingsError
from bridge.links.engine import open_engine
from bridge.links.presence import IN_DOUBT, MaySpeak, Presence
from bridge.links.tables import Names, Row, Tables
from bridge.messages.commands import WireCommand
from bridge.settings import LinkSettings
from bridge.wire.frame import Decoder, Frame, Malformed
from bridge.wire.grammar import Speller, told

log = structlog.get_logger(__name__)

TRANSPORT = "database"
TODO = "see that the database runs, and that link.database_url is right; `check` says more"

_NOT_DELETED = "each row needs a number of its own; see what else uses the table"

ROWS = 500
"""Rows that are read, journaled and deleted together."""

PORTION_BYTES = 1024 * 1024

FROM_THE_START = 20
"""After how many of them it is looked for lower numbers too, which may be shown late.

In between it goes on from the last: a database passes slowly over what was deleted.
"""

SLOWER = 1.1
"""How much longer it waits after each look at an empty table."""

YIELD_SECONDS = 10.0
"""How long tables have to be without a reader until a bridge that found one takes over.

It is there by mistake, and the other may only be starting again.
"""


def open_tables(settings: LinkSettings) -> Tables:
    """Return Tactium's tables; nothing is connected yet.

    Raises `SettingsError` where the database's URL or driver will not do.
    """
    if settings.database_url is None:
        raise SettingsError("BRIDGE_LINK__DATABASE_URL: it is not given")
    return Tables(
        open_engine(settings.database_url.get_secret_value()),
        schema=settings.schema_name,
        inbound=Names(settings.tto_table, settings.tto_id, settings.tto_text),
        outbound=Names(settings.tti_table, settings.tti_id, settings.tti_text),
        aside=settings.malformed_table,
        gives_numbers=settings.tti_sequence == "bridge",
        connect_seconds=settings.connect_timeout_seconds,
    )


class DatabaseLink:
    """Reads one table and writes another, and connects again whenever that fails.

    Raises `SettingsError` where the database's URL or driver will not do.
    """

    def __init__(
        self,
        settings: LinkSettings,
        clock: Clock,
        observer: Observer,
        row_log: RowLog,
        may_speak: MaySpeak,
    ) -> None:
        self._may_speak = may_speak
        self._settings = settings
        self._clock = clock
        self._row_log = row_log
        self._speller = Speller(settings.encoding, settings.zone)
        self._tables = open_tables(settings)
        self._presence = Presence(TRANSPORT, self._tables.peer, TODO, clock, observer)
        self._written: set[bytes] = set()  # and neither answered nor taken back
        self._known: dict[str, str] = {}  # rows that are journaled, and may still be there
        self._is_first = True
        self._is_told = False  # that rows cannot be deleted
        self._broken: str | None = None
        self._wake = asyncio.Event()
        self._met_another_at: float | None = None

    def __repr__(self) -> str:
        return f"<DatabaseLink: {self._presence}, {len(self._written)} rows unanswered>"

    @property
    def keeps_answers(self) -> bool:
        """Whether an answer may come over the next connection: it waits in the table."""
        return True

    def spell(self, command: WireCommand) -> bytes:
        """Return the frame of a command. Raises `InvalidCommand`."""
        return self._speller.spell(command)

    async def send(self, frame: bytes) -> None:
        """Write one frame as a row.

        Raises `LinkDown` where nothing was written, `LinkRefused` where it never will be.
        """
        if not self._presence.is_up:
            raise LinkDown(f"no connection to Tactium's database at {self._presence.peer}")
        if not self._may_speak():
            raise LinkHeld(IN_DOUBT)
        self._written.add(frame)
        self._wake.set()
        try:
            await self._tables.write(self._text(frame))
        except LinkDown as error:  # it may be written all the same
            self.distrust(str(error))
        except LinkError:
            self._written.discard(frame)
            raise

    async def take_back(self, frame: bytes) -> bool | None:
        """Delete the row of a frame; return whether Tactium had not taken it yet.

        None where the database does not say: it is tried as soon as it is there again.
        """
        if not (self._presence.is_up and self._may_speak()):
            return None
        try:
            is_taken_back = await self._tables.take_back(self._text(frame))
        except LinkError as error:
            self.distrust(str(error))
            return None
        self._written.discard(frame)
        return is_taken_back

    def settle(self, frame: bytes) -> None:
        """Note that a frame was answered, so that there is nothing to take back."""
        self._written.discard(frame)

    def distrust(self, reason: str) -> None:
        """Give up the present connections, which are not what they seem, and make others."""
        self._broken = reason
        self._wake.set()

    async def run(self, ear: Ear) -> None:
        """Connect, read and connect again, until cancelled."""
        self._is_first = True  # since another bridge may have led meanwhile

        async def hold() -> None:
            async with self._tables.opened():
                self._check_alone(is_alone=await self._tables.keep_others_out())
                async with self._presence.until_lost(ear):
                    await self._clear_up()
                    self._broken = None
                    await self._presence.come_up(ear, "both tables can be read", is_behind=True)
                    await self._read(ear)

        await self._presence.keep(hold)

    def _check_alone(self, *, is_alone: bool | None) -> None:
        """Raise `LinkDown` where another bridge reads the tables, or did a moment ago."""
        now = asyncio.get_running_loop().time()
        if is_alone is None and self._is_first:
            log.warning("tables_unguarded", todo="see that no second bridge reads these tables")
        if is_alone is False:
            self._met_another_at = now
            raise LinkDown("another bridge reads these tables already: stop one of the two")
        if self._met_another_at is not None and now < self._met_another_at + YIELD_SECONDS:
            raise LinkDown("another bridge read these tables a moment ago, and may come back")
        self._met_another_at = None

    async def _clear_up(self) -> None:
        """Take back what was written and is not waited for; know again what was journaled."""
        if self._is_first:
            await self._clear_up_commands()
        for frame in list(self._written):
            await self._tables.take_back(self._text(frame))
            self._written.discard(frame)
        self._known = dict(self._row_log.rows())
        self._is_first = False

    async def _clear_up_commands(self) -> None:
        """Take back what an earlier bridge wrote and had no answer to."""
        try:
            for identity, frame in await self._row_log.uncertain():
                is_back = await self._tables.take_back(self._text(frame))
                await self._row_log.clear_up(identity, was_taken=not is_back)
        except JournalError as error:
            raise LinkDown(f"the journal cannot be read: {error}") from None

    async def _read(self, ear: Ear) -> None:
        """Hand over all that is there, and whatever comes; ends only by raising."""
        seconds = self._settings.poll_interval_seconds
        began_at, newest = self._clock(), await self._tables.newest()
        after: Any = None
        for number in count():
            self._wake.clear()
            if self._broken is not None:
                raise LinkSilent(self._broken)
            if number % FROM_THE_START == 0:
                after = None
            rows = await self._tables.read(ROWS, after=after)
            self._presence.heard_at = self._clock()
            is_all = after is None and len(rows) < ROWS
            after = rows[-1].id if len(rows) == ROWS else None
            if rows:
                for portion in _portions(rows):
                    await self._hand_over(portion, ear)
                seconds = self._settings.poll_interval_seconds
            if is_all:
                self._forget_but(rows)
            if after is not None:
                if newest is not None and after >= newest:  # all that was there at the beginning
                    newest = None
                    ear.on_caught_up(began_at)
                continue
            ear.on_caught_up(self._presence.heard_at)
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
                seconds = self._settings.poll_interval_seconds
            except TimeoutError:
                slow = max(self._settings.slow_poll_interval_seconds, seconds)
                seconds = min(seconds * SLOWER, slow)

    async def _hand_over(self, rows: Sequence[Row], ear: Ear) -> None:
        """Have those rows journaled that are not yet, then delete all of them."""
        digests = {str(row.id): _digest(row) for row in rows}
        pieces = [self._piece(row) for row in rows]
        said = [
            told(piece)
            for row, piece in zip(rows, pieces, strict=True)
            if self._known.get(str(row.id)) != digests[str(row.id)]
        ]
        known = self._known | digests
        if said:
            try:
                await ear.on_heard(said, self._presence.heard_at, rows=known)
            except JournalError as error:
                raise LinkDown(f"the journal takes nothing: {error}; the rows wait") from None
        self._known = known
        ids = [row.id for row in rows]
        odd = [row.id for row, piece in zip(rows, pieces, strict=True) if not _is_frame(piece)]
        left = await self._tables.delete(ids, odd)
        for row in rows:
            self._known.pop(str(row.id), None)  # of two with the same number
        self._known |= {str(row.id): _digest(row) for row in left}
        if left and not self._is_told:
            log.error("rows_not_deleted", rows=len(left), todo=_NOT_DELETED)
        self._is_told = bool(left)

    def _forget_but(self, rows: Sequence[Row]) -> None:
        """Forget, all rows having been seen, those that are not among them any more."""
        there = {str(row.id) for row in rows}
        self._known = {key: digest for key, digest in self._known.items() if key in there}
        if not self._known:
            self._row_log.forget_rows()

    def _piece(self, row: Row) -> Frame | Malformed:
        """Return the one frame that a row is; its `$` may be missing."""
        raw, most = _raw(row), self._settings.max_frame_bytes
        if len(raw) > most:
            return Malformed(f"the row is over {most} bytes: these are its first", raw[:most])
        whole = raw.strip()
        whole += b"$" if whole.endswith(b">") else b""
        decoder = Decoder(self._settings.max_frame_bytes)
        pieces = [*decoder.feed(whole), *decoder.finish()]
        if len(pieces) == 1 and (isinstance(pieces[0], Frame) or pieces[0].raw == whole):
            return pieces[0]
        return Malformed("the row is not one frame", raw)

    def _text(self, frame: bytes) -> str:
        return frame.decode(self._settings.encoding, "replace")


def _is_frame(piece: Frame | Malformed) -> bool:
    return isinstance(piece, Frame)


def _digest(row: Row) -> str:
    """Return what tells a row from another that gets its number later."""
    return sha256(_raw(row)).hexdigest()[:16]


def _raw(row: Row) -> bytes:
    """Return the bytes of a row's text, whatever the column holds."""
    match row.text:
        case None:
            return b""
        case bytes():
            return row.text
    return str(row.text).encode("utf-8", "surrogatepass")


def _portions(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Cut rows into portions that are journaled at once: few, where they are large."""
    portion: list[Row] = []
    size = 0
    for row in rows:
        size += len(_raw(row))
        if portion and size > PORTION_BYTES:
            yield portion
            portion, size = [], len(_raw(row))
        portion.append(row)
    if portion:
        yield portion
