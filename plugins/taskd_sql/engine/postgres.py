"""Run statements on PostgreSQL, with a pool, time limits, and retries where they are safe."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import partial
from operator import methodcaller
from typing import Any, Generic, TypeVar
from uuid import UUID

import attrs
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from taskd.limiter import FairLimiter, Overloaded
from taskd.storage import StoreError, StoreUnavailable
from taskd.telemetry import Measurement
from taskd.time_limit import TimedOut, TimeLimit
from taskd_sql.engine.batches import Batches, RunAlone
from taskd_sql.engine.connections import Connections
from taskd_sql.engine.database import (
    Database,
    Limits,
    LongReads,
    Pipeline,
    Rows,
    Step,
    now,
    pool_measurements,
)
from taskd_sql.engine.drivers import POSTGRES_ERRORS, Naming, PostgresConnection, PostgresPool, postgres_pool
from taskd_sql.engine.errors import Interrupted, is_unknown_name, no_postgres, postgres_error, timed_out
from taskd_sql.engine.loop_bound import LoopBound
from taskd_sql.engine.retry import Retries
from taskd_sql.settings import SQLSettings
from taskd_sql.url import PostgresURL

__all__ = ["PostgresDatabase"]

T = TypeVar("T")

# The share of the pool that one owner may use, so that connections are left for others.
OWNERS_SHARE = 0.75

logger = logging.getLogger(f"taskd.{__name__}")


@attrs.define(eq=False)
class _Call(Generic[T]):
    """
    Work to do on a connection.

    Attributes:
        run: Does the work.
        owner: Whose call it is.
        is_read: Whether the work changes nothing.
        task_id: The task that the work concerns, if it concerns only one.
        kind: How the call may share a round trip with others; None if it must run alone.
        arguments: The arguments of its statement, if the call may share a round trip.
        timeout_s: How long the work may take; None for as long as a statement.
        until: The deadline of the call, including waiting for a connection and retries, by the loop's clock; zero until
            the call begins.
    """

    run: Callable[[PostgresConnection], Awaitable[T]]
    owner: str
    is_read: bool = True
    task_id: UUID | None = None
    kind: Pipeline | None = None
    arguments: Sequence[Any] = ()
    timeout_s: float | None = None
    until: float = 0.0


@attrs.define(eq=False)
class _Pool:
    """
    The connections of one event loop, and the calls that wait for them.

    Attributes:
        batches: Has one slot for each connection that may be opened.  Calls wait for a slot, with a time limit; the
            holder of a slot never waits for a connection that another call is using.
        connected: How many holders of a slot also have a connection.
    """

    connections: Connections
    batches: Batches[_Call[Any]]
    connected: int = 0

    def now(self) -> float:
        """Return the loop's time."""
        return self.connections.loop.time()


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
    _limit: TimeLimit = attrs.field(init=False)
    _has_warned_of_binding: bool = attrs.field(init=False, default=False)

    @_pool.default
    def _open_at_first_use(self) -> LoopBound[_Pool]:
        return LoopBound(self._open)

    @_limit.default
    def _limit_of_statements(self) -> TimeLimit:
        return TimeLimit(self.settings.statement_timeout_s, self.limits.cancel_timeout_s)

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

    def fetch(
        self,
        sql: str,
        arguments: Sequence[Any] = (),
        *,
        owner: str = "",
        task_id: UUID | None = None,
        pipeline: Pipeline | None = None,
    ) -> Coroutine[Any, Any, Rows]:
        """Run one statement that changes nothing; retry it if it is interrupted."""
        run = methodcaller("fetch", sql, arguments)
        call = _Call(run, owner, is_read=True, task_id=task_id, kind=pipeline, arguments=arguments)
        return self.retries.run(self._attempt, call)

    def write(
        self, steps: Sequence[Step], *, owner: str, task_id: UUID | None = None, pipeline: Pipeline | None = None
    ) -> Coroutine[Any, Any, Rows]:
        """Run one statement; retry it where that is safe."""
        ((sql, arguments),) = steps
        run = methodcaller("fetch", sql, arguments)
        call = _Call(run, owner, is_read=False, task_id=task_id, kind=pipeline, arguments=arguments)
        return self.retries.run(self._attempt, call)

    async def write_many(self, sql: str, arguments: Sequence[Sequence[Any]], *, owner: str) -> None:
        """Run one statement with each of *arguments*, in one transaction and about one round trip."""

        def run(connection: PostgresConnection) -> Awaitable[Rows]:
            return connection.fetch_each(sql, arguments)

        await self.retries.run(self._attempt, _Call(run, owner, is_read=False))

    async def fetch_many(self, sql: str, arguments: Sequence[Any], *, owner: str) -> Rows:
        """Run one statement that returns many rows, with a cursor on a pooled connection; retry it if interrupted."""

        async def run(connection: PostgresConnection) -> Rows:
            rows: Rows = []
            # asyncpg remembers by the text of FETCH which columns its rows have, so each statement has its own cursor.
            cursor = f"many_{zlib.crc32(sql.encode()):x}"
            # A cursor ends with its transaction, and PgBouncer keeps a transaction on one connection.  If this fails,
            # `recover` ends the transaction: `async with` would wait forever for a frozen server.
            await connection.raw.execute("BEGIN READ ONLY")
            await connection.raw.execute(f"DECLARE {cursor} NO SCROLL CURSOR FOR {sql}", *arguments)
            while some := await connection.fetch(f"FETCH {self.limits.rows_at_once} FROM {cursor}", ()):
                rows += some
            await connection.raw.execute("COMMIT")
            return rows

        until = now() + self.limits.call_timeout_s
        async with self._long_reads.turn(owner, min(until, now() + self.settings.acquire_timeout_s)):
            # The server's time limit applies to each of the statements; together, they may take longer than that.
            call = _Call(run, owner, timeout_s=self.limits.call_timeout_s, until=until)
            return await self.retries.run(self._attempt, call)

    def waited_s(self, *, is_read: bool) -> float:  # noqa: ARG002  reads and writes wait in one queue
        """Return how many seconds the longest-waiting statement has been waiting for a connection."""
        pool = self._pool.current()
        return pool.batches.waited_s() if pool else 0.0

    def measurements(self) -> Iterator[Measurement]:
        """Yield the numbers about the pool of the running loop, if it is open."""
        pool = self._pool.current()
        if pool is not None:
            opened = pool.connections.idle + pool.connected
            yield from pool_measurements("all", opened, pool.batches.limiter)
            yield from pool.batches.measurements("all")

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

        async def compare(connection: PostgresConnection) -> bool:
            return bool(connection.raw.get_server_pid() == await connection.raw.fetchval("SELECT pg_backend_pid()"))

        return await self.with_connection(compare)

    async def with_connection(self, work: Callable[[PostgresConnection], Awaitable[T]]) -> T:
        """Return the result of *work*, which may run several statements on the connection that it is given."""
        return await self._attempt(_Call(work, "", timeout_s=self.limits.call_timeout_s))

    async def _attempt(self, call: _Call[T]) -> T:
        """Run *call* once, alone or with others of its kind, when its turn comes."""
        pool = self._pool.current() or await self._pool.get()
        call.until = call.until or pool.now() + self.limits.call_timeout_s
        try:
            if not pool.batches.try_begin(call.owner):
                shared: Any = await self._wait_for_turn(pool, call)
                if shared is not None:
                    rows: T = shared
                    return rows
            return await self._lend(pool, call.owner, call.run, call.until, call.timeout_s)
        except RunAlone:
            call.kind = None
            return await self._attempt(call)

    async def _wait_for_turn(self, pool: _Pool, call: _Call[Any]) -> Rows | None:
        try:
            return await pool.batches.wait(call, min(call.until, pool.now() + self.settings.acquire_timeout_s))
        except Overloaded:
            raise StoreUnavailable("too many requests are waiting for a connection") from None
        except TimeoutError:
            # The holders of the slots may not have been able to connect, either.
            busy = f"none of {self.settings.pool_size} connections became free in time"
            raise StoreUnavailable(busy if pool.connected else "no connection could be opened in time") from None

    async def _run_batch(self, pool: _Pool, owner: str, calls: Sequence[_Call[Rows]]) -> Sequence[Rows | Exception]:
        """
        Run *calls*, which are of one kind, in one round trip and one transaction, in the turn of *owner*.

        If that fails, each of them is run again on its own, unless it may have had its effect.
        """
        pipeline: Any = calls[0].kind

        def run(connection: PostgresConnection) -> Awaitable[Rows]:
            return connection.fetch_each(pipeline.sql, [call.arguments for call in calls])

        until = min(call.until for call in calls)
        try:
            rows = await self._lend(pool, owner, run, until)
        except (StoreError, RunAlone) as error:
            if isinstance(error, Interrupted) and error.may_have_run and not calls[0].is_read:
                return [error.again() for _ in calls]
            # The transaction has been rolled back, perhaps because of only one of them.
            return [RunAlone() for _ in calls]
        each: Sequence[Rows] = pipeline.split(rows, [(call.owner, call.task_id) for call in calls])
        return each

    async def _lend(
        self,
        pool: _Pool,
        owner: str,
        work: Callable[[PostgresConnection], Awaitable[T]],
        until: float,
        timeout_s: float | None = None,
    ) -> T:
        """Do *work* on a connection for *owner*, who holds a slot, and release the slot."""
        connection, begun_s = None, pool.now()
        release = partial(pool.batches.limiter.release, owner)
        try:
            connection = pool.connections.take() or await self._connect(pool, until)
            pool.connected += 1
            result = await self._limited(pool, work(connection), until, timeout_s)
        except BaseException as error:  # noqa: BLE001  the slot must be released in any case
            if connection is None:
                release()
            else:
                pool.connected -= 1
                pool.connections.recover(connection, release)
            raise _translated(error, connection) from None
        pool.connected -= 1
        pool.batches.note_turn(pool.now() - begun_s)
        if connection.is_in_transaction:
            pool.connections.recover(connection, release)
        else:
            pool.connections.give_back(connection)
            release()
        return result

    async def _connect(self, pool: _Pool, until: float) -> PostgresConnection:
        async with asyncio.timeout_at(min(until, pool.now() + self.connect_timeout_s)):
            return await pool.connections.pool.open()

    def _limited(self, pool: _Pool, work: Awaitable[T], until: float, timeout_s: float | None) -> Awaitable[T]:
        """Await *work* for at most *timeout_s* seconds, and not beyond *until*."""
        latest = pool.now() + (timeout_s or self._limit.timeout_s)
        if timeout_s is None and latest <= until:
            return self._limit.wait(work)
        # Not `asyncio.timeout`: asyncpg ignores being cancelled once while it waits until it can send more.
        limit = TimeLimit(min(until, latest) - pool.now(), self.limits.cancel_timeout_s)
        return limit.wait(work)

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[_Pool]:
        """Create the pool, and close it at the end."""
        if self.url.requires_channel_binding and not self._has_warned_of_binding:
            self._has_warned_of_binding = True
            logger.warning("channel_binding=require is not supported: %s", self._instead_of_binding())
        naming = Naming.SHARED if self.is_pooled else Naming.OWN
        async with (
            postgres_pool(naming, **self._options()) as opener,
            self._connections(opener).closing() as connections,
        ):
            yield self._new_pool(connections)

    def _connections(self, opener: PostgresPool) -> Connections:
        loop = asyncio.get_running_loop()
        return Connections(opener, loop, self.settings.idle_timeout_s, self.limits.cancel_timeout_s)

    def _new_pool(self, connections: Connections) -> _Pool:
        size = self.settings.pool_size

        async def run(owner: str, calls: Sequence[_Call[Any]]) -> Sequence[Rows | Exception]:
            return await self._run_batch(pool, owner, calls)

        pool = _Pool(connections, Batches(FairLimiter(size, max(1, int(size * OWNERS_SHARE))), run))
        return pool

    def _instead_of_binding(self) -> str:
        is_verified = self.url.tls is not None and self.url.tls.check_hostname
        return "the server's certificate is verified instead" if is_verified else "the connection is only encrypted"

    def _options(self) -> dict[str, Any]:
        return {
            **self.url.connect_arguments(),
            "max_size": self.settings.pool_size,
            "timeout": self.connect_timeout_s,
            "max_inactive_connection_lifetime": self.settings.idle_timeout_s,
            # Connections keep their statements themselves, but this also tells asyncpg whether to name them.
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


def _translated(error: BaseException, connection: PostgresConnection | None) -> BaseException:
    """Return what to raise instead of *error*, which occurred with *connection*, or in opening one."""
    is_connected = connection is not None
    if isinstance(error, TimedOut | TimeoutError):
        stage = "a statement got no response" if is_connected else "no connection could be opened"
        return timed_out(stage, may_have_run=is_connected)
    if connection is not None and is_unknown_name(error) and connection.drop_names():
        return RunAlone()
    if isinstance(error, (*POSTGRES_ERRORS, OSError)):
        return postgres_error(error, is_connected=is_connected)
    # A server that is not PostgreSQL makes asyncpg raise almost anything.
    if isinstance(error, Exception) and not isinstance(error, StoreUnavailable):
        return no_postgres(error, may_have_run=is_connected)
    return error
