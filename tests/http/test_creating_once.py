"""Tasks that clients can safely create twice: under their own ids, and with idempotency keys."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.types import ASGIApp

import taskd_sql.store
from taskd.tasks import time_of
from tests.conftest import client_of
from tests.support.serving import serving

pytestmark = pytest.mark.anyio

Json = dict[str, Any]

CREATE = {"If-None-Match": "*"}
TASK = {"title": "t"}
DAY_MS = 24 * 60 * 60 * 1000


@pytest.fixture(scope="module")
def database_url(each_database_url: str) -> str:
    """Nothing is created twice, whatever the store."""
    return each_database_url


def id_at(milliseconds: int) -> str:
    """Return an id such as a client creates at this number of seconds since 1970."""
    return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | uuid.uuid4().int & (1 << 62) - 1))


def id_ahead(milliseconds: int = 0) -> str:
    """Return an id such as a client creates if its clock is ahead."""
    now = dt.datetime.now(dt.timezone.utc)
    return id_at(int(now.timestamp() * 1000) + milliseconds)


def refusal(response: httpx.Response) -> tuple[int, str, list[str]]:
    """Return the status and the code of an error, and the names of its fields."""
    body = response.json()
    return response.status_code, body["code"], [error["field"] for error in body["errors"]]


class TestPut:
    """`PUT` with `If-None-Match: *`."""

    async def test_it_creates_a_task_under_the_id_in_the_path(
        self, client: httpx.AsyncClient, tasks_url: str, user_id: str
    ) -> None:
        """The response is the same as for a POST, and the task is as old as its id."""
        task_id = id_ahead(-5_000)
        response = await client.put(f"{tasks_url}/{task_id}", json={**TASK, "id": str(uuid.uuid4())}, headers=CREATE)
        task = response.json()

        assert 201 == response.status_code
        assert f"{tasks_url}/{task_id}" == response.headers["Location"]
        assert f'"{task["version"]}"' == response.headers["ETag"]
        assert (task_id, user_id, "pending", "medium") == (
            task["id"],
            task["user_id"],
            task["status"],
            task["priority"],
        )
        assert time_of(UUID(task_id)) == dt.datetime.fromisoformat(task["created_at"])
        assert task["created_at"] <= task["updated_at"]
        assert task == (await client.get(response.headers["Location"])).json()
        assert [task] == (await client.get(tasks_url)).json()

    async def test_its_place_in_a_list_follows_from_its_id(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """A task that was created offline keeps its creation time."""
        late, early = id_ahead(-1_000), id_ahead(-2_000)
        newest = (await client.post(tasks_url, json=TASK)).json()["id"]
        for task_id in (late, early):
            await client.put(f"{tasks_url}/{task_id}", json=TASK, headers=CREATE)

        assert [newest, late, early] == [task["id"] for task in (await client.get(tasks_url)).json()]

    @pytest.mark.parametrize("is_completed", [True, False])
    async def test_an_existing_task_stays_as_it_is(
        self, client: httpx.AsyncClient, tasks_url: str, is_completed: bool
    ) -> None:
        """The second of two clients learns that the task already exists."""
        url = f"{tasks_url}/{id_ahead()}"
        first = (await client.put(url, json={**TASK, "completed": is_completed}, headers=CREATE)).json()

        second = await client.put(url, json={"title": "second"}, headers=CREATE)

        assert (412, "precondition_failed") == (second.status_code, second.json()["code"])
        assert "errors" not in second.json()
        assert first == (await client.get(url)).json()

    async def test_of_several_concurrent_requests_one_succeeds(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """All others get a 412, and there is only one task."""
        url = f"{tasks_url}/{id_ahead()}"
        bodies = [{"title": f"{number}"} for number in range(20)]
        responses = await asyncio.gather(*[client.put(url, json=body, headers=CREATE) for body in bodies])

        created = [response.json() for response in responses if response.status_code == 201]
        assert [201, *[412] * 19] == sorted(response.status_code for response in responses)
        assert created == (await client.get(tasks_url)).json()

    async def test_different_users_can_use_the_same_id(
        self, app: ASGIApp, client: httpx.AsyncClient, tasks_url: str, user_id: str
    ) -> None:
        """Nobody can see whether another user has a task with that id."""
        task_id = id_ahead()
        assert 201 == (await client.put(f"{tasks_url}/{task_id}", json=TASK, headers=CREATE)).status_code
        async with client_of(app, f"{user_id}2") as other:
            url = f"/api/{user_id}2/tasks/{task_id}"
            assert 201 == (await other.put(url, json={"title": "another"}, headers=CREATE)).status_code

        assert "t" == (await client.get(f"{tasks_url}/{task_id}")).json()["title"]

    @pytest.mark.parametrize(
        "task_id",
        [
            "01A202B8-F11B-754F-A9D2-4D7B6419C012",
            "01a202b8f11b754fa9d24d7b6419c012",
            "{01a202b8-f11b-754f-a9d2-4d7b6419c012}",
            # Version 4, and version 7 of another variant.
            "01a202b8-f11b-454f-a9d2-4d7b6419c012",
            "01a202b8-f11b-754f-c9d2-4d7b6419c012",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "5",
            "%00",
            "%F0%9F%8E%89",
        ],
    )
    async def test_an_invalid_id_is_refused(self, client: httpx.AsyncClient, tasks_url: str, task_id: str) -> None:
        """Only a version 7 UUID in its canonical form can become an id."""
        response = await client.put(f"{tasks_url}/{task_id}", json=TASK, headers=CREATE)

        assert (422, "invalid_parameter", ["id"]) == refusal(response)
        assert [] == (await client.get(tasks_url)).json()

    async def test_an_id_may_be_a_day_ahead(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Clocks may be wrong, but a task from next week would stay the newest one until then."""
        good = [id_at(0), id_ahead(DAY_MS - 60_000)]
        bad = [id_ahead(DAY_MS + 60_000), id_ahead(365 * DAY_MS), id_at((1 << 48) - 1)]

        for task_id in good:
            response = await client.put(f"{tasks_url}/{task_id}", json={**TASK, "completed": True}, headers=CREATE)
            task = response.json()
            assert 201 == response.status_code
            assert time_of(UUID(task_id)) == dt.datetime.fromisoformat(task["created_at"])
            assert task["created_at"] <= task["updated_at"] == task["completed_at"]
        for task_id in bad:
            response = await client.put(f"{tasks_url}/{task_id}", json=TASK, headers=CREATE)
            assert (422, "invalid_parameter", ["id"]) == refusal(response)

    @pytest.mark.parametrize("body", [{}, {"title": ""}, {"title": None}, {"title": 5}])
    async def test_the_body_is_the_same_as_for_a_post(
        self, client: httpx.AsyncClient, tasks_url: str, body: Json
    ) -> None:
        """A title is required, even if the task already exists."""
        url = f"{tasks_url}/{id_ahead()}"
        await client.put(url, json=TASK, headers=CREATE)

        for each in (url, f"{tasks_url}/{id_ahead()}"):
            assert (422, "invalid_body", ["title"]) == refusal(await client.put(each, json=body, headers=CREATE))

    @pytest.mark.parametrize("condition", ["*", '"1"', "nonsense", ""])
    async def test_the_two_conditions_exclude_each_other(
        self, client: httpx.AsyncClient, tasks_url: str, condition: str
    ) -> None:
        """No task can meet both `If-Match` and `If-None-Match: *`."""
        url = f"{tasks_url}/{id_ahead()}"
        response = await client.put(url, json=TASK, headers={**CREATE, "If-Match": condition})

        assert (422, "invalid_parameter", ["If-None-Match"]) == refusal(response)
        assert 404 == (await client.get(url)).status_code

    @pytest.mark.parametrize("condition", ['"1"', 'W/"1"', '*, "1"', "nonsense", ""])
    async def test_other_conditions_create_nothing(
        self, client: httpx.AsyncClient, tasks_url: str, condition: str
    ) -> None:
        """Only `*` requires that there is no task."""
        response = await client.put(f"{tasks_url}/{id_ahead()}", json=TASK, headers={"If-None-Match": condition})

        assert 404 == response.status_code

    async def test_a_deleted_task_can_be_restored(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """The client can send what it still has of the task as the body."""
        task = (await client.post(tasks_url, json={**TASK, "tags": ["a"], "status": "in_progress"})).json()
        url = f"{tasks_url}/{task['id']}"
        await client.delete(url)

        response = await client.put(url, json=task, headers=CREATE)

        assert 201 == response.status_code
        changed = ("created_at", "updated_at", "version")
        assert {**task, **{name: response.json()[name] for name in changed}} == response.json()


BAD_KEYS: list[list[bytes]] = [
    [b""],
    [b'""'],
    [b"a b"],
    [b"a\tb"],
    ["\u00e9".encode()],
    ["\u00e9".encode("latin-1")],
    [b"k" * 256],
    [b'"' + b"k" * 256 + b'"'],
    [b"k", b"k"],
    [b"k", b"l"],
]


class TestIdempotencyKey:
    """`POST` with `Idempotency-Key`."""

    async def test_a_retry_creates_nothing(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """It gets the response that was lost."""
        first, second = [await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": "k"}) for _ in range(2)]

        assert (201, 201) == (first.status_code, second.status_code)
        assert first.json() == second.json()
        kept = ("Location", "ETag")
        assert [first.headers[name] for name in kept] == [second.headers[name] for name in kept]
        assert [first.json()] == (await client.get(tasks_url)).json()

    async def test_a_retry_changes_nothing(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """The list stays the same, and so does its tag."""
        await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": "k"})
        tag = (await client.get(tasks_url)).headers["ETag"]
        await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": "k"})

        assert tag == (await client.get(tasks_url)).headers["ETag"]

    async def test_a_retry_gets_the_task_as_it_is_now(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Changes that were made in the meantime are kept."""
        headers = {"Idempotency-Key": "k"}
        url = (await client.post(tasks_url, json=TASK, headers=headers)).headers["Location"]
        changed = (await client.put(url, json={"title": "u", "completed": True})).json()

        response = await client.post(tasks_url, json=TASK, headers=headers)

        assert (201, changed) == (response.status_code, response.json())
        assert f'"{changed["version"]}"' == response.headers["ETag"]

    @pytest.mark.parametrize(
        "body", [b'{"title": "u"}', b'{"title":"t"}', b'{"title": "t"} ', b'{"title": "t", "x": 1}']
    )
    async def test_a_key_stands_for_one_body(self, client: httpx.AsyncClient, tasks_url: str, body: bytes) -> None:
        """With other bytes, the request means another task, which the key must not hide."""
        headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
        created = await client.post(tasks_url, content=b'{"title": "t"}', headers=headers)

        response = await client.post(tasks_url, content=body, headers=headers)

        assert (201, 422) == (created.status_code, response.status_code)
        assert {"detail", "code"} == response.json().keys()
        assert "key_reused" == response.json()["code"]
        assert [created.json()] == (await client.get(tasks_url)).json()

    async def test_a_deleted_task_is_not_created_again(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """The key outlives its task, and still belongs to its body."""
        headers = {"Idempotency-Key": "k"}
        url = (await client.post(tasks_url, json=TASK, headers=headers)).headers["Location"]
        await client.delete(url)

        responses = [await client.post(tasks_url, json=body, headers=headers) for body in (TASK, {"title": "u"})]

        assert [(409, "task_deleted"), (422, "key_reused")] == [
            (response.status_code, response.json()["code"]) for response in responses
        ]
        assert all({"detail", "code"} == response.json().keys() for response in responses)
        assert [] == (await client.get(tasks_url)).json()

    async def test_different_users_can_use_the_same_key(
        self, app: ASGIApp, client: httpx.AsyncClient, tasks_url: str, user_id: str
    ) -> None:
        """Two users who choose the same key do not notice each other."""
        headers = {"Idempotency-Key": "k"}
        mine = await client.post(tasks_url, json=TASK, headers=headers)
        async with client_of(app, f"{user_id}2") as other:
            theirs = await other.post(f"/api/{user_id}2/tasks", json={"title": "u"}, headers=headers)

        assert (201, 201) == (mine.status_code, theirs.status_code)
        assert (user_id, f"{user_id}2") == (mine.json()["user_id"], theirs.json()["user_id"])

    async def test_each_key_creates_a_task(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Keys are case-sensitive; without a key, every request creates a task."""
        keys = ["k", "K", "k,l", "'k'", '"', "k" * 254 + "l", "k" * 255, None, None]
        for key in keys:
            headers = {} if key is None else {"Idempotency-Key": key}
            assert 201 == (await client.post(tasks_url, json=TASK, headers=headers)).status_code

        assert len(keys) == len({task["id"] for task in (await client.get(tasks_url)).json()})

    @pytest.mark.parametrize("key", ["k", "k" * 255, '"', "!~"])
    async def test_quotes_are_ignored(self, client: httpx.AsyncClient, tasks_url: str, key: str) -> None:
        """Clients that follow the draft send the same key with quotes, and others without."""
        for each in (key, f'"{key}"'):
            assert 201 == (await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": each})).status_code

        assert 1 == len((await client.get(tasks_url)).json())

    @pytest.mark.parametrize("keys", BAD_KEYS, ids=lambda keys: ",".join(map(repr, keys))[:20])
    async def test_an_invalid_key_is_refused(
        self, client: httpx.AsyncClient, tasks_url: str, keys: list[bytes]
    ) -> None:
        """Otherwise, a client that relies on it might create the task twice."""
        headers: Any = [(b"Idempotency-Key", key) for key in keys]
        response = await client.post(tasks_url, json=TASK, headers=headers)

        assert (422, "invalid_parameter", ["Idempotency-Key"]) == refusal(response)
        assert [] == (await client.get(tasks_url)).json()

    async def test_a_refused_request_does_not_use_up_its_key(
        self, client: httpx.AsyncClient, stranger: httpx.AsyncClient, tasks_url: str
    ) -> None:
        """The client can correct its mistake and send the same key again."""
        headers = {"Idempotency-Key": "k"}
        as_json = {**headers, "Content-Type": "application/json"}
        refused = [
            await stranger.post(tasks_url, json=TASK, headers=headers),
            await client.post(tasks_url, content=b'{"title": "' + b"t" * 70_000, headers=as_json),
            await client.post(tasks_url, content=b'{"title": "t"}', headers=headers),
            await client.post(tasks_url, content=b'{"title": ', headers=as_json),
            await client.post(tasks_url, json={"title": ""}, headers=headers),
        ]
        response = await client.post(tasks_url, json=TASK, headers=headers)

        assert [401, 413, 415, 422, 422] == [each.status_code for each in refused]
        assert 201 == response.status_code
        assert [response.json()] == (await client.get(tasks_url)).json()

    async def test_concurrent_retries_create_one_task(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Each of them gets that task."""
        requests = [client.post(tasks_url, json=TASK, headers={"Idempotency-Key": "k"}) for _ in range(20)]
        responses = await asyncio.gather(*requests)

        assert {201} == {response.status_code for response in responses}
        assert [responses[0].json()] * 20 == [response.json() for response in responses]
        assert [responses[0].json()] == (await client.get(tasks_url)).json()

    async def test_a_key_outlives_the_server(self, database_url: str, user_id: str, tasks_url: str) -> None:
        """If a restart cuts off the first request, a retry may come afterwards."""
        responses = []
        for _ in range(2):
            async with serving(database_url, user_id) as client:
                responses.append(await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": "k"}))

        assert (201, 201) == (responses[0].status_code, responses[1].status_code)
        assert responses[0].json() == responses[1].json()

    async def test_a_key_is_valid_for_at_least_a_day(
        self, client: httpx.AsyncClient, tasks_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Some time later it is forgotten, even among many others, and the same request creates another task."""
        headers = {"Idempotency-Key": "k"}
        now = dt.datetime.now(dt.timezone.utc)
        found = []
        for hours in (0, 24, 168, 192):
            moment = now + dt.timedelta(hours=hours)
            monkeypatch.setattr(taskd_sql.store, "_now", lambda moment=moment: moment)
            # Creating any task with a key deletes old keys.
            await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": f"other-{hours}"})
            found.append((await client.post(tasks_url, json=TASK, headers=headers)).json()["id"])

        assert found[0] == found[1] != found[2] == found[3]

    async def test_only_post_has_keys(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Other writes are safe to repeat, or have a condition."""
        headers = {"Idempotency-Key": "k"}
        url = (await client.post(tasks_url, json=TASK, headers=headers)).headers["Location"]

        toggled = [(await client.patch(f"{url}/complete", headers=headers)).json()["completed"] for _ in range(2)]

        assert [True, False] == toggled
        assert 201 == (await client.put(f"{tasks_url}/{id_ahead()}", json=TASK, headers=headers | CREATE)).status_code
