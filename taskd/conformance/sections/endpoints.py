"""Check the six endpoints, and what holds for every path."""

from __future__ import annotations

import uuid
from urllib.parse import unquote

import httpx

from taskd.conformance.client import Client
from taskd.conformance.expect import (
    expect,
    expect_equal,
    expect_error,
    expect_fields,
    expect_status,
    task_of,
    token_list,
)
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.ENDPOINTS)

# The methods that each path supports, after that of the tasks.
METHODS = {
    "": {"get", "post"},
    "/{id}": {"get", "put", "delete"},
    "/{id}/complete": {"patch"},
}


@checks.add
async def create(client: Client) -> None:
    """A POST gets a 201 with the task, and Location is the task's path."""
    response = await client.post(client.body("a"))
    task = task_of(response, 201)

    expect_fields(task, response, title=f"{client.tag} a", user_id=client.account.user)
    location = response.headers.get("Location", "")
    expect_equal(unquote(f"{client.prefix}{client.path(task)}"), unquote(location), "Location", response)
    expect_equal(task, await client.now(task), "the task that was created")


@checks.add
async def read(client: Client) -> None:
    """A GET returns the task as the last write returned it, alone and in the list."""
    task = await client.create("a")
    changed = task_of(await client.put(task, {"description": "changed"}))

    expect_equal(changed, await client.now(task), "the task")
    expect_equal([changed], await client.listed(), "the list")


@checks.add
async def partial(client: Client) -> None:
    """A PUT keeps the fields that are left out."""
    fields = {"description": "d", "priority": "high", "status": "in_progress", "due_at": "2030-01-01T00:00:00Z"}
    task = await client.create("a", **fields)
    response = await client.put(task, {"title": f"{client.tag} b"})

    kept = {name: task[name] for name in (*fields, "tags", "created_at", "is_completed", "completed")}
    expect_fields(task_of(response), response, title=f"{client.tag} b", **kept)


@checks.add
async def clearing(client: Client) -> None:
    """A PUT with null clears the description and the due date."""
    task = await client.create("a", description="d", due_at="2030-01-01T00:00:00Z")
    response = await client.put(task, {"description": None, "due_at": None})

    expect_fields(task_of(response), response, description=None, due_at=None, title=task["title"])


@checks.add
async def empty(client: Client) -> None:
    """A PUT of {} is a change that keeps all fields."""
    task = await client.create("a", description="d")
    response = await client.put(task, {})

    expect_fields(task_of(response), response, title=task["title"], description="d", status="pending")


@checks.add
async def delete(client: Client) -> None:
    """A DELETE gets a 204 without a body, and the task is gone."""
    task = await client.create("a")
    response = await client.delete(task)

    expect_status(response, 204)
    expect_equal(b"", response.content, "body", response)
    expect_error(await client.get(client.path(task)), 404, "not_found")
    expect_error(await client.delete(task), 404, "not_found")
    expect_equal([], await client.listed(), "the list")


@checks.add
async def missing(client: Client) -> None:
    """A task that does not exist is a 404 on every endpoint."""
    task = {"id": str(uuid.uuid4())}
    for response in [
        await client.get(client.path(task)),
        await client.put(task, {"title": client.tag}),
        await client.complete(task),
        await client.delete(task),
    ]:
        expect_error(response, 404, "not_found")
    expect_status(await client.send("HEAD", client.path(task)), 404)


@checks.add
async def no_id(client: Client) -> None:
    """An id that is not a UUID is a task that does not exist."""
    for task_id in ("5", "x", "%00", "-", "01a202b8-f11b-754f-a9d2-4d7b6419c01"):
        task = {"id": task_id}
        for response in [
            await client.get(client.path(task)),
            await client.put(task, {"title": client.tag}),
            await client.complete(task),
            await client.delete(task),
        ]:
            expect_error(response, 404, "not_found")


@checks.add
async def canonical(client: Client) -> None:
    """Only the canonical form of a UUID names a task."""
    task = await client.create("a")
    for other in _other_forms(task["id"]):
        expect_error(await client.get(client.path({"id": other})), 404, "not_found")
        expect_error(await client.delete({"id": other}), 404, "not_found")


def _other_forms(task_id: str) -> list[str]:
    # Digits alone have no upper case.
    upper = [task_id.upper()] if task_id != task_id.upper() else []
    return [*upper, task_id.replace("-", ""), f"%7B{task_id}%7D", f"urn:uuid:{task_id}"]


@checks.add
async def trailing_slash(client: Client) -> None:
    """A trailing slash names the same resource, and is answered, not redirected."""
    response = await client.send("POST", f"{client.tasks}/", client.body("a"))
    task = task_of(response, 201)
    path = client.path(task)

    expect_equal(task, task_of(await client.get(f"{path}/")), "the task")
    expect_status(await client.get(f"{client.tasks}/?limit=1"), 200)
    expect_status(await client.send("PUT", f"{path}/", {}), 200)
    expect_status(await client.send("PATCH", f"{path}/complete/"), 200)
    expect_status(await client.send("DELETE", f"{path}/"), 204)
    for public in ("/livez/", "/readyz/"):
        expect_status(await client.get(public), 200)


# Otherwise, another check might change the list between the two requests.
@checks.add_alone
async def head(client: Client) -> None:
    """HEAD works wherever GET does, and has the same headers."""
    task = await client.create("a")
    for path in (client.path(task), client.list_path(), "/livez", "/readyz", "/openapi.json", "/docs", "/nowhere"):
        get, head = await client.get(path), await client.send("HEAD", path)
        expect_equal(get.status_code, head.status_code, f"status of HEAD {path}", head)
        for name in ("Content-Type", "ETag", "Cache-Control"):
            expect_equal(get.headers.get(name), head.headers.get(name), name, head)


@checks.add
async def other_methods(client: Client) -> None:
    """A known path with another method is a 405, whose Allow has the path's methods."""
    task = await client.create("a")
    for suffix, methods in METHODS.items():
        path = client.tasks + suffix.replace("{id}", task["id"])
        for method in {"PUT", "PATCH", "DELETE", "POST", "GET"} - {method.upper() for method in methods}:
            _expect_not_allowed(await client.send(method, path), methods)
    _expect_not_allowed(await client.send("DELETE", "/livez"), {"get"})


def _expect_not_allowed(response: httpx.Response, methods: set[str]) -> None:
    expect_error(response, 405, "method_not_allowed")
    allowed = token_list(response, "Allow")
    expect(methods <= allowed, f"Allow with {', '.join(sorted(methods)).upper()}", response)
    expect(response.request.method.lower() not in allowed, f"Allow without {response.request.method}", response)


@checks.add
async def unknown_path(client: Client) -> None:
    """An unknown path is a 404."""
    for path in ("/nowhere", "/livez/x", f"{client.tasks}/a/b/c", client.tasks.removesuffix("tasks") + "nothing"):
        expect_error(await client.get(path), 404, "not_found")
