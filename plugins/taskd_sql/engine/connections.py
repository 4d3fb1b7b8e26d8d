"""Keep connections to PostgreSQL open, and lend them to one call at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import attrs

from taskd_sql.engine.drivers import PostgresConnection, PostgresPool

__all__ = ["Connections"]


@attrs.define(eq=False)
class Connections:
    """
    The open connections to one server that no call is using.

    The one that was used last is lent first, so those that are not needed become idle, and are closed.

    Args:
        pool: Opens connections.
        loop: The event loop that uses them.
        idle_timeout_s: After how many seconds without a call a connection is closed.
        recovery_timeout_s: How long a connection may take to recover from a failed or cancelled call.
    """

    pool: PostgresPool
    loop: asyncio.AbstractEventLoop
    _idle_timeout_s: float
    _recovery_timeout_s: float
    # In the order in which they became idle.
    _idle: list[PostgresConnection] = attrs.field(init=False, factory=list)
    _timer: asyncio.TimerHandle | None = attrs.field(init=False, default=None)
    # Kept here because a loop has only weak references to its tasks.
    _tasks: set[asyncio.Task[None]] = attrs.field(init=False, factory=set)

    @property
    def idle(self) -> int:
        """How many connections are open, and not lent."""
        return len(self._idle)

    def take(self) -> PostgresConnection | None:
        """Return an open connection, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                return connection
            self._in_background(connection.close())
        return None

    def give_back(self, connection: PostgresConnection) -> None:
        """Keep *connection* for other calls."""
        connection.idle_since = self.loop.time()
        self._idle.append(connection)
        if self._timer is None:
            self._close_idle_later()

    def recover(self, connection: PostgresConnection, then: Callable[[], None]) -> None:
        """Keep *connection*, whose call has failed, if it recovers soon, or else close it; then call *then*."""
        self._in_background(self._recover(connection, then))

    async def _recover(self, connection: PostgresConnection, then: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(self._recovery_timeout_s):
                await connection.recover()
        except Exception:  # noqa: BLE001  nobody knows what state it is in
            # A frozen server, for example, does not confirm that it has ended the statement.
            connection.terminate()
            await connection.close()
        finally:
            if not connection.is_closed:
                self.give_back(connection)
            then()

    def _close_idle_later(self) -> None:
        due = self._idle[0].idle_since + self._idle_timeout_s
        self._timer = self.loop.call_at(due, self._close_idle, due)

    def _close_idle(self, due: float) -> None:
        """Close the connections that were *due* to be closed at a certain time, or earlier."""
        self._timer = None
        # Computed as above: after rounding, `due` less the time-out may be earlier than `idle_since`.
        while self._idle and self._idle[0].idle_since + self._idle_timeout_s <= due:
            self._in_background(self._idle.pop(0).close())
        if self._idle:
            self._close_idle_later()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextlib.asynccontextmanager
    async def closing(self) -> AsyncIterator[Connections]:
        """Close all connections at the end of the block, except those that are still lent."""
        try:
            yield self
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for connection in self._idle:
                self._in_background(connection.close())
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                closing = asyncio.gather(*self._tasks, return_exceptions=True)
                await asyncio.wait_for(closing, self._recovery_timeout_s)
