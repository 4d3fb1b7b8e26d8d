"""The dialects of existing frontends, over HTTP, all at once and each on its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from taskd import build_app
from taskd.testing import lifespan
from tests.compat import ALL
from tests.conftest import client_of
from tests.support.tasks import Json, create

pytestmark = pytest.mark.anyio


async def titles(client: httpx.AsyncClient, url: str, **parameters: str) -> list[str]:
    """Return the titles in the envelope of a list, in their order."""
    response = await client.get(url, params=parameters)
    assert 200 == response.status_code, response.text
    return [task["title"] for task in response.json()["tasks"]]


def fields_at_fault(response: httpx.Response) -> list[str]:
    assert 422 == response.status_code, response.text
    return [error["field"] for error in response.json()["errors"]]


class TestDueDate:
    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            ("2026-11-27", "2026-11-27T00:00:00Z"),
            ("2026-11-27T18:30", "2026-11-27T18:30:00Z"),
            ("2026-11-27 18:30:05.5", "2026-11-27T18:30:05.5Z"),
            ("2026-11-27T18:30:00+01:00", "2026-11-27T17:30:00Z"),
            ("", None),
            (None, None),
        ],
    )
    async def test_is_read_in_the_forms_that_browsers_yield(
        self, client: httpx.AsyncClient, compat_url: str, tasks_url: str, sent: str | None, kept: str | None
    ) -> None:
        """A date without a time, or without an offset, is in UTC, and an empty one is none."""
        response = await client.post(compat_url, json={"title": "t", "due_date": sent})
        task = response.json()
        stored = (await client.get(f"{tasks_url}/{task['id']}")).json()

        assert 201 == response.status_code
        assert [kept and kept.replace(".5Z", ".500000Z")] * 2 == [task["due_at"], task["due_date"]]
        assert stored == {name: value for name, value in task.items() if name != "due_date"}

    async def test_wins_over_due_at_in_a_task_that_is_sent_back(
        self, client: httpx.AsyncClient, compat_url: str
    ) -> None:
        """A client that changes `due_date` in a task that it has read, and sends all of it, changes when it is due."""
        task = await create(client, compat_url, due_date="2026-11-27")

        response = await client.put(f"{compat_url}/{task['id']}", json={**task, "due_date": "2026-11-28"})

        assert "2026-11-28T00:00:00Z" == response.json()["due_date"] == response.json()["due_at"]

    async def test_is_what_errors_name(self, client: httpx.AsyncClient, compat_url: str) -> None:
        """A field error names the field that the client has sent."""
        dated = await client.post(compat_url, json={"title": "t", "due_date": "tomorrow"})
        other = await client.post(compat_url, json={"title": "t", "due_at": "tomorrow"})

        assert (["due_date"], ["due_at"]) == (fields_at_fault(dated), fields_at_fault(other))
        assert "due_date must be an RFC 3339 date-time with an offset, or null." == dated.json()["detail"]

    async def test_sorts_and_filters(self, client: httpx.AsyncClient, compat_url: str) -> None:
        """Lists can be sorted by it, and filtered by dates without times."""
        for day in (27, 25, 26):
            await create(client, compat_url, title=str(day), due_date=f"2026-11-{day}")

        assert ["25", "26", "27"] == await titles(client, compat_url, sort="due_date")
        assert ["26"] == await titles(client, compat_url, due_after="2026-11-26", due_before="2026-11-27")


class TestEnums:
    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            ({"status": "TODO", "priority": "none"}, ("pending", "low")),
            ({"status": "In Progress", "priority": "HIGH"}, ("in_progress", "high")),
            ({"status": "in-progress", "priority": "Normal"}, ("in_progress", "medium")),
            ({"status": "done", "priority": "critical"}, ("completed", "urgent")),
            ({"status": "", "priority": None}, ("pending", "medium")),
        ],
    )
    async def test_other_names_are_read(
        self, client: httpx.AsyncClient, compat_url: str, sent: Json, kept: tuple[str, str]
    ) -> None:
        """Names in any case, with a space or a hyphen, and common synonyms are read; responses have the API's."""
        task = await create(client, compat_url, **sent)

        assert kept == (task["status"], task["priority"])

    async def test_filters_read_them_too(self, client: httpx.AsyncClient, compat_url: str) -> None:
        """Filters accept the same names, and `active` for all tasks that are not completed."""
        for title, status in (("a", "pending"), ("b", "in_progress"), ("c", "completed")):
            await create(client, compat_url, title=title, status=status)

        assert ["c", "a"] == await titles(client, compat_url, status="TODO,Done")
        assert ["b", "a"] == await titles(client, compat_url, status="active")
        assert ["c", "b", "a"] == await titles(client, compat_url, status="ALL", priority="MEDIUM")

    async def test_unknown_names_are_refused(self, client: httpx.AsyncClient, compat_url: str) -> None:
        """A name that nobody uses is refused, in a body and in a filter."""
        body = await client.post(compat_url, json={"title": "t", "status": "whenever", "priority": 5})
        query = await client.get(compat_url, params={"status": "whenever"})

        assert (["status", "priority"], ["status"]) == (fields_at_fault(body), fields_at_fault(query))


