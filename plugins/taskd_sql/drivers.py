"""
Connections, and the only module that knows `databases`, asyncpg and aiosqlite.

`databases` is archived; of it, this uses the part that opens and lends connections.  Its query methods compile anew at
each call, and its transactions can lose a connection for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiosqlite
import asyncpg
import attrs
import databases
from databases.core import Connection

from taskd_sql.lookup import Lookup

__all__ = ["POSTGRES_ERRORS", "PostgresPool", "postgres_pool", "sqlite_connection", "terminate"]

CLOSE_TIMEOUT_S = 1.0

# What asyncpg raises, besides OSError.
POSTGRES_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# At DEBUG these log the arguments of statements, which are the tasks' texts, and at INFO nothing of use.
for _name in ("aiosqlite", "databases"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@attrs.frozen
class PostgresPool:
    """Connections of asyncpg's, opened when they are needed."""

    _lender: databases.Database

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Lend an `asyncpg.Connection`.  Waiting for one, and for it to be made, has no time-out here."""
        # `databases` would keep one of these for each task; one that was cancelled twice could never use its own again.
        async with Connection(self._lender, self._lender._backend) as lent:  # noqa: SLF001
            yield lent.raw_connection


@contextlib.asynccontextmanager
async def postgres_pool(**options: Any) -> AsyncIterator[PostgresPool]:
    """
    Make a pool, which takes no I/O, and close it at the end; connections that are still busy then are cut.

    Args:
        options: Those of `asyncpg.create_pool`, `host` and `port` among them.
    """
    lookup = Lookup(options["host"], options["port"])

    async def connect(*args: Any, **kwargs: Any) -> Any:
        await lookup.wait()
        return await asyncpg.connect(*args, **kwargs)

    lender = databases.Database("postgresql://", min_size=0, connect=connect, reset=_reset, **options)
    await lender.connect()
    try:
        yield PostgresPool(lender)
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(lender.disconnect(), CLOSE_TIMEOUT_S)


async def _reset(connection: Any) -> None:
    """
    Make a connection ready for its next user.

    No statement here leaves anything behind in a session, so the round trip that asyncpg would make is saved.
    """
    if connection.is_in_transaction():
        await connection.reset()


def terminate(connection: Any) -> None:
    """Cut a connection of the pool's, unless it has been given back."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


@contextlib.asynccontextmanager
async def sqlite_connection(file: Path, busy_timeout_s: float) -> AsyncIterator[aiosqlite.Connection]:
    """Open a connection to *file*, which waits for others' locks for *busy_timeout_s*, and close it at the end."""
    database = databases.Database(f"sqlite:///{quote(str(file))}", timeout=busy_timeout_s)
    async with database.connection() as connection:
        yield connection.raw_connection
