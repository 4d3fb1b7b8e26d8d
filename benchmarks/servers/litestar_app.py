"""Litestar + SQLAlchemy Core + asyncpg, with Litestar's own JWT authentication and msgspec's structs as bodies."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Litestar, delete, get, patch, post, put
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException, NotFoundException
from litestar.handlers import BaseRouteHandler
from litestar.params import Parameter
from litestar.security.jwt import JWTAuth, Token
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import ARRAY, Column, DateTime, Integer, MetaData, Row, String, Table, Text, Uuid, case, func, select
from sqlalchemy import delete as delete_from
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from uuid_utils.compat import uuid7

Title = Annotated[str, Meta(min_length=1, max_length=200)]
Description = Annotated[str, Meta(max_length=10_000)]
Tags = Annotated[list[Annotated[str, Meta(min_length=1, max_length=50)]], Meta(max_length=20)]
Status = Literal["pending", "in_progress", "completed"]
Priority = Literal["low", "medium", "high", "urgent"]
DueAt = Annotated[dt.datetime, Meta(tz=True)]

tasks = Table(
    "tasks",
    MetaData(),
    Column("user_id", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("title", Text, nullable=False),
    Column("description", Text),
    Column("status", String(20), nullable=False),
    Column("priority", String(20), nullable=False),
    Column("due_at", DateTime(timezone=True)),
    Column("tags", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("completed_at", DateTime(timezone=True)),
    Column("version", Integer, nullable=False),
)


class Task(msgspec.Struct):
    """A task in a response."""

    id: UUID
    user_id: str
    title: str
    description: str | None
    status: str
    priority: str
    due_at: dt.datetime | None
    tags: list[str]
    is_completed: bool
    completed: bool
    created_at: dt.datetime
    updated_at: dt.datetime
    completed_at: dt.datetime | None
    version: int

    @classmethod
    def of(cls, row: Row[Any]) -> Task:
        """Make a task from a row."""
        is_completed = row.status == "completed"
        return cls(**row._mapping, is_completed=is_completed, completed=is_completed)  # noqa: SLF001  it is public


class NewTask(msgspec.Struct):
    """The body of a POST."""

    title: Title
    description: Description | None = None
    status: Status = "pending"
    priority: Priority = "medium"
    due_at: DueAt | None = None
    tags: Tags = []


class Changes(msgspec.Struct):
    """The body of a PUT; what it omits is kept."""

    title: Title | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    due_at: DueAt | UnsetType | None = UNSET
    tags: Tags | UnsetType = UNSET


class User(msgspec.Struct):
    """Whom a token belongs to."""

    id: str


async def user_of(token: Token, _: ASGIConnection[Any, Any, Any, Any]) -> User:
    """Return the user of a verified token."""
    return User(token.sub)


def own_path(connection: ASGIConnection[Any, User, Token, Any], _: BaseRouteHandler) -> None:
    """Refuse the paths of other users."""
    if connection.path_params["user_id"] != connection.user.id:
        raise NotAuthorizedException("Another user's path")


async def transaction(state: State) -> AsyncIterator[AsyncConnection]:
    """Lend a connection to a request, in a transaction."""
    async with state.engine.begin() as connection:
        yield connection


def found(row: Row[Any] | None) -> Task:
    """Return the task in *row*, if there is one."""
    if row is None:
        raise NotFoundException
    return Task.of(row)


class Tasks(Controller):
    """The six endpoints."""

    path = "/api/{user_id:str}/tasks"
    guards = [own_path]  # noqa: RUF012

    @get()
    async def list_tasks(
        self,
        user_id: str,
        db: AsyncConnection,
        status: Status | None = None,
        priority: Priority | None = None,
        limit: Annotated[int | None, Parameter(ge=1, le=1000)] = None,
    ) -> list[Task]:
        """List the user's tasks, newest first."""
        query = select(tasks).where(tasks.c.user_id == user_id).order_by(tasks.c.id.desc()).limit(limit)
        if status:
            query = query.where(tasks.c.status == status)
        if priority:
            query = query.where(tasks.c.priority == priority)
        return [Task.of(row) for row in await db.execute(query)]

    @post()
    async def create_task(self, user_id: str, db: AsyncConnection, data: NewTask) -> Task:
        """Create a task."""
        now = dt.datetime.now(dt.timezone.utc)
        completed_at = now if data.status == "completed" else None
        values = {**msgspec.structs.asdict(data), "completed_at": completed_at, "created_at": now, "updated_at": now}
        statement = tasks.insert().values(user_id=user_id, id=uuid7(), version=1, **values).returning(tasks)
        return Task.of((await db.execute(statement)).one())

    @get("/{task_id:uuid}")
    async def get_task(self, user_id: str, task_id: UUID, db: AsyncConnection) -> Task:
        """Return a task."""
        query = select(tasks).where(tasks.c.user_id == user_id, tasks.c.id == task_id)
        return found((await db.execute(query)).one_or_none())

    @put("/{task_id:uuid}")
    async def update_task(self, user_id: str, task_id: UUID, db: AsyncConnection, data: Changes) -> Task:
        """Change a task."""
        values = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
        if data.status is not UNSET:
            is_completed = data.status == "completed"
            values["completed_at"] = func.coalesce(tasks.c.completed_at, func.now()) if is_completed else None
        return await _changed(db, user_id, task_id, values)

    @patch("/{task_id:uuid}/complete")
    async def toggle_task(self, user_id: str, task_id: UUID, db: AsyncConnection) -> Task:
        """Complete a task, or reopen it."""
        is_completed = tasks.c.status == "completed"
        values = {
            "status": case((is_completed, "pending"), else_="completed"),
            "completed_at": case((is_completed, None), else_=func.now()),
        }
        return await _changed(db, user_id, task_id, values)

    @delete("/{task_id:uuid}")
    async def delete_task(self, user_id: str, task_id: UUID, db: AsyncConnection) -> None:
        """Delete a task."""
        statement = delete_from(tasks).where(tasks.c.user_id == user_id, tasks.c.id == task_id)
        if not (await db.execute(statement)).rowcount:
            raise NotFoundException


async def _changed(db: AsyncConnection, user_id: str, task_id: UUID, values: dict[str, Any]) -> Task:
    statement = (
        tasks.update()
        .where(tasks.c.user_id == user_id, tasks.c.id == task_id)
        .values(**values, updated_at=func.now(), version=tasks.c.version + 1)
        .returning(tasks)
    )
    return found((await db.execute(statement)).one_or_none())


@asynccontextmanager
async def engine(app: Litestar) -> AsyncIterator[None]:
    """Keep a pool of ten connections while the application serves."""
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
    created: AsyncEngine = create_async_engine(url, pool_size=10, max_overflow=0)
    app.state.engine = created
    yield
    await created.dispose()


app = Litestar(
    [Tasks],
    dependencies={"db": transaction},
    lifespan=[engine],
    on_app_init=[JWTAuth[User](retrieve_user_handler=user_of, token_secret=os.environ["JWT_SECRET"]).on_app_init],
    openapi_config=None,
)
