"""Make a span for each call of the store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from uuid import UUID

from opentelemetry.trace import INVALID_SPAN, Span, Status, StatusCode, Tracer, get_current_span

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import (
    EVERYTHING,
    CreationKey,
    KeyReused,
    PreconditionFailed,
    StoreWrapper,
    TaskDeleted,
    TaskNotFound,
    TaskStore,
)
from taskd.tasks import NewTask, Task, TaskChanges

__all__ = ["TracedStore"]

# Results, not failures.
EXPECTED = (KeyReused, PreconditionFailed, TaskDeleted, TaskNotFound)


class TracedStore(StoreWrapper):
    """Makes a span for each call of *store* in a traced request, without the owner, the ids and the texts."""

    def __init__(self, store: TaskStore, tracer: Tracer) -> None:
        """Wrap *store*, and make spans with *tracer*."""
        super().__init__(store)
        self._tracer = tracer

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        """Return the tasks of *owner* that *query* selects."""
        with self._span("list") as span:
            page = await self.store.list(owner, query)
            span.set_attribute("taskd.store.tasks", len(page.tasks))
        return page

    async def seq(self, owner: str) -> int:
        """Return *owner*'s counter of changes."""
        with self._span("seq"):
            return await self.store.seq(owner)

    async def get(self, owner: str, task_id: UUID) -> Task:
        """Return a task."""
        with self._span("get"):
            return await self.store.get(owner, task_id)

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        """Store a new task and return it."""
        with self._span("create"):
            return await self.store.create(owner, new, task_id=task_id, key=key)

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        """Change a task and return it."""
        with self._span("update"):
            return await self.store.update(owner, task_id, changes, version=version)

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        """Complete or reopen a task and return it."""
        with self._span("toggle"):
            return await self.store.toggle(owner, task_id, version=version)

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        """Delete a task."""
        with self._span("delete"):
            await self.store.delete(owner, task_id, version=version)

    @contextlib.contextmanager
    def _span(self, method: str) -> Iterator[Span]:
        """
        Make a span for the block, if the request is traced.

        It has the type of an error, but not its message, which may quote a task.
        """
        if not get_current_span().is_recording():
            yield INVALID_SPAN
            return
        with self._tracer.start_as_current_span(
            f"store.{method}", record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except EXPECTED as result:
                span.set_attribute("taskd.store.result", type(result).__name__)
                raise
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise
