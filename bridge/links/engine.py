"""Tactium's database as SQLAlchemy reaches it: which driver, and what its failures mean.

The kinds of server differ in their drivers and in what their errors are called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from bridge.errors import LinkDown, LinkError, LinkRefused, SettingsError
from bridge.messages.privacy import without_phones

DRIVERS = {
    "postgresql": ("asyncpg", "asyncpg", "postgresql"),
    "mysql": ("aiomysql", "aiomysql", "mysql"),
    "mariadb": ("aiomysql", "aiomysql", "mysql"),
    "mssql": ("aioodbc", "aioodbc", "mssql"),
    "oracle": ("oracledb_async", "oracledb", "oracle"),
    "sqlite": ("aiosqlite", "aiosqlite", "sqlite"),
}
"""For each kind of database: SQLAlchemy's name of the driver, its module, our extra."""

ODBC_DRIVER = "ODBC Driver 18 for SQL Server"


def open_engine(url: str) -> AsyncEngine:
    """Return the engine for a plain URL; nothing is connected yet.

    Raises `SettingsError` where the URL or the driver will not do.
    """
    try:
        given = make_url(url)
        driver, module, extra = DRIVERS[given.drivername]
    except (ArgumentError, KeyError, ValueError):
        kinds = ", ".join(f"{kind}://" for kind in DRIVERS)
        raise SettingsError(
            f"BRIDGE_LINK__DATABASE_URL: this is no URL of a database; there are {kinds}"
        ) from None
    if url.count("@") > 1:
        raise SettingsError("BRIDGE_LINK__DATABASE_URL: write an @ in the password as %40")
    if find_spec(module) is None:
        raise SettingsError(
            f"BRIDGE_LINK__DATABASE_URL: {given.drivername} needs a driver; "
            f"install it: pip install 'tactium-bridge[{extra}]'"
        )
    chosen = given.set(drivername=f"{given.get_backend_name()}+{driver}")
    if driver == "aioodbc" and "driver" not in chosen.query:
        chosen = chosen.update_query_dict({"driver": ODBC_DRIVER})
    # MySQL's default would lock the gaps between rows, and with them whoever writes there.
    level = {"isolation_level": "READ COMMITTED"} if extra == "mysql" else {}
    try:
        return create_async_engine(chosen, poolclass=NullPool, hide_parameters=True, **level)
    except (ImportError, SQLAlchemyError, TypeError, ValueError) as error:
        raise SettingsError(
            f"BRIDGE_LINK__DATABASE_URL: {given.drivername}: {type(error).__name__}: "
            "see its driver, and what stands behind the ? of the URL"
        ) from None


@contextmanager
def translated() -> Iterator[None]:
    """Raise what a database says as a `LinkError`.

    It is `LinkRefused` where the connection is well and the statement is not, else
    `LinkDown`.
    """
    try:
        yield
    except LinkError:
        raise
    except TimeoutError:
        raise LinkDown("the database does not answer in time") from None
    except DBAPIError as error:
        kind = LinkDown if error.connection_invalidated else LinkRefused
        raise kind(_words(error)) from None
    except SQLAlchemyError as error:
        raise LinkDown(_words(error)) from None
    except Exception as error:  # noqa: BLE001 - on connecting each driver raises its own
        raise LinkDown(_words(error)) from None


def _words(error: Exception) -> str:
    """Return the first line of what a database says: further ones show whole rows."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig else error
    first = (str(said).splitlines() or [""])[0]
    return without_phones(first) or type(said).__name__
