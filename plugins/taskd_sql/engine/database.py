"""What the store needs from a database, and the time limits on its calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Protocol
from uuid import UUID
from weakref import WeakKeyDictionary

import attrs
from sqlalchemy import Dialect

from taskd.limiter import FairLimiter, Overloaded
from taskd.storage import StoreUnavailable
from taskd.telemetry import Measurement

__all__ = [
    "Database",
    "Kind",
    "Limits",
    "LongReads",
    "Pipeline",
    "Rows",
    "Step",
    "now",
    "pool_measurements",
    "silence_drivers",
]

# At DEBUG, these log the arguments of statements, which contain the text of tasks; at INFO, they log nothing useful.
TALKATIVE_LOGGERS = ("aiosqlite", "databases")

Rows = list[Sequence[Any]]
# A statement, with the dialect's placeholders, and the values for them.
Step = tuple[str, Sequence[Any]]


@attrs.frozen(eq=False)
class Kind:
    """
    A kind of calls that may share a turn; each of its instances is another kind.

    Attributes:
        max_calls: How many calls may share a turn.
        is_one_per_owner: Whether no two of them may be of the same owner.
    """

    max_calls: int
    is_one_per_owner: bool = False


@attrs.frozen(eq=False)
class Pipeline(Kind):
    """
    A kind of calls that may share a round trip to PostgreSQL: one statement is run for each call.

    Attributes:
        sql: The statement.  Others wait while it waits for a lock, so it must not wait for long.
        split: Returns the rows of each call, given the rows of all, in order, and the owner and the task of each call.
    """

    sql: str = attrs.field(kw_only=True)
    split: Callable[[Rows, Sequence[tuple[str, UUID | None]]], Sequence[Rows]] = attrs.field(kw_only=True)


@attrs.frozen
class Limits:
    """
    Limits on every call, besides those in the settings.

    Attributes:
        call_timeout_s: How long a whole call may take: waiting for its turn, connecting, running and retrying.  Even
            with the time it takes to cancel the call and the delays of a loaded server, this stays below the ten
            seconds that the API promises clients.
        cancel_timeout_s: How long a cancelled call may take to end.
        folding_s: How long a search may prepare texts that an older server has written, which takes several calls.
        rows_at_once: How many rows of a long list are fetched at a time.  A driver needs a millisecond or two to turn
            them into objects, which blocks the event loop.
    """

    call_timeout_s: float = 8.0
    cancel_timeout_s: float = 1.0
    folding_s: float = 6.0
    rows_at_once: int = 500


class Database(Protocol):
    """Runs compiled statements.  It connects on first use, in the event loop that is running then."""

    @property
    def name(self) -> str:
        """Return the name of the database for the log."""
        ...

    @property
    def dialect(self) -> Dialect:
        """Return the SQLAlchemy dialect to compile statements for."""
        ...

    @property
    def location(self) -> str:
        """Describe where the tasks are."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether the tasks are on this machine."""
        ...

    async def fetch(
        self,
        sql: str,
        arguments: Sequence[Any] = (),
        *,
        owner: str = "",
        task_id: UUID | None = None,
        pipeline: Pipeline | None = None,
    ) -> Rows:
        """
        Run one statement that changes nothing, and return its rows.

        Args:
            sql: The statement, with the dialect's placeholders.
            arguments: The values for the placeholders.
            owner: Whose tasks the statement concerns; owners take turns.  "" is for calls without an owner, such as the
                health check.
            task_id: The task that the statement concerns, if it concerns only one.
            pipeline: How the call may share a round trip with others.

        Raises:
            StoreUnavailable: The statement could not be run or got no response within the limits on a call and on its
                cancellation, or too many calls are waiting.
            StoreError: The database rejected the statement.
        """
        ...

    async def write(
        self, steps: Sequence[Step], *, owner: str, task_id: UUID | None = None, pipeline: Pipeline | None = None
    ) -> Rows:
        """
        Run statements in one transaction, and return the rows of the last one that has a RETURNING clause.

        If a statement with that clause returns no row, nothing is changed, and no row is returned.  Otherwise, the
        changes are durable when this method returns.

        Args:
            steps: The statements; for PostgreSQL, only one.
            owner: Whose tasks the statements concern.
            task_id: As for `fetch`.
            pipeline: As for `fetch`.

        Raises:
            StoreUnavailable: As for `fetch`.
            StoreError: As for `fetch`.
        """
        ...

    async def write_many(self, sql: str, arguments: Sequence[Sequence[Any]], *, owner: str) -> None:
        """
        Run one statement with each of *arguments*, in one transaction.

        Raises:
            StoreUnavailable: As for `fetch`.
            StoreError: As for `fetch`.
        """
        ...

    async def fetch_many(self, sql: str, arguments: Sequence[Any], *, owner: str) -> Rows:
        """
        Run one statement that changes nothing and returns many rows.

        The rows are a snapshot of one moment, but are fetched in parts, and other statements run in between.  Only one
        such call runs at a time: several would slow each other down and keep their rows in memory.

        Raises:
            StoreUnavailable: As for `fetch`.
            StoreError: As for `fetch`.
        """
        ...

    def waited_s(self, *, is_read: bool) -> float:
        """
        Return how many seconds the longest-waiting statement has been waiting for a connection; 0.0 if none is.

        Time that a statement would wait on an idle server, too, need not count.
        """
        ...

    def measurements(self) -> Iterator[Measurement]:
        """Yield the numbers about the connections of the running loop, if there are any."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def pool_measurements(pool: str, opened: int, limiter: FairLimiter) -> Iterator[Measurement]:
    """Yield how many connections of *pool* are *opened* and busy, and how many calls wait for one."""
    labels, busy = {"pool": pool}, limiter.in_use
    yield Measurement("store_connections_open", "Open connections to the database.", opened, labels=labels)
    yield Measurement("store_connections_busy", "Connections that calls are using or opening.", busy, labels=labels)
    limit = "Connections that may be open."
    yield Measurement("store_connections_limit", limit, limiter.capacity, labels=labels)
    yield Measurement("store_calls_waiting", "Calls that wait for a connection.", limiter.waiting, labels=labels)


def now() -> float:
    """Return the running loop's time, in seconds."""
    return asyncio.get_running_loop().time()


@attrs.frozen(eq=False)
class LongReads:
    """Runs statements that return many rows, one at a time in each event loop."""

    _limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, FairLimiter] = attrs.field(
        init=False, factory=WeakKeyDictionary
    )

    @contextlib.asynccontextmanager
    async def turn(self, owner: str, until: float) -> AsyncIterator[None]:
        """
        Wait for *owner*'s turn, and hold the turn during the block.

        Raises:
            StoreUnavailable: *owner* got no turn before *until*, by the loop's clock, or too many calls are waiting.
        """
        # However many calls are waiting, each may wait until its own deadline.
        limiter = self._limiters.setdefault(asyncio.get_running_loop(), FairLimiter(1, target_s=math.inf))
        try:
            await limiter.acquire(owner, until)
        except (Overloaded, TimeoutError):
            raise StoreUnavailable("too many long lists are being read") from None
        try:
            yield
        finally:
            limiter.release(owner)


def silence_drivers() -> None:
    """Keep what the drivers say about each statement out of the log."""
    for name in TALKATIVE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
