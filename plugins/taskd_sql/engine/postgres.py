"""Run statements on PostgreSQL, with a pool, time limits, and retries where they are safe."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import attrs
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from taskd.limiter import FairLimiter, Overloaded
from taskd.storage import StoreUnavailable
from taskd_sql.engine.database import Database, Limits, LongReads, Rows, Step, now
from taskd_sql.engine.drivers import POSTGRES_ERRORS, PostgresPool, postgres_pool, terminate
from taskd_sql.engine.errors import no_postgres, postgres_error, timed_out
from taskd_sql.engine.loop_bound import LoopBound
from taskd_sql.engine.retry import Retries
from taskd_sql.settings import SQLSettings
from taskd_sql.url import PostgresURL

__all__ = ["PostgresDatabase"]

T = TypeVar("T")

# The share of the pool that one owner may use, so that connections are left for others.
OWNERS_SHARE = 0.75

logger = logging.getLogger(f"taskd.{__name__}")


@attrs.define
class _Pool:
    """
    The connections to lend.

    Attributes:
        limiter: Has one slot for each connection that the pool may open.  Calls wait for a slot, with a time limit; the
            holder of a slot never waits for the pool, which has no time limit.
        connected: How many holders of a slot also have a connection.
    """

    connections: PostgresPool
    limiter: FairLimiter
    connected: int = 0


@attrs.frozen
class _Call(Generic[T]):
    """
    Work to do on a connection.

    Attributes:
        run: Does the work.
        owner: Whose call it is.
        until: The deadline of the call, including waiting for a connection and retries, by the loop's clock.
        timeout_s: How long the work may take.
        is_read: Whether the work changes nothing.
    """

    run: Callable[[Any], Awaitable[T]]
    owner: str
    until: float
    timeout_s: float
    is_read: bool = True


@attrs.define(eq=False)
class PostgresDatabase(Database):
    """A PostgreSQL server, accessed through a pool of asyncpg connections."""

    url: PostgresURL
    settings: SQLSettings
    limits: Limits = attrs.field(factory=Limits)
    retries: Retries = attrs.field(factory=Retries)
    dialect: Dialect = attrs.field(init=False, factory=dialects.dialect)
    _pool: LoopBound[_Pool] = attrs.field(init=False)
    _long_reads: LongReads = attrs.field(init=False, factory=LongReads)
    _has_warned_of_binding: bool = attrs.field(init=False, default=False)

    @_pool.default
    def _open_at_first_use(self) -> LoopBound[_Pool]:
        return LoopBound(self._open)

    @property
    def name(self) -> str:
        """Return the name of the database for the log."""
        return f"PostgreSQL at {self.url.server}"

    @property
    def location(self) -> str:
        """Describe where the tasks are."""
        return f"{self.name}, database {self.url.database}, as {self.url.user}"

    @property
    def is_local(self) -> bool:
        """Whether the tasks are on this machine."""
        return self.url.is_local

    @property
    def is_pooled(self) -> bool:
        """Whether connections go through a PgBouncer, which may run each transaction on a different connection."""
        return self.url.is_neon_pooler if self.settings.pooler is None else self.settings.pooler

    @property
    def connect_timeout_s(self) -> float:
        """How long opening a connection may take; the URL takes precedence over the setting."""
        return self.url.connect_timeout_s or self.settings.connect_timeout_s

    async def fetch(self, sql: str, arguments: Sequence[Any] = (), *, owner: str = "") -> Rows:
        """Run one statement that changes nothing on a connection from the pool; retry it if it is interrupted."""
        return await self._retrying(self._call(_fetching(sql, arguments), owner, is_read=True))

    async def write(self, steps: Sequence[Step], *, owner: str) -> Rows:
        """Run one statement on a connection from the pool; retry it where that is safe."""
        ((sql, arguments),) = steps
        return await self._retrying(self._call(_fetching(sql, arguments), owner, is_read=False))

    async def write_many(self, sql: str, arguments: Sequence[Sequence[Any]], *, owner: str) -> None:
        """Run one statement with each of *arguments*, in one transaction and about one round trip."""

        def run(connection: Any) -> Awaitable[None]:
            done: Awaitable[None] = connection.executemany(sql, arguments)
            return done

        await self._retrying(self._call(run, owner, is_read=False))

    def _call(self, run: Callable[[Any], Awaitable[T]], owner: str, *, is_read: bool) -> _Call[T]:
        return _Call(run, owner, now() + self.limits.call_timeout_s, self.settings.statement_timeout_s, is_read)

    async def fetch_many(self, sql: str, arguments: Sequence[Any], *, owner: str) -> Rows:
        """Run one statement that returns many rows, with a cursor on a pooled connection; retry it if interrupted."""

        async def run(connection: Any) -> Rows:
            rows: Rows = []
            # asyncpg remembers by the text of FETCH which columns its rows have, so each statement has its own cursor.
            cursor = f"many_{zlib.crc32(sql.encode()):x}"
            # A cursor ends with its transaction, and PgBouncer keeps a transaction on one connection.  If this fails,
            # the pool ends the transaction: `async with` would wait forever for a frozen server.
            await connection.execute("BEGIN READ ONLY")
            await connection.execute(f"DECLARE {cursor} NO SCROLL CURSOR FOR {sql}", *arguments)
            while some := await connection.fetch(f"FETCH {self.limits.rows_at_once} FROM {cursor}"):
                rows += some
            await connection.execute("COMMIT")
            return rows

        until = now() + self.limits.call_timeout_s
        async with self._long_reads.turn(owner, min(until, now() + self.settings.acquire_timeout_s)):
            # The server's time limit applies to each of the statements; together, they may take longer than that.
            return await self._retrying(_Call(run, owner, until, self.limits.call_timeout_s))

    def waited_s(self, *, is_read: bool) -> float:  # noqa: ARG002  reads and writes wait in one queue
        """Return how many seconds the longest-waiting statement has been waiting for a connection."""
        pool = self._pool.current()
        return pool.limiter.waited_s() if pool else 0.0

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()

    async def is_direct(self) -> bool:
        """
        Tell whether the connection is direct, without a pooler.

        A pooler reports process ids of its own when a connection starts.

        Raises:
            StoreUnavailable: The database did not respond.
        """

        async def compare(connection: Any) -> bool:
            return bool(connection.get_server_pid() == await connection.fetchval("SELECT pg_backend_pid()"))

        return await self._attempt(self._call(compare, "", is_read=True))

    async def _retrying(self, call: _Call[T]) -> T:
        return await self.retries.run(lambda: self._attempt(call), is_read=call.is_read, until=call.until)

    async def _attempt(self, call: _Call[T]) -> T:
        """
        Run *call* once.

        Waiting for a connection, opening one, and the work itself each have a time limit.
        """
        pool = await self._pool.get()
        if not pool.limiter.try_acquire(call.owner):
            await self._wait_for_slot(pool, call)
        try:
            return await self._run(call, pool)
        finally:
            pool.limiter.release(call.owner)

    async def _wait_for_slot(self, pool: _Pool, call: _Call[T]) -> None:
        try:
            await pool.limiter.acquire(call.owner, min(call.until, now() + self.settings.acquire_timeout_s))
        except Overloaded:
            raise StoreUnavailable("too many requests are waiting for a connection") from None
        except TimeoutError:
            # The holders of the slots may not have been able to connect, either.
            busy = f"none of {self.settings.pool_size} connections became free in time"
            raise StoreUnavailable(busy if pool.connected else "no connection could be opened in time") from None

    async def _run(self, call: _Call[T], pool: _Pool) -> T:
        """Connect, unless a connection is already open, and run *call*."""
        is_connected = False
        try:
            async with (
                asyncio.timeout_at(min(call.until, now() + self.connect_timeout_s)) as timeout,
                pool.connections.connection() as connection,
            ):
                is_connected = True
                timeout.reschedule(min(call.until, now() + call.timeout_s))
                return await _watched(call.run, connection, pool, self.limits.cancel_timeout_s)
        except TimeoutError:
            stage = "a statement got no response" if is_connected else "no connection could be opened"
            raise timed_out(stage, may_have_run=is_connected) from None
        except (*POSTGRES_ERRORS, OSError) as error:
            raise postgres_error(error, is_connected=is_connected) from None
        except StoreUnavailable:  # connected, but the database cannot be used
            raise
        except Exception as error:  # noqa: BLE001  a server that is not PostgreSQL makes asyncpg raise almost anything
            raise no_postgres(error, may_have_run=is_connected) from None

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[_Pool]:
        """Create the pool, and close it at the end."""
        if self.url.requires_channel_binding and not self._has_warned_of_binding:
            self._has_warned_of_binding = True
            logger.warning("channel_binding=require is not supported: %s", self._instead_of_binding())
        async with postgres_pool(**self._options()) as connections:
            size = self.settings.pool_size
            yield _Pool(connections, FairLimiter(size, max(1, int(size * OWNERS_SHARE))))

    def _instead_of_binding(self) -> str:
        is_verified = self.url.tls is not None and self.url.tls.check_hostname
        return "the server's certificate is verified instead" if is_verified else "the connection is only encrypted"

    def _options(self) -> dict[str, Any]:
        return {
            **self.url.connect_arguments(),
            "max_size": self.settings.pool_size,
            "timeout": self.connect_timeout_s,
            "max_inactive_connection_lifetime": self.settings.idle_timeout_s,
            "statement_cache_size": 0 if self.is_pooled else 100,
            "server_settings": self._server_settings(),
        }

    def _server_settings(self) -> dict[str, str]:
        """Return the session's start-up parameters.  A pooler accepts only the first one."""
        name = {"application_name": self.url.application_name}
        if self.is_pooled:
            return name
        # This ends statements even if this process is killed or the network fails.  It is longer than taskd's own time
        # limit, which also notifies the caller.
        timeout_s = self.settings.statement_timeout_s + self.limits.cancel_timeout_s
        return {**name, "statement_timeout": str(round(timeout_s * 1000))}


def _fetching(sql: str, arguments: Sequence[Any]) -> Callable[[Any], Awaitable[Rows]]:
    def run(connection: Any) -> Awaitable[Rows]:
        rows: Awaitable[Rows] = connection.fetch(sql, *arguments)
        return rows

    return run


async def _watched(work: Callable[[Any], Awaitable[T]], connection: Any, pool: _Pool, cancel_timeout_s: float) -> T:
    """
    Do *work* on *connection*, and terminate the connection if the work is cancelled and does not end soon.

    On cancellation, asyncpg asks the server to cancel the statement, so that it is not run after all; but asyncpg would
    then wait forever for the response, which a frozen server never sends.
    """
    pool.connected += 1
    try:
        return await work(connection)
    except asyncio.CancelledError:
        asyncio.get_running_loop().call_later(cancel_timeout_s, terminate, connection)
        raise
    finally:
        pool.connected -= 1
