"""Tactium's two tables (§2.2): rows read and deleted in one, written and taken back in the other.

    T_TTO   Tactium to us      IS_TTO its number    DS_TTO its text
    T_TTI   us to Tactium      IS_TTI its number    DS_TTI its text

Who reads a row deletes it. Names are found whatever their case.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    ColumnClause,
    ColumnElement,
    Connection,
    Dialect,
    Select,
    TableClause,
    column,
    delete,
    func,
    insert,
    inspect,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import TypeEngine

from bridge.backoff import delays
from bridge.errors import LinkDown, LinkError, LinkRefused
from bridge.links.engine import translated
from bridge.links.guard import Guard

_Done = TypeVar("_Done")

_SEQUENCE = text(
    "SELECT name, name IS NULL OR has_sequence_privilege(name, 'USAGE') "
    "FROM pg_get_serial_sequence(:table, :id) AS found(name)"
)

STATEMENT_SECONDS = 10.0
"""How long the database may take for a statement before it is given up."""

CLOSE_SECONDS = 1.0

IDLE_SECONDS = 20.0
"""A connection over which nothing was written for so long is looked at before it is used."""

TRIES = 4
"""How often something is tried that the database refuses, before it is given up."""

TRY_AGAIN_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Names:
    """What a table and its two columns are called."""

    table: str
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One message. `id` is as the database has it."""

    id: Any
    text: str | bytes | None


