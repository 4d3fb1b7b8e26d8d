"""
Open connections to PostgreSQL.  This module wraps `databases` and asyncpg, which no other module uses.

`databases` is archived, and only the part that opens and lends connections is used here: its query methods compile
every statement again on each call, and its transactions can leak a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from operator import methodcaller
from typing import Any

import asyncpg
import attrs
import databases
from databases.core import Connection

from taskd_sql.engine import tls
from taskd_sql.engine.database import Rows, silence_drivers
from taskd_sql.engine.dns import Lookup
from taskd_sql.engine.errors import wrong_encoding

__all__ = [
    "POSTGRES_ERRORS",
    "Naming",
    "PostgresConnection",
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


class Naming(enum.Enum):
    """How the statements that connections prepare are named."""

    # By the connection.
    OWN = enum.auto()
    # By the statement: a pooler may run each transaction on another connection of its own, where another client may
    # have prepared a statement of the same name, which must be the same statement.
    SHARED = enum.auto()
    # Not at all: the server parses the statement each time.  It works with any pooler, and takes one round trip, too.
    NONE = enum.auto()


@attrs.define(eq=False)
class PostgresConnection:
    """
    An asyncpg connection, and the statements that it has prepared.  It runs one statement at a time.

    Attributes:
        raw: The `asyncpg.Connection`.
        idle_since: When it was last used, by the loop's clock.
    """

    _pool: PostgresPool
    _lent: Connection
    raw: Any = attrs.field(init=False)
    idle_since: float = attrs.field(init=False, default=0.0)
    _naming: Naming = attrs.field(init=False)
    _prepared: dict[str, Any] = attrs.field(init=False, factory=dict)
    # How many statements could not be prepared.
    _failures: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        """Name statements as the pool does."""
        self.raw = self._lent.raw_connection
        self._naming = self._pool.naming

    @property
    def is_closed(self) -> bool:
        """Whether it has been closed, by either side."""
        try:
            return bool(self.raw.is_closed())
        except asyncpg.InterfaceError:  # the pool has noticed
            return True

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        try:
            return bool(self.raw.is_in_transaction())
        except asyncpg.InterfaceError:  # it has been closed
            return False

    def fetch(self, sql: str, arguments: Sequence[Any]) -> Coroutine[Any, Any, Rows]:
        """Run a statement, and return its rows."""
        return self._run(sql, methodcaller("fetch", *arguments))

    def fetch_each(self, sql: str, arguments: Sequence[Sequence[Any]]) -> Coroutine[Any, Any, Rows]:
        """
        Run a statement with each of *arguments*, in one transaction and one round trip.

        Returns:
            The rows of all of them, in the order of *arguments*.
        """
        return self._run(sql, methodcaller("fetchmany", arguments))

    async def _run(self, sql: str, run: Callable[[Any], Awaitable[Rows]]) -> Rows:
        """Run the prepared statement for *sql* with *run*."""
        statement = self._statement(sql) or await self._prepare(sql)
        try:
            return await run(statement)
        except asyncpg.InvalidCachedStatementError:
            # A table has changed.  The server has not run the statement, or has rolled back what it had run.
            return await run(await self._prepare_again(sql))

    def _statement(self, sql: str) -> Any:
        """Return the prepared statement, if there is one."""
        if self._naming is not self._pool.naming:
            self._naming = self._pool.naming
            self._prepared.clear()
        return self._prepared.get(sql)

    async def _prepare(self, sql: str) -> Any:
        name = _name(self._naming, sql)
        if name and self._failures:
            name = f"{name}_{self._failures}"
        try:
            statement = self._prepared[sql] = await self.raw.prepare(sql, name=name)
        except BaseException:
            # The name may exist nevertheless, and PgBouncer closes the connection if a name is used twice.
            self._failures += 1
            raise
        return statement

    async def _prepare_again(self, sql: str) -> Any:
        """Forget all prepared statements, because a table has changed, and prepare this one again."""
        self._prepared.clear()
        # A PgBouncer would go on using the statement that it has prepared before, whatever its name.
        self.drop_names()
        return self._statement(sql) or await self._prepare(sql)

    def drop_names(self) -> bool:
        """Stop naming statements in the whole pool, because a pooler does not know names; return whether it did."""
        if self._naming is not Naming.SHARED:
            return False
        self._pool.naming = Naming.NONE
        return True

    async def recover(self) -> None:
        """
        Make it usable again after a statement was interrupted or failed; otherwise, close it.

        This waits until the server has ended a cancelled statement.
        """
        try:
            # asyncpg sends nothing before the server has ended the statement.
            await self.raw.execute("ROLLBACK" if self.is_in_transaction else "SELECT")
            if self.is_in_transaction:
                # The interrupted statement was a BEGIN, and the server has run it.
                await self.raw.execute("ROLLBACK")
        except (*POSTGRES_ERRORS, OSError):
            await self.close()

    async def close(self) -> None:
        """Close it."""
        with contextlib.suppress(*POSTGRES_ERRORS, OSError, TimeoutError):
            await self.raw.close(timeout=CLOSE_TIMEOUT_S)
        with contextlib.suppress(*POSTGRES_ERRORS, OSError):
            await self._lent.__aexit__()

    def terminate(self) -> None:
        """Close it at once, even if the server does not respond."""
        terminate(self.raw)


def _name(naming: Naming, sql: str) -> str | None:
    """Return the name for a prepared statement, as asyncpg expects it: None is for one that it chooses."""
    if naming is Naming.SHARED:
        return f"taskd_{hashlib.blake2b(sql.encode(), digest_size=12).hexdigest()}"
    return None if naming is Naming.OWN else ""


@attrs.define(eq=False)
class PostgresPool:
    """
    Opens asyncpg connections.

    Attributes:
        naming: How the connections name the statements that they prepare.  It may be changed at any time.
    """

    _lender: databases.Database
    naming: Naming

    async def open(self) -> PostgresConnection:
        """Return a new connection.  There is no time limit here."""
        # `databases` would keep one of these for each task, and it becomes unusable if the task is cancelled twice.
        lent = Connection(self._lender, self._lender._backend)  # noqa: SLF001
        return PostgresConnection(self, await lent.__aenter__())


@contextlib.asynccontextmanager
async def postgres_pool(naming: Naming, **options: Any) -> AsyncIterator[PostgresPool]:
    """
    Yield a new pool, created without I/O, and close it at the end; connections that are still lent then are terminated.

    Args:
        naming: How connections name the statements that they prepare, at first.
        options: The options of `asyncpg.create_pool`, including `host`, `port` and `ssl`.
    """
    silence_drivers()
    server = PostgresServer.at(options["host"], options["port"], options["ssl"] or None)
    lender = databases.Database("postgresql://", min_size=0, connect=server.connect, reset=_skip_reset, **options)
    await lender.connect()
    try:
        yield PostgresPool(lender, naming)
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(lender.disconnect(), CLOSE_TIMEOUT_S)


async def _skip_reset(connection: Any) -> None:
    """Skip asyncpg's reset, which costs a round trip: no statement here changes anything in its session."""


def terminate(connection: Any) -> None:
    """Terminate a connection, unless it has already been returned to its pool."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()
