"""
Open connections to PostgreSQL.  This module wraps `databases` and asyncpg, which no other module uses.

`databases` is archived, and only the part that opens and lends connections is used here: its query methods compile
every statement again on each call, and its transactions can leak a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import attrs
import databases
from databases.core import Connection

from taskd_sql.engine import tls
from taskd_sql.engine.database import silence_drivers
from taskd_sql.engine.dns import Lookup
from taskd_sql.engine.errors import wrong_encoding

__all__ = [
    "POSTGRES_ERRORS",
    "PostgresPool",
    "PostgresServer",
    "postgres_pool",
    "terminate",
]

CLOSE_TIMEOUT_S = 1.0

# What asyncpg raises, besides OSError.
POSTGRES_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@attrs.frozen
class PostgresServer:
    """Connects to a server, at any address at which its host accepts connections."""

    _lookup: Lookup
    _tls: ssl.SSLContext | None

    @classmethod
    def at(cls, host: str, port: int, context: ssl.SSLContext | None) -> PostgresServer:
        """Return the server at *port* on *host*; without *context*, connections to it are in plain text."""
        return cls(Lookup(host, port), context and tls.named(context, host))

    async def connect(self, *args: Any, **options: Any) -> Any:
        """
        Return a new `asyncpg.Connection`.

        Args:
            args: Positional arguments for `asyncpg.connect`.
            options: Keyword arguments for it, except that host, port and TLS are always the server's.

        Raises:
            StoreUnavailable: The database's encoding cannot represent every character.
        """
        address = host, port = await self._lookup.address()
        try:
            connection = await asyncpg.connect(
                *args, **{**options, "host": host, "port": port, "ssl": self._tls or False}
            )
        except BaseException:  # including cancellation by a time-out
            self._lookup.avoid(address)
            raise
        encoding = getattr(connection.get_settings(), "server_encoding", "UTF8")
        if encoding != "UTF8":
            await connection.close(timeout=CLOSE_TIMEOUT_S)
            raise wrong_encoding(encoding)
        return connection


@attrs.frozen
class PostgresPool:
    """A pool of asyncpg connections, which are opened when they are needed."""

    _lender: databases.Database

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Lend an `asyncpg.Connection`.  There is no time limit here on waiting for one or opening it."""
        # `databases` would keep one of these for each task, and it becomes unusable if the task is cancelled twice.
        async with Connection(self._lender, self._lender._backend) as lent:  # noqa: SLF001
            try:
                yield lent.raw_connection
            finally:
                await _end_transaction(lent.raw_connection)


@contextlib.asynccontextmanager
async def postgres_pool(**options: Any) -> AsyncIterator[PostgresPool]:
    """
    Yield a new pool, created without I/O, and close it at the end; connections that are still busy then are terminated.

    Args:
        options: The options of `asyncpg.create_pool`, including `host`, `port` and `ssl`.
    """
    silence_drivers()
    server = PostgresServer.at(options["host"], options["port"], options["ssl"] or None)
    lender = databases.Database("postgresql://", min_size=0, connect=server.connect, reset=_skip_reset, **options)
    await lender.connect()
    try:
        yield PostgresPool(lender)
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(lender.disconnect(), CLOSE_TIMEOUT_S)


async def _end_transaction(connection: Any) -> None:
    """Roll back what was not committed.  asyncpg would do so, too, but would report an error to the event loop."""
    # The pool never reuses a connection that has failed.
    with contextlib.suppress(*POSTGRES_ERRORS, OSError):
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")


async def _skip_reset(connection: Any) -> None:
    """Skip asyncpg's reset, which costs a round trip: no statement here changes anything in its session."""


def terminate(connection: Any) -> None:
    """Terminate a connection, unless it has already been returned to its pool."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()
