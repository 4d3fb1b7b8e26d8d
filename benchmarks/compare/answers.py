"""Check that all servers do the same: same statuses and, apart from ids, times and versions, same JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import httpx

from benchmarks.compare.operations import CHANGES, NEW, Tokens
from benchmarks.compare.population import Group, task_id

__all__ = ["Answer", "answers", "differences"]

VARYING = {"id", "created_at", "updated_at", "completed_at", "due_at", "version"}


@attrs.frozen
class Answer:
    """The status of a response and, if it has a task or several, their fields."""

    status: int
    content: Any


def answers(port: int, tokens: Tokens) -> dict[str, Answer]:
    """Return what a server responds to each kind of request, by what was asked."""
    maker, reader = list(Group("made").user_ids())[:2], next(Group("read").user_ids())
    path, task = f"/api/{maker[0]}/tasks", f"/api/{reader}/tasks/{task_id(reader, 3)}"
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

        def ask(method: str, path: str, user: str | None = maker[0], body: object = None) -> Answer:
            headers = {} if user is None else {"Authorization": f"Bearer {tokens[user]}"}
            return _answer(client.request(method, path, headers=headers, json=body))

        seen = {"create": ask("POST", path, body=NEW), "create more": ask("POST", path, body=_full())}
        own = f"{path}/{_oldest(client, path, tokens[maker[0]])}"
        seen |= {
            "get": ask("GET", own),
            "list": ask("GET", path),
            "put": ask("PUT", own, body=CHANGES[0]),
            "put again": ask("PUT", own, body=CHANGES[1]),
            "toggle": ask("PATCH", f"{own}/complete"),
            "toggle back": ask("PATCH", f"{own}/complete"),
            "filtered": ask("GET", f"/api/{reader}/tasks?status=pending&priority=high&limit=20", reader),
            "read": ask("GET", task, reader),
            "delete": ask("DELETE", own),
            "deleted": ask("GET", own),
            "delete again": ask("DELETE", own),
            "of another": ask("GET", own.replace(maker[0], maker[1]), maker[1]),
            "path of another": ask("GET", task),
            "no token": ask("GET", task, None),
        }
    return seen


def _oldest(client: httpx.Client, path: str, token: str) -> str:
    """Return the id of the user's first task."""
    listed = client.get(path, headers={"Authorization": f"Bearer {token}"}).json()
    return str(listed[-1]["id"]) if listed else ""


def _full() -> dict[str, object]:
    return {**NEW, "status": "completed", "priority": "urgent", "due_at": "2030-01-01T00:00:00Z", "description": None}


def _answer(response: httpx.Response) -> Answer:
    if response.status_code >= 400 or not response.content:
        return Answer(response.status_code, None)
    content = response.json()
    return Answer(
        response.status_code, [_same(each) for each in content] if isinstance(content, list) else _same(content)
    )


def _same(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return *task* with the types of values that vary instead of the values."""
    return {name: type(value).__name__ if name in VARYING else value for name, value in task.items()}


def differences(name: str, expected: Mapping[str, Answer], seen: Mapping[str, Answer]) -> list[str]:
    """Return what the server *name* does in another way."""
    return [
        f"{name}, {asked}: {seen[asked]}\n    instead of {answer}"
        for asked, answer in expected.items()
        if seen[asked] != answer
    ]
