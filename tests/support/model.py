"""A model of a user's tasks in plain Python, which says what each response must be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import attrs

__all__ = ["Json", "Model", "Query"]

Json = dict[str, Any]
# The parameters of a list, each with its values.
Query = Mapping[str, Sequence[str]]

DEFAULTS: Json = {"description": None, "status": "pending", "priority": "medium", "due_at": None, "tags": []}
PRIORITIES = ["low", "medium", "high", "urgent"]
FIELDS = {
    *["id", "user_id", "title", "description", "status", "priority", "due_at", "tags", "is_completed", "completed"],
    *["created_at", "updated_at", "completed_at", "version"],
}
SORT_KEYS: Mapping[str, Callable[[Json], Any]] = {
    "created_at": lambda _: 0,
    "updated_at": lambda task: moment(task["updated_at"]),
    "due_at": lambda task: moment(task["due_at"]),
    "priority": lambda task: PRIORITIES.index(task["priority"]),
    "title": lambda task: task["title"].casefold(),
}


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def time_of(task_id: str) -> dt.datetime:
    """Return the time in a version 7 UUID."""
    milliseconds = int(task_id.replace("-", "")[:12], 16)
    return dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(milliseconds=milliseconds)


@attrs.define
class Model:
    """
    A user's tasks after all responses so far.

    Values that the server chooses, such as times and versions, are copied from a response once they have been checked.

    Attributes:
        tasks: The tasks, by id.
        keys: For each idempotency key, the body, and the id of the task that it created.
        ids: The ids of all tasks that ever existed.
        versions: All versions that were ever returned.
    """

    user_id: str
    tasks: dict[str, Json] = attrs.field(factory=dict)
    keys: dict[str, tuple[bytes, str]] = attrs.field(factory=dict)
    ids: list[str] = attrs.field(factory=list)
    versions: list[int] = attrs.field(factory=lambda: [0])
    writes: int = 0

    def created(self, body: Json, task: Json, task_id: str | None = None) -> None:
        """Check and store the *task* that was created from *body*."""
        status = _target_status(body) or "pending"
        expected = {**DEFAULTS, **_given(body), "status": status}
        _check_fields(expected, task)
        assert self.user_id == task["user_id"]
        assert UUID(task["id"]).version == 7
        if task_id is not None:
            assert (task_id, time_of(task_id)) == (task["id"], moment(task["created_at"]))
        assert task["id"] not in self.tasks
        assert moment(task["created_at"]) <= moment(task["updated_at"])
        assert task["completed_at"] == (task["updated_at"] if status == "completed" else None)
        self._keep(task)

    def changed(self, task_id: str, body: Json, task: Json) -> None:
        """Check and store the state of a *task* after the changes in *body*."""
        before = self.tasks[task_id]
        status = _target_status(body) or before["status"]
        kept = {name: before[name] for name in ("title", *DEFAULTS)}
        _check_fields({**kept, **_given(body), "status": status}, task)
        for name in ("id", "user_id", "created_at"):
            assert before[name] == task[name]
        assert moment(before["updated_at"]) <= moment(task["updated_at"])
        completed_at = before["completed_at"] or task["updated_at"]
        assert task["completed_at"] == (completed_at if status == "completed" else None)
        self._keep(task)

    def toggled(self, task_id: str, task: Json) -> None:
        """Check and store the state of a *task* after a toggle."""
        self.changed(task_id, {"is_completed": self.tasks[task_id]["status"] != "completed"}, task)

    def deleted(self, task_id: str) -> None:
        del self.tasks[task_id]
        self.writes += 1

    def listed(self, query: Query) -> list[Json]:
        """Return all tasks that *query* selects, in order, on all pages together."""
        found = [self.tasks[task_id] for task_id in sorted(self.tasks) if _matches(self.tasks[task_id], query)]
        sort = _single(query, "sort") or "created_at"
        order = _single(query, "order") or ("asc" if sort in {"due_at", "title"} else "desc")
        last = [task for task in found if sort == "due_at" and task["due_at"] is None]
        first = sorted([task for task in found if task not in last], key=SORT_KEYS[sort])
        return first + last if order == "asc" else first[::-1] + last[::-1]

    def _keep(self, task: Json) -> None:
        assert FIELDS == set(task)
        assert task["version"] > max(self.versions)
        self.versions.append(task["version"])
        self.tasks[task["id"]] = task
        self.writes += 1
        if task["id"] not in self.ids:
            self.ids.append(task["id"])


def _target_status(body: Json) -> str | None:
    for flag in ("is_completed", "completed"):
        if flag in body and "status" not in body:
            return "completed" if body[flag] else "pending"
    status: str | None = body.get("status")
    return status


def _given(body: Json) -> Json:
    given = {name: body[name] for name in ("title", *DEFAULTS) if name in body}
    return given | ({"tags": list(dict.fromkeys(given["tags"]))} if "tags" in given else {})


def _check_fields(expected: Json, task: Json) -> None:
    for name, value in expected.items():
        if name == "due_at" and value is not None:
            assert moment(value) == moment(task[name])
            assert task[name].endswith("Z")
        else:
            assert value == task[name], name
    assert [expected["status"] == "completed"] * 2 == [task["is_completed"], task["completed"]]


def _single(query: Query, name: str) -> str | None:
    [value] = query.get(name, [""])
    return value or None


def _matches(task: Json, query: Query) -> bool:
    for name in ("status", "priority"):
        wanted = {item for value in query.get(name, []) for item in value.split(",")} - {""}
        if wanted and "all" not in wanted and task[name] not in wanted:
            return False
    for name in ("is_completed", "completed"):
        if _single(query, name) not in (None, "true" if task["status"] == "completed" else "false"):
            return False
    if any(tag and tag not in task["tags"] for tag in query.get("tag", [])):
        return False
    return _is_due(task, query) and _is_found(task, (_single(query, "search") or "").casefold())


def _is_due(task: Json, query: Query) -> bool:
    start, end = _single(query, "due_after"), _single(query, "due_before")
    if start is None and end is None:
        return True
    if task["due_at"] is None:
        return False
    due_at = moment(task["due_at"])
    return (start is None or moment(start) <= due_at) and (end is None or due_at < moment(end))


def _is_found(task: Json, folded: str) -> bool:
    return folded in task["title"].casefold() or folded in (task["description"] or "").casefold()
