"""Run statements on PostgreSQL in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import attrs

from taskd_sql.engine.batches import RunAlone
from taskd_sql.engine.database import Pipeline, Rows, Step
from taskd_sql.engine.drivers import POSTGRES_ERRORS, PostgresConnection
from taskd_sql.engine.errors import is_unknown_name, postgres_error
from taskd_sql.engine.postgres import PostgresDatabase

__all__ = ["PostgresRehearsal"]


@attrs.define(eq=False)
class PostgresRehearsal(PostgresDatabase):
    """A database like another, whose statements all run in the open transaction of one connection."""

    connection: PostgresConnection = attrs.field(kw_only=True)

    @classmethod
    async def of(cls, database: PostgresDatabase, act: Callable[[PostgresRehearsal], Awaitable[None]]) -> None:
        """
        Call *act* with a rehearsal of *database*, and roll back what it has written.

        Raises:
            StoreError: The database cannot be used.
            Exception: What *act* raised.
        """

        async def run(connection: PostgresConnection) -> Exception | None:
            failure: Exception | None = None
            rehearsal = cls(database.url, database.settings, database.limits, connection=connection)
            await connection.raw.execute("BEGIN")
            try:
                await act(rehearsal)
            except RunAlone:
                raise
            except Exception as error:  # noqa: BLE001  raised when the transaction has been rolled back
                failure = error
            await connection.raw.execute("ROLLBACK")
            return failure

        if failure := await database.with_connection(run):
            raise failure

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
        return await self._run(self.connection.fetch(sql, arguments))

    async def write(
        self, steps: Sequence[Step], *, owner: str, task_id: UUID | None = None, pipeline: Pipeline | None = None
    ) -> Rows:
        """Run one statement."""
        ((sql, arguments),) = steps
        return await self.fetch(sql, arguments, owner=owner, task_id=task_id, pipeline=pipeline)

    async def write_many(self, sql: str, arguments: Sequence[Sequence[Any]], *, owner: str) -> None:  # noqa: ARG002
        """Run one statement with each of *arguments*."""
        await self._run(self.connection.fetch_each(sql, arguments))

    async def fetch_many(self, sql: str, arguments: Sequence[Any], *, owner: str) -> Rows:
        """Run one statement."""
        return await self.fetch(sql, arguments, owner=owner)

    async def _run(self, running: Awaitable[Rows]) -> Rows:
        try:
            return await running
        except (*POSTGRES_ERRORS, OSError) as error:
            if is_unknown_name(error) and self.connection.drop_names():
                raise RunAlone from None
            raise postgres_error(error, is_connected=True) from None
