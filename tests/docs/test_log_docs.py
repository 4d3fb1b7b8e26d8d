"""The log lines that docs/guides/neon.md quotes are really logged."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import attrs
import pytest

from taskd.storage import StoreUnavailable, TaskStore
from taskd.tasks import NewTask
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.plugin import taskd_storage
from tests.support.documentation import table
from tests.support.serving import BRIEF

pytestmark = pytest.mark.anyio

URL = "postgresql://alice@ep-cool-darkness-a1b2c3d4-pooler.us-east-2.aws.neon.tech/neondb?sslmode=require"


@attrs.define
class Connection:
    """A connection on which every statement ends in the same way."""

    fetch: Callable[..., Awaitable[Any]]
    idle_since: float = 0.0
    is_closed: bool = False
    is_in_transaction: bool = False

    def drop_names(self) -> bool:
        return False

    async def recover(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


@attrs.frozen
class Pool:
    """Opens connections, or fails to open them."""

    lend: Callable[[], Connection]

    async def open(self) -> Connection:
        return self.lend()


def unable(fault: Exception) -> Pool:
    """Return a pool that cannot open connections."""

    def lend() -> Connection:
        raise fault

    return Pool(lend)


def answering(response: list[tuple[str]] | Exception) -> Pool:
    """Return a pool where each statement has the same *response*."""

    async def fetch(*_: object) -> list[tuple[str]]:
        if isinstance(response, Exception):
            raise response
        return response

    return Pool(lambda: Connection(fetch))


def busy() -> Pool:
    """Return a pool where no statement ends."""

    async def fetch(*_: object) -> None:
        await asyncio.Event().wait()

    return Pool(lambda: Connection(fetch))


def error(kind: type[asyncpg.PostgresError]) -> asyncpg.PostgresError:
    """Return an error from the server that leaves the connection intact."""
    made = kind("secret")
    made.severity_en = "ERROR"
    return made


def untrusted() -> ssl.SSLCertVerificationError:
    """Return the error of a handshake with a server whose certificate comes from an unknown authority."""
    made = ssl.SSLCertVerificationError()
    made.verify_message = "unable to get local issuer certificate"
    return made


async def ping(store: TaskStore) -> None:
    await store.ping()


async def write(store: TaskStore) -> None:
    await store.create("alice", NewTask(title="Milk"))


async def read_by_eleven(store: TaskStore) -> None:
    """Request one more connection than there are, for users who have not used up their shares."""
    first = [asyncio.ensure_future(store.seq(f"user {number}")) for number in range(10)]
    await asyncio.sleep(0)
    try:
        await store.seq("alice")
    finally:
        for call in first:
            call.cancel()
        await asyncio.gather(*first, return_exceptions=True)


CALLS: list[tuple[Pool, Callable[[TaskStore], Awaitable[None]]]] = [
    (unable(socket.gaierror()), ping),
    (unable(untrusted()), ping),
    (unable(asyncpg.InvalidPasswordError("secret")), ping),
    (unable(asyncpg.TooManyConnectionsError("secret")), ping),
    (unable(TimeoutError()), ping),
    (unable(asyncpg.ProtocolViolationError("secret")), ping),
    (answering(error(asyncpg.ReadOnlySQLTransactionError)), write),
    (answering(error(asyncpg.DiskFullError)), write),
    (busy(), read_by_eleven),
    (answering(error(asyncpg.UndefinedTableError)), ping),
    (answering(error(asyncpg.UndefinedTableError)), write),
    (answering([]), ping),
    (answering([("9999",)]), ping),
]


async def test_quoted_lines_are_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Operators look up lines that they copy from the log; an ellipsis stands for parts that vary."""
    for pool, call in CALLS:
        monkeypatch.setattr(
            "taskd_sql.engine.postgres.postgres_pool", lambda *_, pool=pool, **__: contextlib.nullcontext(pool)
        )
        store = taskd_storage({"DATABASE_URL": URL, "TASKD_SQL_ACQUIRE_TIMEOUT": "0.1"})
        assert isinstance(store.database, PostgresDatabase)
        store.database.retries = BRIEF
        with pytest.raises(StoreUnavailable):
            await call(store)
        await store.close()
    logged = [record.getMessage() for record in caplog.records]
    quoted = [quote for cell in table("docs/guides/neon.md", "## When something is wrong") for quote in quotes(cell)]

    assert len(CALLS) == len(logged)
    assert [] == [quote for quote in quoted if not any(matches(quote, line) for line in logged)]
    assert [] == [line for line in logged if not any(matches(quote, line) for quote in quoted)]


def quotes(cell: str) -> list[str]:
    return re.findall("`(.*?)`", cell)


def matches(quote: str, line: str) -> bool:
    """Tell whether *quote* is part of *line*."""
    return re.search(".*".join(map(re.escape, quote.split("…"))), line) is not None
