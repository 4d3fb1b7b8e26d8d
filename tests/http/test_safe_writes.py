"""Versions of tasks, entity tags, and conditional requests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import attrs
import httpx
import pytest
from starlette.types import ASGIApp
from uuid_utils.compat import uuid7

from taskd_sql.store import SQLTaskStore
from tests.conftest import ORIGIN, client_of

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
Headers = list[tuple[str, str]]

MISSING = "01a202b8-f11b-754f-a9d2-4d7b6419c012"
CREATE = {"If-None-Match": "*"}


@pytest.fixture(scope="module")
def database_url(each_database_url: str) -> str:
    """Versions rise and conditions hold, whatever the store."""
    return each_database_url


@attrs.frozen
class Write:
    """A request that changes or deletes a task."""

    method: str
    suffix: str = ""
    body: Json | None = None

    async def send(
        self, client: httpx.AsyncClient, task_url: str, headers: Mapping[str, str] | Headers | None = None
    ) -> httpx.Response:
        """Send the request to the task at *task_url*."""
        return await client.request(self.method, task_url + self.suffix, json=self.body, headers=headers)


WRITES = {
    "PUT": Write("PUT", body={"description": "changed"}),
    "PUT of nothing": Write("PUT", body={}),
    "PATCH that toggles": Write("PATCH", "/complete"),
    "PATCH that sets": Write("PATCH", "/complete", {"is_completed": False}),
    "DELETE": Write("DELETE"),
}
each_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


@pytest.fixture
async def task_url(client: httpx.AsyncClient, tasks_url: str) -> str:
    """Return the URL of a task that has been changed twice, so its version is 3."""
    url = (await client.post(tasks_url, json={"title": "t"})).headers["Location"]
    for _ in range(2):
        await client.put(url, json={})
    return url


async def tag_of(client: httpx.AsyncClient, url: str) -> str:
    """Return the current entity tag of the resource at *url*."""
    response = await client.get(url)
    assert 200 == response.status_code, response.text
    return response.headers["ETag"]


class TestVersions:
    async def test_every_change_raises_the_version(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Each PUT and each PATCH raises it, even if nothing else changes; reading does not."""
        created = await client.post(tasks_url, json={"title": "t"})
        url = created.headers["Location"]
        responses = [created, *[await write.send(client, url) for write in WRITES.values() if write.method != "DELETE"]]
        versions = [response.json()["version"] for response in responses]

        assert sorted(set(versions)) == versions
        assert [versions[-1]] * 2 == [(await client.get(url)).json()["version"] for _ in range(2)]

    async def test_a_refused_write_does_not_raise_the_version(
        self, client: httpx.AsyncClient, tasks_url: str, task_url: str
    ) -> None:
        """A write that breaks a rule, fails a condition or finds no task does not change any tags."""
        before = [await tag_of(client, url) for url in (tasks_url, task_url)]
        responses = [
            await client.put(task_url, json={"title": ""}),
            await client.put(task_url, json={}, headers={"If-Match": '"1"'}),
            await client.put(task_url, json={"title": "t"}, headers=CREATE),
            await client.delete(task_url, headers={"If-Match": '"1"'}),
            await client.put(f"{tasks_url}/{MISSING}", json={}),
            await client.delete(f"{tasks_url}/{MISSING}"),
        ]

        assert [422, 412, 412, 412, 404, 404] == [response.status_code for response in responses]
        assert before == [await tag_of(client, url) for url in (tasks_url, task_url)]

    async def test_an_id_that_is_reused_gets_a_higher_version_than_ever(
        self, client: httpx.AsyncClient, tasks_url: str
    ) -> None:
        """Clients that knew the deleted task cannot mistake the new one for it."""
        url = f"{tasks_url}/{uuid7()}"
        versions = []
        for _ in range(3):
            versions.append((await client.put(url, json={"title": "t"}, headers=CREATE)).json()["version"])
            versions.append((await client.patch(f"{url}/complete")).json()["version"])
            assert 204 == (await client.delete(url)).status_code

        assert sorted(set(versions)) == versions