class TestLists:
    async def test_come_in_an_envelope(self, client: httpx.AsyncClient, compat_url: str, tasks_url: str) -> None:
        """An envelope has the tasks, and how many there are on all pages."""
        assert {"tasks": [], "total": 0} == (await client.get(compat_url)).json()
        made = [await create(client, compat_url, title=title, due_date="2026-11-27") for title in "abc"]

        response = await client.get(compat_url, params={"limit": "2"})

        assert {"tasks": [made[2], made[1]], "total": 3} == response.json()
        assert 3 == len((await client.get(tasks_url)).json())

    async def test_have_links_to_their_next_pages(self, client: httpx.AsyncClient, compat_url: str) -> None:
        """A `Link` leads on in the same dialect, whatever the first request called its parameters."""
        for title in "abc":
            await create(client, compat_url, title=title)

        first = await client.get(compat_url, params={"perPage": "2", "sortBy": "title"})
        second = await client.get(first.url.join(first.links["next"]["url"]))

        assert (["a", "b"], 3) == ([task["title"] for task in first.json()["tasks"]], second.json()["total"])
        assert ["c"] == [task["title"] for task in second.json()["tasks"]]
        assert "next" not in second.links

    @pytest.mark.parametrize(
        ("parameters", "found"),
        [
            ({"page": "1", "per_page": "2"}, "ed"),
            ({"page": "2", "pageSize": "2"}, "cb"),
            ({"page": "3", "limit": "2"}, "a"),
            ({"page": "4", "limit": "2"}, ""),
            ({"page": "2"}, ""),
            ({"offset": "3"}, "ba"),
            ({"skip": "1", "limit": "2"}, "dc"),
            ({"offset": "99"}, ""),
            ({"offset": "", "page": "", "limit": ""}, "edcba"),
            ({"offset": "1", "limit": ["", "2"]}, "dc"),
        ],
    )
    async def test_have_numbered_pages(
        self, client: httpx.AsyncClient, compat_url: str, parameters: Mapping[str, str], found: str
    ) -> None:
        """`page` and `offset` skip tasks, and the total still counts all."""
        for title in "abcde":
            await create(client, compat_url, title=title)

        response = await client.get(compat_url, params=parameters)

        assert list(found) == [task["title"] for task in response.json()["tasks"]]
        assert 5 == response.json()["total"]

    @pytest.mark.parametrize(
        ("parameters", "found"),
        [
            ({"q": "B"}, "b"),
            ({"sort_by": "createdAt", "sort_order": "ASC"}, "abc"),
            ({"ordering": "-title"}, "cba"),
            ({"sort": "title", "direction": "descending"}, "cba"),
            ({"tags": "x,y"}, "a"),
            ({"completed": "1"}, "c"),
            ({"isCompleted": "False"}, "ba"),
        ],
    )
    async def test_accept_other_spellings_of_parameters(
        self, client: httpx.AsyncClient, compat_url: str, parameters: dict[str, str], found: str
    ) -> None:
        """Parameters and their values may have the names that other servers give them."""
        for title, fields in (("a", {"tags": ["x", "y"]}), ("b", {"tags": ["x"]}), ("c", {"completed": True})):
            await create(client, compat_url, title=title, **fields)

        assert list(found) == await titles(client, compat_url, **parameters)

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("page=0", "page"),
            ("page=two", "page"),
            ("page=9999&per_page=1000", "page"),
            ("skip=-1", "skip"),
            ("offset=10001", "offset"),
            ("sortBy=colour", "sortBy"),
            ("pageSize=0", "pageSize"),
            ("page=2&limit=many", "limit"),
            ("q=%ff", "query"),
        ],
    )
    async def test_refuse_wrong_parameters_by_the_names_that_were_sent(
        self, client: httpx.AsyncClient, compat_url: str, query: str, field: str
    ) -> None:
        """A field error names the parameter as the client has spelled it."""
        response = await client.get(f"{compat_url}?{query}")

        assert [field] == fields_at_fault(response)
        assert "invalid_parameter" == response.json()["code"]

    async def test_are_always_new(self, client: httpx.AsyncClient, compat_url: str) -> None:
        """No cache keeps a response, because its shape depends on a setting."""
        first = await client.get(compat_url)
        again = await client.get(compat_url, headers={"If-None-Match": first.headers["ETag"]})

        assert (200, "no-store") == (again.status_code, again.headers["Cache-Control"])


