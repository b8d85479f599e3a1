"""Whether Tactium's tables can be read and written (§2.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bridge.check.line import Line
from bridge.errors import LinkError, SettingsError
from bridge.settings import LinkSettings

_RIGHTS = (
    "see that the database runs and link.database_url is right, that the tables are there "
    "(link.schema, link.tto_table, link.tti_table and their columns), and that its user may "
    "SELECT and DELETE in both and INSERT into T_TTI"
)


async def check(settings: LinkSettings) -> AsyncIterator[Line]:
    """Say how far one comes with the tables; nothing in them is touched."""
    try:
        from bridge.links.database import open_tables  # noqa: PLC0415 - it needs an extra

        tables = open_tables(settings)
    except ImportError as error:
        todo = "install the extra of your database, such as tactium-bridge[postgresql]"
        yield Line.failed("tactium", f"{error.name} is not installed", todo)
        return
    except SettingsError as error:
        yield Line.failed("tactium", str(error), "correct link.database_url")
        return
    try:
        async with tables.opened():
            waiting = len(await tables.read(1))
    except LinkError as error:
        yield Line.failed("tactium", f"{tables.peer}: {error}", _RIGHTS)
        return
    rest = "rows wait to be read" if waiting else "nothing waits to be read"
    yield Line.ok("tactium", f"{tables.peer}: both tables can be read and written; {rest}")
