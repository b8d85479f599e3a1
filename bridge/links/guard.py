"""Keeps a second bridge from the tables that one reads already."""

from __future__ import annotations

import fcntl
import os
from hashlib import sha256

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

_LARGEST = 2**30 - 1  # what Oracle takes as the number of a lock

_MYSQL = "SELECT GET_LOCK(:name, 0)"

_QUESTIONS = {
    "postgresql": "SELECT pg_try_advisory_lock(:number)",
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "mssql": """SET NOCOUNT ON; DECLARE @got int;
        EXEC @got = sp_getapplock @Resource = :name, @LockMode = 'Exclusive',
            @LockOwner = 'Session', @LockTimeout = 0, @DbPrincipal = 'public';
        SELECT CASE WHEN @got >= 0 THEN 1 ELSE 0 END""",
    "oracle": """WITH FUNCTION got(lock_number NUMBER) RETURN NUMBER IS
        BEGIN RETURN DBMS_LOCK.REQUEST(lock_number, DBMS_LOCK.X_MODE, 0, FALSE); END;
        SELECT CASE WHEN got(:number) IN (0, 4) THEN 1 ELSE 0 END FROM dual""",
}
"""Takes a lock that lasts as long as the connection: 1 where nobody else has it."""


_NO_WAIT = ("SET SESSION wait_timeout = 60",)

_SHORT_LIVED = {
    "postgresql": (
        "SET tcp_keepalives_idle = 20",
        "SET tcp_keepalives_interval = 5",
        "SET tcp_keepalives_count = 3",
        # since version 14; a process that was stopped keeps its connection alive
        """SELECT set_config(name, '90s', false) FROM pg_settings
            WHERE name = 'idle_session_timeout'""",
    ),
    "mysql": _NO_WAIT,
    "mariadb": _NO_WAIT,
}
"""Lets the server give up a connection, and the lock, whose other end is gone without a word."""


class Guard:
    """A lock named after the table, held for as long as a connection lasts."""

    def __init__(self) -> None:
        self._file: int | None = None

    def __repr__(self) -> str:
        return f"<Guard: {self._file or 'the connection'}>"

    async def enter(self, connection: AsyncConnection, table: str) -> bool | None:
        """Return whether nobody else reads this table; None where that cannot be told."""
        path = connection.engine.url.database
        if connection.dialect.name == "sqlite":
            return self._lock_beside(path) if path else None
        digest = sha256(table.casefold().encode())
        number = int.from_bytes(digest.digest()[:8], "big") % _LARGEST
        name = f"tactium-bridge.{digest.hexdigest()[:40]}"
        for statement in _SHORT_LIVED.get(connection.dialect.name, ()):
            await connection.execute(text(statement))
        question = _QUESTIONS[connection.dialect.name]
        value = {"number": number} if ":number" in question else {"name": name}
        try:
            return bool(await connection.scalar(text(question), value))
        except SQLAlchemyError:  # of Oracle, whose DBMS_LOCK not everybody may use
            if connection.dialect.name == "oracle":
                return None
            raise

    def leave(self) -> None:
        """Give up what does not go with the connection."""
        if self._file is not None:
            os.close(self._file)
        self._file = None

    def _lock_beside(self, path: str) -> bool:
        """Lock a file beside that of SQLite, which knows no such lock."""
        self.leave()
        self._file = os.open(
            f"{os.path.realpath(path)}.tactium-bridge", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.leave()
            return False
        return True