class TestTags:
    async def test_a_task_s_version_is_its_strong_tag(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Every response with a single task has it, and HEAD has the same as GET."""
        put = await client.put(f"{tasks_url}/{uuid7()}", json={"title": "t"}, headers=CREATE)
        post = await client.post(tasks_url, json={"title": "t"})
        url = post.headers["Location"]
        changed = [await WRITES[name].send(client, url) for name in ("PUT", "PATCH that toggles", "PATCH that sets")]
        get, head = await client.get(url), await client.head(url)

        for response in (put, post, *changed, get):
            assert f'"{response.json()["version"]}"' == response.headers["ETag"]
        assert (200, b"", get.headers["ETag"]) == (head.status_code, head.content, head.headers["ETag"])
        assert "ETag" not in (await client.delete(url)).headers

    async def test_the_tag_of_a_list_changes_with_every_change(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """It is weak, exists even before the first task, and is never reused."""
        url = f"{tasks_url}/{uuid7()}"
        tags = [await tag_of(client, tasks_url)]
        await client.post(tasks_url, json={"title": "another"})
        tags.append(await tag_of(client, tasks_url))
        await client.put(url, json={"title": "t"}, headers=CREATE)
        tags.append(await tag_of(client, tasks_url))
        for write in WRITES.values():
            await write.send(client, url)
            tags.append(await tag_of(client, tasks_url))
            assert tags[-1] == (await client.head(tasks_url)).headers["ETag"]

        assert len(tags) == len(set(tags))
        assert all(tag.startswith('W/"') and tag.endswith('"') for tag in tags)

    async def test_other_users_tasks_do_not_change_the_tag_of_a_list(
        self, app: ASGIApp, client: httpx.AsyncClient, tasks_url: str, user_id: str
    ) -> None:
        """Nobody can see what others do, not even through tags."""
        before = await tag_of(client, tasks_url)
        async with client_of(app, f"{user_id}2") as other:
            for _ in range(5):
                assert 201 == (await other.post(f"/api/{user_id}2/tasks", json={"title": "t"})).status_code

        assert before == await tag_of(client, tasks_url)


class TestUnchanged:
    """`If-None-Match` on reads."""

    @pytest.mark.parametrize(
        "conditions",
        [
            ["{}"],
            ["W/{}"],
            ['"0", {}'],
            ['"0"', "{}", 'W/"x,y"'],
            [" ,, {} ,"],
            ["*"],
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_an_unchanged_resource_is_not_sent(
        self, client: httpx.AsyncClient, tasks_url: str, task_url: str, method: str, conditions: list[str]
    ) -> None:
        """If the current tag is listed, weak or not, the response has only the headers of the full one."""
        for url in (tasks_url, f"{tasks_url}?status=pending&limit=1", task_url):
            whole = await client.get(url, headers={"Origin": ORIGIN})
            tag = whole.headers["ETag"].removeprefix("W/")
            headers = [("If-None-Match", each.format(tag)) for each in conditions]
            response = await client.request(method, url, headers=[*headers, ("Origin", ORIGIN)])

            assert (304, b"") == (response.status_code, response.content)
            kept = ("ETag", "Vary", "Cache-Control", "Access-Control-Allow-Origin")
            assert [whole.headers[name] for name in kept] == [response.headers[name] for name in kept]
            assert "private, no-cache" == response.headers["Cache-Control"]
            assert "Authorization" in response.headers["Vary"]
            assert "Content-Type" not in response.headers

    @pytest.mark.parametrize("condition", ['"0"', 'W/"0"', "", "3", "*, *", '"3', "''", '"\x803"'])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_a_changed_resource_is_sent(
        self, client: httpx.AsyncClient, tasks_url: str, task_url: str, method: str, condition: str
    ) -> None:
        """A header without the current tag, or without any tag, makes no difference."""
        for url in (tasks_url, task_url):
            response = await client.request(method, url, headers={b"If-None-Match": condition.encode("latin-1")})

            assert 200 == response.status_code
            assert (method == "GET") is bool(response.content)

    async def test_after_a_change_old_tags_no_longer_match(
        self, client: httpx.AsyncClient, tasks_url: str, task_url: str
    ) -> None:
        """The new state has a new tag."""
        tags = {url: await tag_of(client, url) for url in (tasks_url, task_url)}
        await client.patch(f"{task_url}/complete")

        for url, tag in tags.items():
            response = await client.get(url, headers={"If-None-Match": tag})
            assert 200 == response.status_code
            assert tag != response.headers["ETag"]

    async def test_an_unchanged_list_is_not_read(
        self, client: httpx.AsyncClient, tasks_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However long the list is, asking whether it has changed costs next to nothing."""
        await client.post(tasks_url, json={"title": "t"})
        tag = await tag_of(client, tasks_url)
        monkeypatch.delattr(SQLTaskStore, "list")

        assert 304 == (await client.get(tasks_url, headers={"If-None-Match": tag})).status_code

    async def test_errors_come_before_a_304(
        self, client: httpx.AsyncClient, stranger: httpx.AsyncClient, tasks_url: str, task_url: str
    ) -> None:
        """A condition does not replace credentials, an existing task or valid parameters."""
        headers = {"If-None-Match": "*"}

        assert 401 == (await stranger.get(task_url, headers=headers)).status_code
        assert 404 == (await client.get(f"{tasks_url}/{MISSING}", headers=headers)).status_code
        assert 422 == (await client.get(f"{tasks_url}?limit=0", headers=headers)).status_code


class TestMatching:
    """`If-Match` on writes."""

    @pytest.mark.parametrize(
        "conditions", [['"3"'], ['"1","3"'], ['"1", "3", W/"5"'], ['"1"', '"2"', '"3"'], [' , "3",,'], ["*"], [" * "]]
    )
    @each_write
    async def test_a_task_with_a_listed_version_is_written(
        self, client: httpx.AsyncClient, task_url: str, write: Write, conditions: list[str]
    ) -> None:
        """One of the tags, in one header or several, must be that of the task; `*` matches every task."""
        response = await write.send(client, task_url, [("If-Match", each) for each in conditions])

        assert (204 if write.method == "DELETE" else 200) == response.status_code
        if write.method != "DELETE":
            assert 4 == response.json()["version"]

    @pytest.mark.parametrize(
        "conditions",
        [
            ['"2"'],
            ['"4"'],
            ['"2","4"'],
            ['"2"', '"4"'],
            ['W/"3"'],
            ['w/"3"'],
            ["3"],
            ['"3'],
            ['"3" "3"'],
            ['"03"'],
            ['" 3"'],
            ['"-3"'],
            ['"3"', "*"],
            ["*, *"],
            ['"3";'],
            [""],
            ['"9223372036854775808"'],
            ['"18446744073709551619"'],
            ['"3000000000000000000000000000000"'],
        ],
    )
    @each_write
    async def test_a_task_with_another_version_is_not_written(
        self, client: httpx.AsyncClient, task_url: str, write: Write, conditions: list[str]
    ) -> None:
        """Weak tags match no version, and neither does an invalid list."""
        before = (await client.get(task_url)).json()

        response = await write.send(client, task_url, [("If-Match", each) for each in conditions])

        assert (412, "precondition_failed") == (response.status_code, response.json()["code"])
        assert before == (await client.get(task_url)).json()

    @each_write
    async def test_of_writers_with_the_same_tag_exactly_one_succeeds(
        self, client: httpx.AsyncClient, task_url: str, write: Write
    ) -> None:
        """However many there are, all others learn that the task has changed or is gone."""
        headers = {"If-Match": await tag_of(client, task_url)}
        responses = await asyncio.gather(*[write.send(client, task_url, headers) for _ in range(50)])

        statuses = sorted(response.status_code for response in responses)
        if write.method == "DELETE":
            assert 204 == statuses[0]
            assert set(statuses[1:]) <= {404, 412}
        else:
            assert [200, *[412] * 49] == statuses
            assert 4 == (await client.get(task_url)).json()["version"]

    async def test_of_writers_with_a_list_of_tags_each_knows_what_it_changed(
        self, client: httpx.AsyncClient, task_url: str
    ) -> None:
        """If a second writer also lists the next version, it succeeds, too; a third one cannot."""
        headers = {"If-Match": '"3", "4"'}
        responses = await asyncio.gather(*[client.patch(f"{task_url}/complete", headers=headers) for _ in range(20)])
        versions = sorted(response.json()["version"] for response in responses if response.status_code == 200)

        assert [4, 5] == versions
        assert 18 == sum(response.status_code == 412 for response in responses)

    @each_write
    async def test_another_user_s_task_has_no_version(
        self, app: ASGIApp, user_id: str, task_url: str, write: Write
    ) -> None:
        """Whatever the condition, another user's task does not exist."""
        other_url = f"/api/{user_id}2/tasks/{task_url.rpartition('/')[2]}"
        async with client_of(app, f"{user_id}2") as other:
            for tag in ('"3"', '"4"', "*"):
                assert 404 == (await write.send(other, other_url, {"If-Match": tag})).status_code

    @pytest.mark.parametrize(("method", "suffix"), [("PUT", ""), ("PATCH", "/complete")])
    async def test_errors_are_checked_in_order(
        self,
        client: httpx.AsyncClient,
        stranger: httpx.AsyncClient,
        tasks_url: str,
        task_url: str,
        method: str,
        suffix: str,
    ) -> None:
        """First the credentials, then the request, then whether the task exists, then its version."""
        no_json, as_json = {"If-Match": '"1"'}, {"If-Match": '"1"', "Content-Type": "application/json"}
        for url, last in ((f"{tasks_url}/{MISSING}{suffix}", 404), (task_url + suffix, 412)):
            responses = [
                await stranger.request(method, url, content=b"x" * 70_000, headers=no_json),
                await client.request(method, url, content=b"x" * 70_000, headers=no_json),
                await client.request(method, url, content=b"x", headers=no_json),
                await client.request(method, url, content=b"x", headers=as_json),
                await client.request(method, url, content=b"{}", headers=as_json),
            ]

            assert [401, 413, 415, 422, last] == [response.status_code for response in responses]

    async def test_an_invalid_id_is_not_found(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Whatever the condition, there is no such task."""
        for name in (str(uuid.uuid4()), MISSING.upper(), "5"):
            for write in WRITES.values():
                response = await write.send(client, f"{tasks_url}/{name}", {"If-Match": "*"})
                assert 404 == response.status_code


class TestIgnored:
    @pytest.mark.parametrize(
        ("write", "condition"),
        [
            (write, condition)
            for write in WRITES.values()
            for condition in ("*", '"3"', '"0"', "nonsense")
            if (write.method, condition) != ("PUT", "*")
        ],
        ids=str,
    )
    async def test_if_none_match_does_not_affect_writes(
        self, client: httpx.AsyncClient, task_url: str, write: Write, condition: str
    ) -> None:
        """The exception is a PUT with `*`."""
        response = await write.send(client, task_url, {"If-None-Match": condition})

        assert (204 if write.method == "DELETE" else 200) == response.status_code

    async def test_conditions_do_not_affect_a_post(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """There is no task yet that they could apply to."""
        for headers in ({"If-None-Match": "*"}, {"If-Match": '"7"'}):
            assert 201 == (await client.post(tasks_url, json={"title": "t"}, headers=headers)).status_code
