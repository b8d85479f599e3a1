"""Tactium's side of its two tables (§2.2): it writes T_TTO and does what T_TTI says."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice

import structlog
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text
from sqlalchemy.ext.asyncio import AsyncEngine

from bridge.backoff import delays
from bridge.errors import LinkError, LinkRefused
from bridge.links.engine import open_engine, translated
from bridge.links.tables import Names, Tables
from bridge.simulator.connection import Connection, Owner
from bridge.simulator.faults import Mischief
from bridge.wire.frame import Decoder, Frame, decode

log = structlog.get_logger()

TTO, TTI = Names("T_TTO", "IS_TTO", "DS_TTO"), Names("T_TTI", "IS_TTI", "DS_TTI")

LOOK_EVERY_SECONDS = 0.05
MOST_AT_ONCE = 1_000


class RowsConnection(Connection):
    """The one client that the tables are: it hears every agent, and asks for any.

    Tables that are not there are made.
    """

    def __init__(
        self, owner: Owner, mischief: Mischief, url: str, encoding: str, *, max_backlog_bytes: int
    ) -> None:
        super().__init__(owner, mischief, max_backlog_bytes=max_backlog_bytes)
        self.administrator = True
        self._encoding = encoding
        self._engine = open_engine(url)
        self._tables = Tables(self._engine, schema=None, inbound=TTI, outbound=TTO)
        self.peer = self._tables.peer
        self._cutter = Decoder()
        self._unwritten: deque[str] = deque()
        self._has_news = asyncio.Event()
        self._is_written = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether something can still be written: it waits where the database is away."""
        return True

    def write(self, data: bytes) -> None:
        """Have a row written for each frame, and for whatever stands between them."""
        for piece in [*self._cutter.feed(data), *self._cutter.finish()]:
            text = piece.raw if isinstance(piece, Frame) else decode(piece.raw)
            self._unwritten.append(text)
        self._is_written.clear()
        self._has_news.set()

    async def drained(self) -> None:
        """Wait until all rows are written."""
        await self._is_written.wait()

    def cut(self, reason: str) -> None:
        """Do nothing: tables cannot be cut off."""

    async def run(self) -> None:
        """Write and read, over as many connections as it takes, until cancelled."""
        waits = delays()
        while True:
            try:
                await make_tables(self._engine)
                async with self._tables.opened(), asyncio.TaskGroup() as group:
                    log.info("simulator_tables_open", peer=self.peer)
                    waits = delays()
                    group.create_task(self._write_on())
                    group.create_task(self._read_on())
            except* LinkError as errors:
                reason = str(errors.exceptions[0])
                log.warning(
                    "simulator_tables_away", reason=reason, todo="see that the database runs"
                )
            await asyncio.sleep(next(waits))

    async def _write_on(self) -> None:
        while True:
            self._has_news.clear()
            while self._unwritten:
                texts = list(islice(self._unwritten, MOST_AT_ONCE))
                await self._tables.write(*texts)
                for _ in texts:
                    self._unwritten.popleft()
            self._is_written.set()
            await self._has_news.wait()

    async def _read_on(self) -> None:
        while True:
            rows = await self._tables.read(MOST_AT_ONCE)
            for row in rows:
                text = row.text if isinstance(row.text, str) else decode(row.text or b"")
                self._take(text.encode(self._encoding, "replace"))
            if rows:
                await self._tables.delete([row.id for row in rows])
            else:
                await asyncio.sleep(LOOK_EVERY_SECONDS)


async def make_tables(engine: AsyncEngine) -> None:
    """Make the tables that are not there. Raises `LinkError`."""
    number = BigInteger().with_variant(Integer, "sqlite")  # elsewhere its numbers are no numbers
    known = MetaData()
    for names in (TTO, TTI):
        Table(
            names.table, known, Column(names.id, number, primary_key=True), Column(names.text, Text)
        )
    try:
        await _create(engine, known)
    except LinkRefused:  # somebody made them at the same moment
        await _create(engine, known)


async def _create(engine: AsyncEngine, known: MetaData) -> None:
    with translated():
        async with engine.begin() as connection:
            await connection.run_sync(known.create_all)
