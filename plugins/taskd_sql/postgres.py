"""PostgreSQL: a pool with bounds for everything that may take long, and a second try where that is safe."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import attrs
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from taskd import StoreUnavailable
from taskd_sql import retries
from taskd_sql.database import CALL_TIMEOUT_S, CANCEL_TIMEOUT_S
from taskd_sql.drivers import POSTGRES_ERRORS, PostgresPool, postgres_pool, terminate
from taskd_sql.dsn import PostgresAddress
from taskd_sql.faults import Interrupted, postgres_fault
from taskd_sql.lifetime import LoopBound
from taskd_sql.settings import SQLSettings

__all__ = ["PostgresDatabase"]

T = TypeVar("T")

# Under more than that, a quick refusal serves clients better than a late one.
MAX_WAITING_PER_CONNECTION = 100

logger = logging.getLogger(f"taskd.{__name__}")


def now() -> float:
    """Return the time by the clock of the running loop, in seconds."""
    return asyncio.get_running_loop().time()


@attrs.define
class _Pool:
    """
    Connections to lend.

    Attributes:
        slots: As many as there may be connections.  Who holds one never waits for another's connection, and whoever
            waits for one has a time-out, which the pool has not.
        waiting: How many calls wait for a slot.
        connected: How many of those that have one have a connection, too.
    """

    connections: PostgresPool
    slots: asyncio.Semaphore
    waiting: int = 0
    connected: int = 0


@attrs.define(eq=False)
class PostgresDatabase:
    """A pool of connections to a PostgreSQL server, by asyncpg."""

    address: PostgresAddress
    settings: SQLSettings
    dialect: Dialect = attrs.field(init=False, factory=dialects.dialect)
    _pool: LoopBound[_Pool] = attrs.field(init=False)
    _is_binding_told: bool = attrs.field(init=False, default=False)

    @_pool.default
    def _open_at_first_use(self) -> LoopBound[_Pool]:
        return LoopBound(self._open)

    @property
    def name(self) -> str:
        """Return what to call it in the log."""
        return f"PostgreSQL at {self.address.host}:{self.address.port}"

    @property
    def is_pooled(self) -> bool:
        """Whether each transaction may be run on another connection of a PgBouncer's."""
        return self.address.is_neon_pooler if self.settings.pooler is None else self.settings.pooler

    @property
    def connect_timeout_s(self) -> float:
        """How long a connection may take to be made: what the URL says comes before the setting."""
        return self.address.connect_timeout_s or self.settings.connect_timeout_s

    async def fetch(self, sql: str, arguments: Sequence[Any] = (), *, is_read: bool = True) -> Sequence[Sequence[Any]]:
        """Run one statement on a connection of the pool; try again where that is safe."""

        def run(connection: Any) -> Awaitable[Sequence[Sequence[Any]]]:
            rows: Awaitable[Sequence[Sequence[Any]]] = connection.fetch(sql, *arguments)
            return rows

        until = now() + CALL_TIMEOUT_S
        try:
            return await self._attempt(run, until)
        except Interrupted as fault:
            return await retries.again(
                lambda: self._attempt(run, until), fault, is_read=is_read, within_s=until - now()
            )

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()

    async def is_direct(self) -> bool:
        """
        Tell whether the server that answers is the one that was connected to, and no pooler is in between.

        A pooler hands out process numbers of its own when a connection begins.

        Raises:
            StoreUnavailable: It could not be found out.
        """

        async def compare(connection: Any) -> bool:
            return bool(connection.get_server_pid() == await connection.fetchval("SELECT pg_backend_pid()"))

        return await self._attempt(compare, now() + CALL_TIMEOUT_S)

    async def _attempt(self, work: Callable[[Any], Awaitable[T]], until: float) -> T:
        """
        Do *work* on a connection, once, before *until* by the loop's clock.

        Waiting for a connection, making one, and the work: each has a time-out of its own.
        """
        pool = await self._pool.get()
        if pool.slots.locked():
            await self._wait_for_slot(pool, until)
        else:
            await pool.slots.acquire()
        try:
            return await self._do(work, pool, until)
        finally:
            pool.slots.release()

    async def _wait_for_slot(self, pool: _Pool, until: float) -> None:
        if pool.waiting >= MAX_WAITING_PER_CONNECTION * self.settings.pool_size:
            raise StoreUnavailable("too many requests wait for a connection")
        pool.waiting += 1
        try:
            async with asyncio.timeout_at(min(until, now() + self.settings.acquire_timeout_s)):
                await pool.slots.acquire()
        except TimeoutError:
            # Those before us may themselves have been waiting, for a server that does not answer.
            busy = f"none of {self.settings.pool_size} connections came free in time"
            raise StoreUnavailable(busy if pool.connected else "no connection could be made in time") from None
        finally:
            pool.waiting -= 1

    async def _do(self, work: Callable[[Any], Awaitable[T]], pool: _Pool, until: float) -> T:
        """Connect, if no connection is open, and do *work*."""
        is_connected = False
        try:
            async with (
                asyncio.timeout_at(min(until, now() + self.connect_timeout_s)) as timeout,
                pool.connections.connection() as connection,
            ):
                is_connected = True
                timeout.reschedule(min(until, now() + self.settings.statement_timeout_s))
                return await _watched(work, connection, pool)
        except TimeoutError:
            stage = "a statement was not answered" if is_connected else "no connection could be made"
            raise Interrupted(f"{stage} in time", may_have_run=is_connected) from None
        except (*POSTGRES_ERRORS, OSError) as error:
            raise postgres_fault(error, is_connected=is_connected) from None
        except Exception as error:  # noqa: BLE001  what is no PostgreSQL makes asyncpg fail in many ways
            name = type(error).__name__
            raise Interrupted(f"no PostgreSQL answers: {name}", may_have_run=is_connected) from None

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[_Pool]:
        """Make the pool, and close it."""
        if self.address.is_binding_wanted and not self._is_binding_told:
            self._is_binding_told = True
            logger.warning("channel_binding=require: there is none; %s", self._instead_of_binding())
        async with postgres_pool(**self._options()) as connections:
            yield _Pool(connections, asyncio.Semaphore(self.settings.pool_size))

    def _instead_of_binding(self) -> str:
        is_verified = self.address.tls is not None and self.address.tls.check_hostname
        return "the server's certificate is verified instead" if is_verified else "the connection is encrypted only"

    def _options(self) -> dict[str, Any]:
        return {
            **self.address.connect_arguments(),
            "max_size": self.settings.pool_size,
            "timeout": self.connect_timeout_s,
            "max_inactive_connection_lifetime": self.settings.idle_timeout_s,
            "statement_cache_size": 0 if self.is_pooled else 100,
            "server_settings": self._server_settings(),
        }

    def _server_settings(self) -> dict[str, str]:
        """Return the parameters of a session's start.  A pooler takes no more than the first."""
        name = {"application_name": self.address.application_name}
        if self.is_pooled:
            return name
        # Even if this process is killed, or the way to it is cut, nothing that it asked for goes on for ever.
        # It comes after ours, which does the same sooner and with a word to the caller.
        timeout_s = self.settings.statement_timeout_s + CANCEL_TIMEOUT_S
        return {**name, "statement_timeout": str(round(timeout_s * 1000))}


async def _watched(work: Callable[[Any], Awaitable[T]], connection: Any, pool: _Pool) -> T:
    """
    Do *work* on *connection*, and cut that if the work is cancelled: its time is up, or nobody waits for it any more.

    At first asyncpg asks the server to cancel the statement, so that it is not run after all; but it would wait without
    end for the answer, and a server that is frozen gives none.
    """
    pool.connected += 1
    try:
        return await work(connection)
    except asyncio.CancelledError:
        asyncio.get_running_loop().call_later(CANCEL_TIMEOUT_S, terminate, connection)
        raise
    finally:
        pool.connected -= 1
