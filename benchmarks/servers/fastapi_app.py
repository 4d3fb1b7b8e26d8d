"""FastAPI + SQLModel + asyncpg + PyJWT, as their documentation shows: a session for each request, a pool of ten."""

from __future__ import annotations

import datetime as dt
import enum
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AwareDatetime, StringConstraints
from sqlalchemy import Column, DateTime, String, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from uuid_utils.compat import uuid7

SECRET = os.environ["JWT_SECRET"]
engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=10, max_overflow=0
)
sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)


class Status(enum.StrEnum):
    """The progress of a task."""

    pending = "pending"
    in_progress = "in_progress"
    completed = "completed"


class Priority(enum.StrEnum):
    """How important a task is."""

    low = "low"
    medium = "medium"
    high = "high"
    urgent = "urgent"


Title = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(max_length=10_000)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=50)]


def now() -> dt.datetime:
    """Return the current time."""
    return dt.datetime.now(dt.timezone.utc)


class Task(SQLModel, table=True):
    """A task in the database."""

    __tablename__ = "tasks"

    user_id: str = Field(primary_key=True)
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    title: str
    description: str | None = None
    status: Status = Field(default=Status.pending, sa_type=String)
    priority: Priority = Field(default=Priority.medium, sa_type=String)
    due_at: dt.datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    tags: list[str] = Field(default_factory=list, sa_column=Column(ARRAY(Text), nullable=False))
    created_at: dt.datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))
    updated_at: dt.datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))
    completed_at: dt.datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    version: int = 1

    @property
    def is_completed(self) -> bool:
        """Whether the task is completed."""
        return self.status == Status.completed

    @property
    def completed(self) -> bool:
        """The same under another name."""
        return self.is_completed

    def move(self, status: Status) -> None:
        """Change the status, and the time of completion with it."""
        self.status = status
        self.completed_at = (self.completed_at or now()) if self.is_completed else None

    def touch(self) -> None:
        """Record that the task has changed."""
        self.updated_at = now()
        self.version += 1


class TaskCreate(SQLModel):
    """The body of a POST."""

    title: Title
    description: Description | None = None
    status: Status = Status.pending
    priority: Priority = Priority.medium
    due_at: AwareDatetime | None = None
    tags: list[Tag] = Field(default_factory=list, max_length=20)


class TaskUpdate(SQLModel):
    """The body of a PUT; what it omits is kept."""

    title: Title | None = None
    description: Description | None = None
    status: Status | None = None
    priority: Priority | None = None
    due_at: AwareDatetime | None = None
    tags: list[Tag] | None = Field(default=None, max_length=20)


class TaskRead(SQLModel):
    """A task in a response."""

    id: UUID
    user_id: str
    title: str
    description: str | None
    status: Status
    priority: Priority
    due_at: dt.datetime | None
    tags: list[str]
    is_completed: bool
    completed: bool
    created_at: dt.datetime
    updated_at: dt.datetime
    completed_at: dt.datetime | None
    version: int


class Filter(SQLModel):
    """The parameters of a list."""

    status: Status | None = None
    priority: Priority | None = None
    limit: int | None = Field(default=None, ge=1, le=1000)


async def session() -> AsyncIterator[AsyncSession]:
    """Open a session for a request."""
    async with sessions() as opened:
        yield opened


async def owner(user_id: str, credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    """Return the user in the path if the token is that user's."""
    try:
        claims = jwt.decode(credentials.credentials, SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Invalid token") from None
    if claims["sub"] != user_id:
        raise HTTPException(401, "Another user's path")
    return user_id


Owner = Annotated[str, Depends(owner)]
Session = Annotated[AsyncSession, Depends(session)]


async def own_task(task_id: UUID, owner: Owner, session: Session) -> Task:
    """Return the task in the path if it is the user's."""
    task: Task | None = await session.get(Task, (owner, task_id))
    if task is None:
        raise HTTPException(404, "Not found")
    return task


OwnTask = Annotated[Task, Depends(own_task)]
router = APIRouter(prefix="/api/{user_id}/tasks")


@router.get("", response_model=list[TaskRead])
async def list_tasks(owner: Owner, session: Session, given: Annotated[Filter, Query()]) -> Any:
    """List the user's tasks, newest first."""
    query = select(Task).where(Task.user_id == owner).order_by(col(Task.id).desc()).limit(given.limit)
    if given.status:
        query = query.where(Task.status == given.status)
    if given.priority:
        query = query.where(Task.priority == given.priority)
    return (await session.exec(query)).all()


@router.post("", response_model=TaskRead, status_code=201)
async def create_task(owner: Owner, session: Session, given: TaskCreate) -> Any:
    """Create a task."""
    task = Task(user_id=owner, **given.model_dump())
    task.move(given.status)
    session.add(task)
    await session.commit()
    return task


@router.get("/{task_id}", response_model=TaskRead)
async def get_task(task: OwnTask) -> Any:
    """Return a task."""
    return task


@router.put("/{task_id}", response_model=TaskRead)
async def update_task(task: OwnTask, session: Session, given: TaskUpdate) -> Any:
    """Change a task."""
    task.sqlmodel_update(given.model_dump(exclude_unset=True))
    task.move(task.status)
    task.touch()
    await session.commit()
    return task


@router.patch("/{task_id}/complete", response_model=TaskRead)
async def toggle_task(task: OwnTask, session: Session) -> Any:
    """Complete a task, or reopen it."""
    task.move(Status.pending if task.is_completed else Status.completed)
    task.touch()
    await session.commit()
    return task


@router.delete("/{task_id}", status_code=204)
async def delete_task(task: OwnTask, session: Session) -> Response:
    """Delete a task."""
    await session.delete(task)
    await session.commit()
    return Response(status_code=204)


app = FastAPI()
app.include_router(router)
