"""
The task endpoints.  Each reads the body or the query into a model class, calls the store once, and writes the response.

The guard has already verified that `request.user.identity` is the path's `{user_id}`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import attrs
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from taskd.routes import (
    Body,
    FieldError,
    IfMatch,
    InvalidParameter,
    JSONResponse,
    Returns,
    is_unmodified,
    list_response,
    list_unmodified,
    must_not_exist,
    operation,
    parse_body,
    read_body,
    receive_body,
    url_prefix,
    version_tag,
    weak_version_tag,
)
from taskd.storage import PreconditionFailed, TaskNotFound, TaskStore
from taskd.tasks import (
    COMPLETION,
    CONSISTENT,
    UNSET,
    Completion,
    NewTask,
    Task,
    TaskChanges,
    TaskID,
    check_new_id,
)
from taskd_tasks.examples import DONE, OPEN
from taskd_tasks.headers import (
    CreateHeader,
    ETag,
    IdempotencyKeyHeader,
    IfMatchHeader,
    IfNoneMatchHeader,
    Link,
    ListETag,
    Location,
    TotalCount,
)
from taskd_tasks.keys import creation_key
from taskd_tasks.pages import Pages
from taskd_tasks.parameters import PARAMETERS
from taskd_tasks.query import ListRequest

__all__ = ["TaskEndpoints"]

T = TypeVar("T")

_CANONICAL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _unchanged(etag: Any) -> Returns:
    """Describe the 304 for a read whose `ETag` has the type *etag*."""
    return Returns(304, "Nothing has changed: `If-None-Match` contains the current tag.", headers={"ETag": etag})


@attrs.frozen
class TaskEndpoints:
    """The six endpoints for the tasks in one *store*."""

    store: TaskStore
    _pages: Pages = attrs.field(init=False)

    @_pages.default
    def _pages_of_store(self) -> Pages:
        return Pages(self.store)

    @operation(
        "listTasks",
        Returns(
            200,
            "The tasks.",
            type=list[Task],
            example=[OPEN],
            headers={"ETag": ListETag},
            optional_headers={"Link": Link, "X-Total-Count": TotalCount},
        ),
        _unchanged(ListETag),
        query=PARAMETERS.types,
        headers={"If-None-Match": IfNoneMatchHeader},
    )
    async def list(self, request: Request) -> Response:
        """
        List tasks.

        Without parameters, returns all tasks of the user, newest first; `[]` if there are none. A task is returned if
        it passes all filters. An empty value, as in `status=`, counts as not sent, and unknown parameters are ignored.

        With `limit`, a list comes in pages: as long as there are more tasks, `Link` points to the next page. Even
        if tasks are created, deleted or changed meanwhile, no task is listed twice, and none that exists throughout is
        skipped, unless a change affects what you filter or sort by. The same holds for a list of more than 500 tasks in
        the default order, which is sent while it is read.
        """
        asked = ListRequest.of(request)
        owner = request.user.identity
        # Read the counter before the tasks: a list may be newer than its tag, but never older.
        if "if-none-match" in request.headers:
            tag = weak_version_tag(await self.store.seq(owner))
            if is_unmodified(request, tag):
                return list_unmodified({"ETag": tag})
        page = await self.store.list(owner, asked.first)
        headers = {"ETag": weak_version_tag(page.seq), **asked.headers(page)}
        is_whole = asked.first is asked.query or not page.has_more
        more = None if is_whole else partial(self._pages.after, owner, asked.query)
        writing = list_response(request, page.tasks, headers, more=more)
        # Another reference would keep the tasks from being freed in slices.
        del page
        return await writing

    @operation(
        "createTask",
        Returns(
            201,
            "The task as stored.",
            type=Task,
            example=OPEN,
            headers={"Location": Location, "ETag": ETag},
        ),
        body=Body(
            Annotated[NewTask, CONSISTENT],
            examples={
                "a title is enough": {"title": "Water the plants"},
                "with more fields": {
                    "title": "Water the plants",
                    "description": "Not the cactus.",
                    "priority": "high",
                    "due_at": "2026-11-27T18:00:00+01:00",
                    "tags": ["home"],
                },
            },
        ),
        errors=[409],
        headers={"Idempotency-Key": IdempotencyKeyHeader},
    )
    async def create(self, request: Request) -> Response:
        """
        Create a task.

        The server sets `id`, `user_id`, `created_at`, `updated_at`, `completed_at` and `version`. If the body has them,
        they are ignored.

        To retry safely when you get no response, send an `Idempotency-Key`. The response to a retry is the task as it
        is now, or a 409 if it has been deleted. If you reuse a key with another body, you get a 422 with the code
        `key_reused`.
        """
        body = await receive_body(request)
        new = parse_body(request, body, NewTask)
        key = creation_key(request, body)
        return _created(request, await self.store.create(request.user.identity, new, key=key))

    @operation(
        "getTask",
        Returns(200, "The task.", type=Task, example=OPEN, headers={"ETag": ETag}),
        _unchanged(ETag),
        errors=[404],
        parameters={"id": TaskID},
        headers={"If-None-Match": IfNoneMatchHeader},
    )
    async def get(self, request: Request) -> Response:
        """
        Get a task.

        404 if there is no such task, or it belongs to another user.
        """
        task = await self.store.get(request.user.identity, _task_id(request))
        if is_unmodified(request, version_tag(task.version)):
            return _not_modified(version_tag(task.version))
        return _task_response(task)

    @operation(
        "updateTask",
        Returns(200, "The task as it is now.", type=Task, example=DONE, headers={"ETag": ETag}),
        Returns(
            201,
            "The new task.",
            type=Task,
            example=OPEN,
            headers={"Location": Location, "ETag": ETag},
        ),
        body=Body(
            Annotated[TaskChanges, CONSISTENT],
            examples={
                "one field": {"status": "completed"},
                "clear the optional fields": {"description": None, "due_at": None, "tags": []},
            },
        ),
        errors=[404, 412],
        parameters={"id": TaskID},
        headers={"If-Match": IfMatchHeader, "If-None-Match": CreateHeader},
    )
    async def update(self, request: Request) -> Response:
        """
        Change some fields of a task, or create it.

        Fields that you leave out keep their values. `null` clears `description` and `due_at`. `tags` replaces all tags.
        `is_completed: false` without `status` sets `status` to `pending`, even if it was `in_progress`.

        With `If-None-Match: *`, creates the task under the id in the path; the body is the same as for a POST. Use this
        to create tasks while you are offline, or to restore a deleted one. The id must be a version 7 UUID (RFC 9562,
        section 5.7) in lower case, with a time at most one day in the future.
        """
        if must_not_exist(request):
            return await self._create_at_path(request)
        changes = await read_body(request, TaskChanges)
        owner, task_id = request.user.identity, _task_id(request)

        async def change(version: int | None) -> Task:
            return await self.store.update(owner, task_id, changes, version=version)

        return _task_response(await self._if_matching(request, task_id, change))

    async def _create_at_path(self, request: Request) -> Response:
        new = await read_body(request, NewTask)
        if IfMatch.of(request) is not None:
            raise InvalidParameter(FieldError("If-None-Match", "must not be sent together with If-Match"))
        return _created(request, await self.store.create(request.user.identity, new, task_id=_new_task_id(request)))

    @operation(
        "deleteTask",
        Returns(204, "The task has been deleted."),
        errors=[404, 412],
        parameters={"id": TaskID},
        headers={"If-Match": IfMatchHeader},
    )
    async def delete(self, request: Request) -> Response:
        """
        Delete a task.

        The task is deleted permanently.
        """
        owner, task_id = request.user.identity, _task_id(request)

        async def remove(version: int | None) -> None:
            await self.store.delete(owner, task_id, version=version)

        await self._if_matching(request, task_id, remove)
        return Response(status_code=204)

    @operation(
        "completeTask",
        Returns(200, "The task as it is now.", type=Task, example=DONE, headers={"ETag": ETag}),
        body=Body(
            Annotated[Completion, COMPLETION],
            examples={"toggle": {}, "complete": {"is_completed": True}, "reopen": {"is_completed": False}},
            is_required=False,
        ),
        errors=[404, 412],
        parameters={"id": TaskID},
        headers={"If-Match": IfMatchHeader},
    )
    async def complete(self, request: Request) -> Response:
        """
        Complete or reopen a task.

        Without a body, or with an empty one (`{}`), toggles the task atomically. To make a request that is safe to
        retry, send `is_completed`. A body that has only other keys is refused with a 422. A reopened task becomes
        `pending`, and its `completed_at` becomes null.
        """
        status = (await read_body(request, Completion, is_required=False)).target_status()
        owner, task_id = request.user.identity, _task_id(request)

        async def change(version: int | None) -> Task:
            if status is UNSET:
                return await self.store.toggle(owner, task_id, version=version)
            return await self.store.update(owner, task_id, TaskChanges(status=status), version=version)

        return _task_response(await self._if_matching(request, task_id, change))

    async def _if_matching(self, request: Request, task_id: UUID, write: Callable[[int | None], Awaitable[T]]) -> T:
        """
        Call *write* with the version that `If-Match` requires the task to have, or with None.

        Raises:
            TaskNotFound: There is no such task.
            PreconditionFailed: The task has another version.
        """
        demanded = IfMatch.of(request)
        if demanded is None or demanded.versions is None:
            return await write(None)
        if demanded.version is not None:
            return await write(demanded.version)
        while True:
            task = await self.store.get(request.user.identity, task_id)
            if not demanded.matches(task.version):
                raise PreconditionFailed
            # If the task has been changed since it was read, `If-Match` may list the new version, too.
            with contextlib.suppress(PreconditionFailed):
                return await write(task.version)


def _task_response(task: Task) -> Response:
    return JSONResponse(task, headers={"ETag": version_tag(task.version)})


def _created(request: Request, task: Task) -> Response:
    location = f"{url_prefix(request)}/api/{quote(task.user_id, safe='')}/tasks/{task.id}"
    return JSONResponse(task, status_code=201, headers={"Location": location, "ETag": version_tag(task.version)})


def _not_modified(tag: str) -> Response:
    """Return a 304 (RFC 9110, section 15.4.5)."""
    return Response(status_code=304, headers={"ETag": tag})


def _new_task_id(request: Request) -> UUID:
    """Return the id in the path of a task to create."""
    try:
        task_id = _task_id(request)
        check_new_id(task_id, dt.datetime.now(dt.timezone.utc))
    except TaskNotFound:
        reason = "must be a UUID in lower case, with hyphens"
    except ValueError as error:
        reason = str(error)
    else:
        return task_id
    raise InvalidParameter(FieldError("id", reason))


def _task_id(request: Request) -> UUID:
    """Return the id in the path, which must be in canonical form (RFC 9562, section 4)."""
    text = request.path_params["id"]
    if not _CANONICAL.fullmatch(text):
        raise TaskNotFound
    # Many times faster than the constructor.
    return msgspec.convert(text, UUID)