class Tables:
    """The two tables, over two connections: who reads waits for no writer.

    `inbound` is what is read and `outbound` what is written; `aside` is where rows
    go that are no message, None to delete them. `gives_numbers`: the next number of
    a row that is written is for us to find.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        schema: str | None,
        inbound: Names,
        outbound: Names,
        aside: str | None = None,
        gives_numbers: bool = False,
        connect_seconds: float = 5.0,
    ) -> None:
        self._engine = engine
        self._schema = schema
        self._names = (inbound, outbound)
        self._aside_name = aside
        self._gives_numbers = gives_numbers
        self._connect_seconds = connect_seconds
        self._guard = Guard()
        self._is_writing = asyncio.Lock()
        self._reading: AsyncConnection | None = None
        self._writing: AsyncConnection | None = None
        self._number = 0  # the last that we gave
        self._written_at = 0.0  # by the loop's clock
        self._inbound: _Found
        self._outbound: _Found
        self._aside: _Found | None = None

    @property
    def peer(self) -> str:
        """Where the database is, without who connects to it, and how."""
        url = self._engine.url
        return URL.create(
            url.get_backend_name(), host=url.host, port=url.port, database=url.database
        ).render_as_string()

    def __repr__(self) -> str:
        return f"<Tables: {'open' if self._reading else 'closed'}>"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connect, find the tables and see that all that will be done is allowed.

        Raises `LinkError`.
        """
        self._check_file()
        try:
            with translated():
                async with asyncio.timeout(self._connect_seconds):
                    self._reading = await self._engine.connect()
                    self._writing = await self._engine.connect()
                async with asyncio.timeout(STATEMENT_SECONDS):
                    await self._find()
            yield
        finally:
            await self._close()

    def _check_file(self) -> None:
        """Raise `LinkDown` where SQLite would begin a new file, in which nothing is."""
        url = self._engine.url
        path = url.database or ""
        is_file = url.get_backend_name() == "sqlite" and path[:5] not in ("", ":memo", "file:")
        if is_file and not Path(path).exists():
            raise LinkDown(f"there is no file {path}")

    async def keep_others_out(self) -> bool | None:
        """Keep other bridges from reading while these are open; return whether none does.

        None where that cannot be told. Raises `LinkError`.
        """
        async with self._transaction(self._reading) as connection:
            return await self._guard.enter(connection, self._inbound.full_name)

    async def newest(self) -> Any:
        """Return the highest number of a row that is there, None where none is."""
        question = select(func.max(self._inbound.id))

        async def ask() -> Any:
            async with self._transaction(self._reading) as connection:
                return await connection.scalar(question)

        return await _insist(ask)

    async def read(self, most: int, *, after: Any = None) -> list[Row]:
        """Return the rows with the lowest numbers, or the lowest behind one, in their order.

        Raises `LinkError`.
        """
        found = self._inbound
        rows = found.all() if after is None else found.all().where(found.id > after)
        return await _insist(partial(self._rows, rows.order_by(found.id).limit(most)))

    async def delete(self, ids: Sequence[Any], aside: Sequence[Any] = ()) -> list[Row]:
        """Delete rows that were read, and keep those `aside` elsewhere.

        Returns those that are there all the same. Raises `LinkError`.
        """
        if await _insist(partial(self._delete, ids, aside)) == len(ids):
            return []
        return await _insist(partial(self._rows, self._inbound.all().where(self._those(ids))))

    async def write(self, *texts: str) -> None:
        """Write rows, all of them or none.

        Raises `LinkRefused` where the database does not take them, `LinkDown` where it
        cannot be asked: it may have taken them then.
        """
        async with self._is_writing:
            await self._see_that_it_writes()
            await _insist(partial(self._write, texts))

    async def take_back(self, text: str) -> bool:
        """Delete a row that was written; return whether it was still there.

        One of the same text will do as well: Tactium then does what it says as often
        as it was written by others. Raises `LinkError`.
        """
        async with self._is_writing:
            return await _insist(partial(self._take_back, text))

    async def _delete(self, ids: Sequence[Any], aside: Sequence[Any]) -> int:
        inbound = self._inbound
        async with self._transaction(self._reading) as connection:
            if aside and self._aside is not None:
                moved = inbound.all().where(self._those(aside))
                columns = [self._aside.id, self._aside.text]
                await connection.execute(insert(self._aside.table).from_select(columns, moved))
            gone = await connection.execute(delete(inbound.table).where(self._those(ids)))
            return gone.rowcount

    def _those(self, ids: Sequence[Any]) -> ColumnElement[bool]:
        """Return what picks rows by their numbers; one may have none."""
        numbers = [each for each in ids if each is not None]
        picked = self._inbound.id.in_(numbers)
        return picked if len(numbers) == len(ids) else or_(picked, self._inbound.id.is_(None))

    async def _take_back(self, text: str) -> bool:
        outbound = self._outbound
        async with self._transaction(self._writing) as connection:
            rows = await connection.execute(outbound.all().order_by(outbound.id.desc()))
            latest = next((row for row in rows if str(row.text).rstrip() == text), None)
            if latest is None:
                return False
            same = outbound.id == latest.id if latest.id is not None else outbound.id.is_(None)
            gone = await connection.execute(delete(outbound.table).where(same))
            return gone.rowcount > 0

    async def _see_that_it_writes(self) -> None:
        """Connect anew where nothing was written for a while: servers end what is idle."""
        now = asyncio.get_running_loop().time()
        is_idle, self._written_at = now - self._written_at > IDLE_SECONDS, now
        if not is_idle or self._writing is None:
            return
        try:
            async with self._transaction(self._writing) as connection:
                await connection.execute(self._outbound.all().limit(1))
        except LinkError:
            await _let_go(self._writing)
            with translated():
                async with asyncio.timeout(self._connect_seconds):
                    self._writing = await self._engine.connect()

    async def _write(self, texts: Sequence[str]) -> None:
        """Write rows; numbers that we give are higher than all there are, and all we gave."""
        outbound = self._outbound
        rows: list[dict[str, Any]] = [{outbound.text.name: text} for text in texts]
        first = 0
        async with self._transaction(self._writing) as connection:
            if self._gives_numbers:
                highest = await connection.scalar(select(func.max(outbound.id)))
                first = max(self._number, int(highest or 0)) + 1
                for number, row in enumerate(rows, first):
                    row[outbound.id.name] = number
            await connection.execute(insert(outbound.table), rows)
        if self._gives_numbers:
            self._number = first + len(rows) - 1

    async def _find(self) -> None:
        """Find the tables, and see that all is allowed that will be done, by doing nothing."""
        reading, writing = self._reading, self._writing
        if reading is None or writing is None:
            raise LinkDown("there is no connection to the database")
        inbound, outbound = self._names
        self._inbound = await reading.run_sync(_found, inbound, self._schema)
        self._outbound = await reading.run_sync(_found, outbound, self._schema)
        if self._aside_name is not None:
            names = Names(self._aside_name, inbound.id, inbound.text)
            self._aside = await reading.run_sync(_found, names, self._schema)
        for each in filter(None, (self._inbound, self._outbound, self._aside)):
            await reading.execute(each.all().limit(1))
        nothing = text("1 = 0")
        is_mysql = reading.dialect.name in ("mysql", "mariadb")  # asks for numbers even of no row
        for each in (self._inbound, self._outbound):
            await reading.execute(delete(each.table).where(nothing))
        for each in filter(None, (self._outbound, self._aside)):
            is_numbered = each is self._aside or self._gives_numbers or is_mysql
            columns = [each.id, each.text] if is_numbered else [each.text]
            rows = select(*columns).where(nothing)
            await reading.execute(insert(each.table).from_select(columns, rows))
        if reading.dialect.name == "postgresql" and not self._gives_numbers:
            await self._find_sequence(reading)
        await reading.rollback()

    async def _find_sequence(self, connection: AsyncConnection) -> None:
        """See that PostgreSQL lets us use what gives the numbers of rows that are written.

        It looks at that right, of a SERIAL column, only as it gives one.
        """
        outbound = self._outbound
        may_be = await connection.execute(
            _SEQUENCE, {"table": outbound.quoted_name(connection.dialect), "id": outbound.id.name}
        )
        name, may_use = may_be.one()
        if name is not None and not may_use:
            raise LinkRefused(f"permission denied for sequence {name}: grant USAGE on it")

    async def _rows(self, statement: Select[Any]) -> list[Row]:
        async with self._transaction(self._reading) as connection:
            return [Row(*found) for found in await connection.execute(statement)]

    @asynccontextmanager
    async def _transaction(self, given: AsyncConnection | None) -> AsyncIterator[AsyncConnection]:
        """Do all that is done here, or nothing of it, in time. Raises `LinkError`."""
        if given is None:
            raise LinkDown("there is no connection to the database")
        with translated():
            async with asyncio.timeout(STATEMENT_SECONDS), given.begin():
                yield given

    async def _close(self) -> None:
        """Let both connections go, politely, but not for long."""
        connections = (self._reading, self._writing)
        self._reading = self._writing = None
        for each in filter(None, connections):
            await _let_go(each)
        self._guard.leave()


