"""Run statements on an SQLite file in a transaction that is rolled back."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs

from taskd.storage import StoreUnavailable
from taskd_sql.engine.database import Pipeline, Rows, Step
from taskd_sql.engine.sqlite import SQLiteDatabase, translating
from taskd_sql.engine.sqlite_driver import sqlite_connection
from taskd_sql.url import SQLiteURL

__all__ = ["SQLiteRehearsal"]

Act = Callable[["SQLiteRehearsal"], Awaitable[None]]


@attrs.define(eq=False)
class SQLiteRehearsal(SQLiteDatabase):
    """A database like another, whose statements all run in the open transaction of one aiosqlite connection."""

    connection: Any = attrs.field(kw_only=True)

    @classmethod
    async def of(cls, database: SQLiteDatabase, act: Act) -> None:
        """
        Call *act* with a rehearsal of *database*, and roll back what it has written.

        If there is no file yet, this uses one beside it, which is then deleted.

        Raises:
            StoreError: The file cannot be used.
            Exception: What *act* raised.
        """
        file = database.url.file
        if file.exists():
            await cls._of_file(database, act)
            return
        with translating(), tempfile.TemporaryDirectory(prefix=".taskd-doctor-", dir=file.resolve().parent) as folder:
            beside = attrs.evolve(database, url=SQLiteURL(Path(folder) / file.name))
            try:
                await beside.fetch("SELECT 1")
                await cls._of_file(beside, act)
            finally:
                await beside.close()

    @classmethod
    async def _of_file(cls, database: SQLiteDatabase, act: Act) -> None:
        limit_s = min(database.settings.statement_timeout_s, database.limits.call_timeout_s)
        async with sqlite_connection(database.url.file, limit_s) as connection:
            with translating():
                await connection.execute_fetchall("BEGIN IMMEDIATE")
            try:
                # Until the end, nobody else can write.
                async with asyncio.timeout(database.limits.call_timeout_s):
                    await act(cls(database.url, database.settings, database.limits, connection=connection))
            except TimeoutError:
                raise StoreUnavailable("no response in time") from None
            finally:
                # The error may already have ended the transaction, as a full disk does.
                if connection.in_transaction:
                    await connection.execute_fetchall("ROLLBACK")

    async def fetch(
        self,
        sql: str,
        arguments: Sequence[Any] = (),
        *,
        owner: str = "",  # noqa: ARG002  nobody else uses the connection
        task_id: UUID | None = None,  # noqa: ARG002
        pipeline: Pipeline | None = None,  # noqa: ARG002
    ) -> Rows:
        """Run one statement."""
        with translating():
            rows: Rows = await self.connection.execute_fetchall(sql, arguments)
        return rows

    async def write(
        self,
        steps: Sequence[Step],
        *,
        owner: str,  # noqa: ARG002
        task_id: UUID | None = None,  # noqa: ARG002
        pipeline: Pipeline | None = None,  # noqa: ARG002
    ) -> Rows:
        """Run statements, and undo them if one that should return rows does not."""
        with translating():
            await self.connection.execute_fetchall("SAVEPOINT one")
            rows = await self._rows_of(steps)
            if rows is None:
                await self.connection.execute_fetchall("ROLLBACK TO one")
            await self.connection.execute_fetchall("RELEASE one")
        return rows or []

    async def _rows_of(self, steps: Sequence[Step]) -> Rows | None:
        rows: Rows = []
        for sql, arguments in steps:
            async with self.connection.execute(sql, arguments) as cursor:
                if cursor.description is not None and not (rows := list(await cursor.fetchall())):
                    return None
        return rows

    async def write_many(self, sql: str, arguments: Sequence[Sequence[Any]], *, owner: str) -> None:  # noqa: ARG002
        """Run one statement with each of *arguments*."""
        with translating():
            await self.connection.executemany(sql, arguments)

    async def fetch_many(self, sql: str, arguments: Sequence[Any], *, owner: str) -> Rows:
        """Run one statement."""
        return await self.fetch(sql, arguments, owner=owner)
