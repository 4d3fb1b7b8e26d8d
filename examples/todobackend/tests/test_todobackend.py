"""Todo-Backend's API: the cases of its published specification, and what taskd adds to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import jwt
import pytest
from starlette.types import ASGIApp

from taskd import build_app
from taskd.testing import lifespan, undescribed

SECRET = "not a secret, but at least 32 bytes"
ORIGIN = "https://todobackend.example.com"
ROOT = ("GET", "POST", "DELETE")
ITEM = ("GET", "PATCH", "DELETE")
MISSING = "/019ab7d4-5c00-7b2a-9d3e-4f5061728394"

pytestmark = pytest.mark.anyio


@attrs.frozen
class Todos:
    """A client of Todo-Backend: a page of another origin, with a token."""

    client: httpx.AsyncClient

    async def request(self, method: str, url: str = "", body: object = None) -> httpx.Response:
        """Send a request to an absolute *url*, or to the root, and check that the page may read the response."""
        response = await self.client.request(method, url, json=body)
        assert ORIGIN == response.headers["Access-Control-Allow-Origin"]
        return response

    async def json(self, method: str, url: str = "", body: object = None) -> Any:
        """Return the body of a successful response."""
        response = await self.request(method, url, body)
        assert response.is_success, response.text
        return response.json()

    async def delete(self, url: str = "") -> None:
        assert (await self.request("DELETE", url)).is_success


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[ASGIApp]:
    url = f"sqlite:///{tmp_path}/tasks.db"
    app = build_app({"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": url, "FRONTEND_URL": ORIGIN})
    async with lifespan(app):
        yield app


@pytest.fixture
async def todos(app: ASGIApp) -> AsyncIterator[Todos]:
    async with client_of(app, "alice") as client:
        yield Todos(client)


def client_of(app: ASGIApp, user: str) -> httpx.AsyncClient:
    token = jwt.encode({"sub": user, "exp": int(time.time()) + 600}, SECRET)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url=f"http://taskd.example.com/api/{user}/todos",
        headers={"Authorization": f"Bearer {token}", "Origin": ORIGIN},
    )


class TestPrerequisites:
    async def test_the_root_responds_to_get(self, todos: Todos) -> None:
        """The server is up, and CORS is set up."""
        assert 200 == (await todos.request("GET")).status_code

    async def test_the_root_responds_to_post_with_the_todo(self, todos: Todos) -> None:
        """The response contains what was posted."""
        assert "a todo" == (await todos.json("POST", body={"title": "a todo"}))["title"]

    async def test_the_root_responds_to_delete(self, todos: Todos) -> None:
        """The response is successful, whether or not there are todos."""
        for _ in range(2):
            await todos.delete()
            await todos.json("POST", body={"title": "a todo"})

    async def test_after_delete_the_root_is_empty(self, todos: Todos) -> None:
        """The list is an empty array."""
        await todos.json("POST", body={"title": "a todo"})
        await todos.delete()

        assert [] == await todos.json("GET")


class TestStoring:
    async def test_a_new_todo_is_added_to_the_list(self, todos: Todos) -> None:
        """It is the only one there."""
        await todos.json("POST", body={"title": "walk the dog"})

        assert ["walk the dog"] == [todo["title"] for todo in await todos.json("GET")]

    async def test_a_new_todo_is_not_completed(self, todos: Todos) -> None:
        """In the response and in the list."""
        created = await todos.json("POST", body={"title": "blah"})

        assert created == (await todos.json("GET"))[0]
        assert created["completed"] is False

    async def test_a_new_todo_has_a_url_that_returns_it(self, todos: Todos) -> None:
        """The URL is absolute."""
        created = await todos.json("POST", body={"title": "my todo"})

        assert created["url"].startswith("http://taskd.example.com/api/alice/todos/")
        assert created == await todos.json("GET", created["url"])


class TestExistingTodo:
    async def test_urls_lead_from_the_list_to_todos(self, todos: Todos) -> None:
        """Each todo in the list has the URL at which it can be read."""
        for title in ("todo the first", "todo the second"):
            await todos.json("POST", body={"title": title})
        listed = await todos.json("GET")

        assert 2 == len(listed)
        assert listed == [await todos.json("GET", todo["url"]) for todo in listed]

    async def test_a_title_can_be_changed(self, todos: Todos) -> None:
        """The response has the new title."""
        url = (await todos.json("POST", body={"title": "initial title"}))["url"]

        assert "bathe the cat" == (await todos.json("PATCH", url, {"title": "bathe the cat"}))["title"]

    async def test_a_todo_can_be_completed(self, todos: Todos) -> None:
        """And reopened."""
        url = (await todos.json("POST", body={"title": "blah"}))["url"]

        for completed in (True, True, False):
            assert completed is (await todos.json("PATCH", url, {"completed": completed}))["completed"]

    async def test_changes_are_stored(self, todos: Todos) -> None:
        """They show up in the todo and in the list."""
        url = (await todos.json("POST", body={"title": "blah"}))["url"]
        changed = await todos.json("PATCH", url, {"title": "changed title", "completed": True})

        assert ("changed title", True) == (changed["title"], changed["completed"])
        assert changed == await todos.json("GET", url)
        assert [changed] == await todos.json("GET")

    async def test_a_todo_can_be_deleted(self, todos: Todos) -> None:
        """It is not in the list any more."""
        url = (await todos.json("POST", body={"title": "blah"}))["url"]
        await todos.delete(url)

        assert [] == await todos.json("GET")
        assert 404 == (await todos.request("GET", url)).status_code


class TestOrder:
    async def test_a_todo_can_be_created_with_an_order(self, todos: Todos) -> None:
        """The response has it."""
        assert 523 == (await todos.json("POST", body={"title": "blah", "order": 523}))["order"]

    async def test_the_order_can_be_changed_and_is_remembered(self, todos: Todos) -> None:
        """Changing other fields keeps it, and null removes it."""
        url = (await todos.json("POST", body={"title": "blah", "order": 10}))["url"]

        for order in (95, 0, -3, 2**53 - 1, None, 7):
            assert order == (await todos.json("PATCH", url, {"order": order}))["order"]
            assert order == (await todos.json("PATCH", url, {"title": "another"}))["order"]
            assert order == (await todos.json("GET", url))["order"]

    @pytest.mark.parametrize("order", [1.5, "1", True, 2**53, -(2**53)])
    async def test_a_wrong_order_is_refused(self, order: object, todos: Todos) -> None:
        """The response is a 422 that names the field, and nothing is stored."""
        response = await todos.request("POST", body={"title": "blah", "order": order})

        assert (422, "order") == (response.status_code, response.json()["errors"][0]["field"])
        assert [] == await todos.json("GET")


class TestTasks:
    """Todos are the user's tasks."""

    @pytest.fixture
    def tasks(self, todos: Todos) -> str:
        return str(todos.client.base_url).replace("/todos/", "/tasks")

    async def test_the_order_is_a_tag(self, todos: Todos, tasks: str) -> None:
        """Other tags stay, and so do all fields that todos do not have."""
        body = {"title": "t", "tags": ["home", "order:1", "work"], "priority": "high", "description": "d"}
        task = await todos.json("POST", tasks, body)
        [todo] = await todos.json("GET")
        await todos.json("PATCH", todo["url"], {"order": 2, "completed": True})

        changed = await todos.json("GET", f"{tasks}/{task['id']}")
        assert 1 == todo["order"]
        assert ["home", "work", "order:2"] == changed["tags"]
        assert {**task, **changed} == {**changed, "priority": "high", "description": "d", "title": "t"}

    async def test_a_task_with_too_many_tags_cannot_be_ordered(self, todos: Todos, tasks: str) -> None:
        """The response is a 422 that says why, and the task stays as it was."""
        task = await todos.json("POST", tasks, {"title": "t", "tags": [f"{number}" for number in range(20)]})
        [todo] = await todos.json("GET")
        response = await todos.request("PATCH", todo["url"], {"order": 2, "completed": True})

        assert 422 == response.status_code
        message = "cannot be kept, because it needs a tag, and the task has 20 others"
        assert [{"field": "order", "message": message}] == response.json()["errors"]
        assert task == await todos.json("GET", f"{tasks}/{task['id']}")

    async def test_a_concurrent_change_of_the_tags_is_kept(self, todos: Todos, tasks: str) -> None:
        """Ordering replaces the tags that are there at that moment, and no others."""
        task = await todos.json("POST", tasks, {"title": "t"})
        url = f"{todos.client.base_url}{task['id']}"
        await asyncio.gather(
            *[todos.json("PATCH", url, {"order": number}) for number in range(10)],
            todos.json("PUT", f"{tasks}/{task['id']}", {"tags": ["home"]}),
        )

        tags = (await todos.json("GET", f"{tasks}/{task['id']}"))["tags"]
        assert "home" in tags
        assert 1 >= sum(tag.startswith("order:") for tag in tags)