@dataclass(frozen=True, slots=True)
class _Found:
    """A table as the database spells it."""

    table: TableClause
    id: ColumnClause[Any]
    text: ColumnClause[Any]
    full_name: str

    def quoted_name(self, dialect: Dialect) -> str:
        """Return the table's name as SQL has it."""
        return dialect.identifier_preparer.format_table(self.table)

    def all(self) -> Select[Any]:
        """Return the question for all rows."""
        return select(self.id.label("id"), self.text.label("text"))


async def _let_go(connection: AsyncConnection) -> None:
    with suppress(LinkError), translated():
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.close()


async def _insist(do: Callable[[], Awaitable[_Done]]) -> _Done:
    """Do something that may meet a deadlock, or a number that somebody else took first."""
    waits = delays(TRY_AGAIN_SECONDS)
    for _ in range(TRIES - 1):
        with suppress(LinkRefused):
            return await do()
        await asyncio.sleep(next(waits))
    return await do()


def _found(connection: Connection, names: Names, schema: str | None) -> _Found:
    """Look for a table and its columns whatever their case, and take what is not found as given."""
    there = inspect(connection)
    known = [*there.get_table_names(schema), *there.get_view_names(schema)]
    spelt = _as_spelt(names.table, known)
    columns: dict[str, TypeEngine[Any]] = {}
    with suppress(NoSuchTableError):
        columns = {each["name"]: each["type"] for each in there.get_columns(spelt, schema)}
    id_, text_ = (
        column(name, columns.get(name))
        for name in (_as_spelt(names.id, columns), _as_spelt(names.text, columns))
    )
    owner = schema or there.default_schema_name or ""
    return _Found(table(spelt, id_, text_, schema=schema), id_, text_, f"{owner}.{spelt}")


def _as_spelt(name: str, known: Iterable[str]) -> str:
    """Return the name that is there for the one given: itself, or in another case."""
    same = [each for each in known if each.casefold() == name.casefold()]
    return name if name in same or not same else same[0]
