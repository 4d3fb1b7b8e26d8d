"""Use all endpoints with the functions that openapi-python-client generates, and print what they returned as JSON."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
from taskd_api_client import AuthenticatedClient
from taskd_api_client.api.server import check_liveness, check_readiness
from taskd_api_client.api.tasks import complete_task, create_task, delete_task, get_task, list_tasks, update_task
from taskd_api_client.models import (
    Completion,
    ErrorBody,
    Health,
    NewTask,
    Priority,
    Sort,
    Status,
    Task,
    TaskChanges,
    ValidationErrorBody,
)
from taskd_api_client.types import UNSET, Unset

T = TypeVar("T")


def of(kind: type[T], body: object) -> T:
    """Return *body*, which must be of that *kind*."""
    assert isinstance(body, kind), body
    return body


def titles(body: object) -> list[str]:
    """Return the titles of the tasks in a list."""
    return [of(Task, task).title for task in of(list, body)]


def next_cursor(headers: Mapping[str, str]) -> str:
    """Return the cursor in the `Link` to the next page."""
    link = httpx.Response(200, headers=dict(headers)).links["next"]["url"]
    return parse_qs(urlsplit(link).query)["cursor"][0]


def main(url: str, token: str, user_id: str) -> dict[str, object]:
    """Call everything, as the user with *user_id*."""
    client = AuthenticatedClient(base_url=url, token=token)
    live = of(Health, check_liveness.sync(client=client))
    ready = of(Health, check_readiness.sync(client=client))

    new = NewTask(
        title="Water the plants",
        priority=Priority.HIGH,
        due_at=dt.datetime(2026, 11, 27, 18, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        tags=["home", "garden"],
    )
    creation = create_task.sync_detailed(user_id, client=client, body=new, idempotency_key="plants")
    created = of(Task, creation.parsed)
    due_at = of(dt.datetime, created.due_at)
    repeated = of(Task, create_task.sync(user_id, client=client, body=new, idempotency_key="plants"))
    another = NewTask(title="Another")
    reused = create_task.sync_detailed(user_id, client=client, body=another, idempotency_key="plants")
    contradiction = NewTask(title="t", status=Status.PENDING, completed=True)
    refused = create_task.sync_detailed(user_id, client=client, body=contradiction)
    refusal = of(ValidationErrorBody, refused.parsed)
    errors = refusal.errors
    for title, tag in {"Buy milk": "home", "Call": "work"}.items():
        of(Task, create_task.sync(user_id, client=client, body=NewTask(title=title, tags=[tag])))

    def page(cursor: str | Unset = UNSET) -> tuple[list[str], Mapping[str, str]]:
        response = list_tasks.sync_detailed(
            user_id,
            client=client,
            status=[Status.PENDING, Status.IN_PROGRESS],
            tag=["home"],
            sort=Sort.TITLE,
            limit=1,
            count=True,
            cursor=cursor,
        )
        return titles(response.parsed), response.headers

    listed, first = page()
    following, last = page(next_cursor(first))
    same_list = list_tasks.sync_detailed(user_id, client=client, if_none_match=first["ETag"])

    task_id, tag = created.id, creation.headers["ETag"]
    same = get_task.sync_detailed(user_id, task_id, client=client, if_none_match=tag)
    changes = TaskChanges(status=Status.IN_PROGRESS, due_at=None, tags=[*created.tags, "urgent"])
    changed = of(Task, update_task.sync(user_id, task_id, client=client, body=changes, if_match=tag))
    stale = update_task.sync_detailed(user_id, task_id, client=client, body=changes, if_match=tag)
    toggled = of(Task, complete_task.sync(user_id, task_id, client=client))
    reopened = of(Task, complete_task.sync(user_id, task_id, client=client, body=Completion(completed=False)))

    deleted = delete_task.sync_detailed(user_id, task_id, client=client)
    gone = get_task.sync_detailed(user_id, task_id, client=client)
    whole = TaskChanges.from_dict(reopened.to_dict())
    restoration = update_task.sync_detailed(user_id, task_id, client=client, body=whole, if_none_match="*")
    restored = of(Task, restoration.parsed)
    existing = update_task.sync_detailed(user_id, task_id, client=client, body=whole, if_none_match="*")

    return {
        "health": [live.status, ready.status],
        "created": [created.title, created.status, due_at.strftime("%Y-%m-%dT%H:%M:%SZ"), created.tags],
        "repeated": [repeated.id == created.id, reused.status_code, of(ValidationErrorBody, reused.parsed).code],
        "refused": [
            refused.status_code,
            refusal.code,
            None if isinstance(errors, Unset) else [error.field for error in errors],
        ],
        "listed": [listed, first["X-Total-Count"]],
        "next": [following, last.get("Link")],
        "unchanged": [same_list.status_code, same.status_code],
        "changed": [changed.status, changed.due_at, changed.tags, changed.version > created.version],
        "stale": [stale.status_code, of(ErrorBody, stale.parsed).code],
        "toggled": [toggled.status, toggled.is_completed, toggled.completed_at is not None, reopened.status],
        "deleted": [deleted.status_code, gone.status_code, of(ErrorBody, gone.parsed).detail],
        "restored": [restoration.status_code, restored.id == created.id, restored.tags, existing.status_code],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