class TestTasks:
    async def test_the_body_after_a_delete_is_json(self, client: httpx.AsyncClient, compat_url: str) -> None:
        """A client may call `json()` on the response to a DELETE, which says what has been deleted."""
        task = await create(client, compat_url)

        response = await client.delete(f"{compat_url}/{task['id']}")
        again = await client.delete(f"{compat_url}/{task['id']}")

        assert (200, {"message": "The task has been deleted.", "id": task["id"]}) == (
            response.status_code,
            response.json(),
        )
        assert (404, "not_found") == (again.status_code, again.json()["code"])

    async def test_patch_changes_some_fields(self, client: httpx.AsyncClient, compat_url: str) -> None:
        """PATCH does what PUT does."""
        task = await create(client, compat_url, priority="high")

        changed = (await client.patch(f"{compat_url}/{task['id']}", json={"title": "new"})).json()

        assert ("new", "high") == (changed["title"], changed["priority"])

    @pytest.mark.parametrize("method", ["PATCH", "POST", "PUT"])
    async def test_toggle_completes_and_reopens(self, client: httpx.AsyncClient, compat_url: str, method: str) -> None:
        """`/toggle` does what `/complete` does, with each method that is in use."""
        task = await create(client, compat_url)
        url = f"{compat_url}/{task['id']}/toggle"

        responses = [await client.request(method, url), await client.request(method, url, json={})]

        assert [True, False] == [response.json()["completed"] for response in responses]

    async def test_have_the_locations_of_their_dialect(self, client: httpx.AsyncClient, compat_url: str) -> None:
        """The `Location` of a new task is below the prefix, and a HEAD finds it."""
        response = await client.post(compat_url, json={"title": "t"})
        location = response.headers["Location"]

        assert f"{compat_url}/{response.json()['id']}" == location
        assert 200 == (await client.head(location)).status_code
        assert response.json() == (await client.get(location)).json()

    async def test_keep_what_the_api_promises(self, client: httpx.AsyncClient, compat_url: str) -> None:
        """Versions and idempotency keys do the same as in the API."""
        headers = {"Idempotency-Key": "k"}
        body = {"title": "t", "due_date": "2026-11-27"}
        first, second = [await client.post(compat_url, json=body, headers=headers) for _ in range(2)]
        url, tag = f"{compat_url}/{first.json()['id']}", {"If-Match": first.headers["ETag"]}

        written = [await client.put(url, json={"title": "new"}, headers=tag) for _ in range(2)]

        assert first.json() == second.json()
        assert [200, 412] == [response.status_code for response in written]

    @pytest.mark.parametrize(
        "content", [b"", b"[1]", b'{"title": "t"', b'{"title": 5}', b'{"title": "\xff"}', b"[" * 9999]
    )
    async def test_refuse_what_the_api_refuses(
        self, client: httpx.AsyncClient, compat_url: str, tasks_url: str, content: bytes
    ) -> None:
        """A body that is wrong gets the API's own error."""
        headers = {"Content-Type": "application/json"}
        here, there = [await client.post(url, content=content, headers=headers) for url in (compat_url, tasks_url)]

        assert (422, there.json()) == (here.status_code, here.json())

    async def test_belong_to_their_owners(
        self, client: httpx.AsyncClient, stranger: httpx.AsyncClient, compat_url: str
    ) -> None:
        """A request needs the credentials of the user in its path."""
        missing, other = await stranger.get(compat_url), await client.get("/compat/api/somebody-else/tasks")

        assert ["missing_credentials", "wrong_user"] == [missing.json()["code"], other.json()["code"]]

    async def test_owners_may_have_any_name(self, environ: dict[str, str]) -> None:
        """A slash in a user id does not end a segment of the path."""
        app = build_app(environ)
        async with lifespan(app), client_of(app, "a/b ü") as client:
            url = "/compat/api/a%2Fb%20%C3%BC/tasks"
            task = await create(client, url)

            assert [task] == (await client.get(url)).json()["tasks"]
            assert 200 == (await client.patch(f"{url}/{task['id']}/complete")).status_code


class TestEachAlone:
    @pytest.mark.parametrize("dialect", ALL.split(","))
    async def test_only_the_dialects_that_are_named_are_spoken(
        self, environ: dict[str, str], user_id: str, compat_url: str, dialect: str
    ) -> None:
        """Each dialect changes what it is named after, and everything else is as in the API."""
        app = build_app({**environ, "TASKD_COMPAT": dialect})
        async with lifespan(app), client_of(app, user_id) as client:
            spoken = await observed(client, compat_url)
            unchanged = await observed(client, f"/api/{user_id}/tasks")

        assert {dialect} == {name for name in spoken if spoken[name] != unchanged[name]}


async def observed(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """Return how the server responds where each dialect makes a difference."""
    made = await create(client, url, title="t", due_date="2026-11-27")
    task = f"{url}/{made['id']}"
    lists = (await client.get(url)).json()
    return {
        "due_date": "due_date" in made,
        "enums": (await client.post(url, json={"title": "t", "status": "TODO"})).status_code,
        "envelopes": type(lists),
        "parameters": (await client.get(url, params={"q": "nothing has this"})).text == json.dumps([]),
        "patch": (await client.patch(task, json={"title": "t"})).status_code,
        "toggle": (await client.post(f"{task}/toggle")).status_code,
        "delete_body": (await client.delete(task)).status_code,
    }