class TestServer:
    async def test_todos_are_protected(self, todos: Todos) -> None:
        """Without credentials, or with another user's path, every request gets a 401."""
        url = (await todos.json("POST", body={"title": "blah"}))["url"]
        theirs = [each.replace("alice", "bob") for each in (str(todos.client.base_url), url)]
        for method in ITEM:
            assert 401 == (await todos.request(method, theirs[1])).status_code
        for method in ROOT:
            assert 401 == (await todos.request(method, theirs[0])).status_code
        del todos.client.headers["Authorization"]
        for method, target in [*[(each, "") for each in ROOT], *[(each, url) for each in ITEM]]:
            assert 401 == (await todos.request(method, target)).status_code

    async def test_another_user_s_todos_are_left_alone(self, todos: Todos, app: ASGIApp) -> None:
        """They are not listed, and not deleted."""
        await todos.json("POST", body={"title": "hers"})
        async with client_of(app, "bob") as client:
            his = Todos(client)
            assert [] == await his.json("GET")
            await his.delete()

        assert ["hers"] == [todo["title"] for todo in await todos.json("GET")]

    async def test_pages_of_the_frontend_may_use_all_methods(self, todos: Todos) -> None:
        """A preflight from the frontend's origin is allowed, and one from elsewhere is not."""
        for method, url in [("POST", ""), ("DELETE", ""), ("PATCH", MISSING), ("DELETE", MISSING)]:
            headers = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type"}
            response = await todos.client.options(url, headers=headers)
            assert ORIGIN == response.headers["Access-Control-Allow-Origin"]
            assert method in response.headers["Access-Control-Allow-Methods"]
        response = await todos.client.get("", headers={"Origin": "https://elsewhere.example.com"})
        assert "Access-Control-Allow-Origin" not in response.headers

    @pytest.mark.parametrize("path", [MISSING, "/1", MISSING.upper()])
    async def test_what_is_not_there_is_a_404(self, path: str, todos: Todos) -> None:
        """So is an id that is not a UUID as the server writes it."""
        for method in ITEM:
            assert 404 == (await todos.request(method, path, {} if method == "PATCH" else None)).status_code

    @pytest.mark.parametrize(
        "body", [{}, {"title": ""}, {"title": 5}, {"title": "t", "completed": "yes"}, {"title": "t" * 201}, []]
    )
    async def test_a_wrong_todo_is_refused(self, body: object, todos: Todos) -> None:
        """The rules are those of tasks."""
        assert 422 == (await todos.request("POST", body=body)).status_code

    async def test_the_routes_are_described(self, todos: Todos) -> None:
        """Generated clients know all of them."""
        assert [] == undescribed((await todos.client.get("http://taskd.example.com/openapi.json")).content)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
