"""Tasks that clients may create twice without harm: under ids of their own, and with idempotency keys."""

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
    """Return an id that a client makes at a time since 1970."""
    return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | uuid.uuid4().int & (1 << 62) - 1))


def id_ahead(milliseconds: int = 0) -> str:
    """Return an id that a client makes whose clock is ahead."""
    now = dt.datetime.now(dt.timezone.utc)
    return id_at(int(now.timestamp() * 1000) + milliseconds)


def refusal(response: httpx.Response) -> tuple[int, str, list[str]]:
    """Return the status and the code of an error, and the fields that it names."""
    body = response.json()
    return response.status_code, body["code"], [error["field"] for error in body["errors"]]


class TestPut:
    """`PUT` with `If-None-Match: *`."""

    async def test_it_creates_a_task_under_the_id_of_the_path(
        self, client: httpx.AsyncClient, tasks_url: str, user_id: str
    ) -> None:
        """The response is that to a POST, and the task is as old as its id."""
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

    async def test_a_list_has_it_where_its_id_belongs(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """What was made while offline is as old as it was then."""
        late, early = id_ahead(-1_000), id_ahead(-2_000)
        newest = (await client.post(tasks_url, json=TASK)).json()["id"]
        for task_id in (late, early):
            await client.put(f"{tasks_url}/{task_id}", json=TASK, headers=CREATE)

        assert [newest, late, early] == [task["id"] for task in (await client.get(tasks_url)).json()]

    @pytest.mark.parametrize("is_completed", [True, False])
    async def test_a_task_that_there_is_stays_as_it_is(
        self, client: httpx.AsyncClient, tasks_url: str, is_completed: bool
    ) -> None:
        """The second of two clients learns that the first one was there."""
        url = f"{tasks_url}/{id_ahead()}"
        first = (await client.put(url, json={**TASK, "completed": is_completed}, headers=CREATE)).json()

        second = await client.put(url, json={"title": "second"}, headers=CREATE)

        assert (412, "precondition_failed") == (second.status_code, second.json()["code"])
        assert "errors" not in second.json()
        assert first == (await client.get(url)).json()

    async def test_of_many_at_once_one_succeeds(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """All others get a 412, and there is one task."""
        url = f"{tasks_url}/{id_ahead()}"
        bodies = [{"title": f"{number}"} for number in range(20)]
        responses = await asyncio.gather(*[client.put(url, json=body, headers=CREATE) for body in bodies])

        created = [response.json() for response in responses if response.status_code == 201]
        assert [201, *[412] * 19] == sorted(response.status_code for response in responses)
        assert created == (await client.get(tasks_url)).json()

    async def test_users_have_ids_of_their_own(
        self, app: ASGIApp, client: httpx.AsyncClient, tasks_url: str, user_id: str
    ) -> None:
        """Whether another user has a task with the id is not to be seen."""
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
    async def test_an_id_that_no_task_can_have_is_refused(
        self, client: httpx.AsyncClient, tasks_url: str, task_id: str
    ) -> None:
        """Only a UUID of version 7, in the form in which it names a task, becomes an id."""
        response = await client.put(f"{tasks_url}/{task_id}", json=TASK, headers=CREATE)

        assert (422, "invalid_parameter", ["id"]) == refusal(response)
        assert [] == (await client.get(tasks_url)).json()

    async def test_an_id_may_be_a_day_ahead(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Clocks go wrong, but a task from next week would be the newest until then."""
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
    async def test_the_body_is_that_of_a_post(self, client: httpx.AsyncClient, tasks_url: str, body: Json) -> None:
        """A title is required, even where there is a task already."""
        url = f"{tasks_url}/{id_ahead()}"
        await client.put(url, json=TASK, headers=CREATE)

        for each in (url, f"{tasks_url}/{id_ahead()}"):
            assert (422, "invalid_body", ["title"]) == refusal(await client.put(each, json=body, headers=CREATE))

    @pytest.mark.parametrize("condition", ["*", '"1"', "nonsense", ""])
    async def test_it_cannot_be_both_new_and_old(
        self, client: httpx.AsyncClient, tasks_url: str, condition: str
    ) -> None:
        """With `If-Match`, no task could fulfil both conditions."""
        url = f"{tasks_url}/{id_ahead()}"
        response = await client.put(url, json=TASK, headers={**CREATE, "If-Match": condition})

        assert (422, "invalid_parameter", ["If-None-Match"]) == refusal(response)
        assert 404 == (await client.get(url)).status_code

    @pytest.mark.parametrize("condition", ['"1"', 'W/"1"', '*, "1"', "nonsense", ""])
    async def test_any_other_condition_creates_nothing(
        self, client: httpx.AsyncClient, tasks_url: str, condition: str
    ) -> None:
        """Only `*` means that there must be no task."""
        response = await client.put(f"{tasks_url}/{id_ahead()}", json=TASK, headers={"If-None-Match": condition})

        assert 404 == response.status_code

    async def test_a_deleted_task_can_be_restored(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """What the client still has of it is a body for it."""
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

    async def test_a_repetition_creates_nothing(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """It gets the response that was lost."""
        first, second = [await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": "k"}) for _ in range(2)]

        assert (201, 201) == (first.status_code, second.status_code)
        assert first.json() == second.json()
        kept = ("Location", "ETag")
        assert [first.headers[name] for name in kept] == [second.headers[name] for name in kept]
        assert [first.json()] == (await client.get(tasks_url)).json()

    async def test_a_repetition_changes_nothing(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """The list is the same as before, to its tag."""
        await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": "k"})
        tag = (await client.get(tasks_url)).headers["ETag"]
        await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": "k"})

        assert tag == (await client.get(tasks_url)).headers["ETag"]

    async def test_a_repetition_gets_the_task_as_it_is_now(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """What has happened to the task meanwhile is not undone."""
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
        """Other bytes are another task, whose creation the key would prevent."""
        headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
        created = await client.post(tasks_url, content=b'{"title": "t"}', headers=headers)

        response = await client.post(tasks_url, content=body, headers=headers)

        assert (201, 422) == (created.status_code, response.status_code)
        assert {"detail", "code"} == response.json().keys()
        assert "key_reused" == response.json()["code"]
        assert [created.json()] == (await client.get(tasks_url)).json()

    async def test_a_deleted_task_is_not_created_again(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """The key outlives its task, and still stands for its body."""
        headers = {"Idempotency-Key": "k"}
        url = (await client.post(tasks_url, json=TASK, headers=headers)).headers["Location"]
        await client.delete(url)

        responses = [await client.post(tasks_url, json=body, headers=headers) for body in (TASK, {"title": "u"})]

        assert [(409, "task_deleted"), (422, "key_reused")] == [
            (response.status_code, response.json()["code"]) for response in responses
        ]
        assert all({"detail", "code"} == response.json().keys() for response in responses)
        assert [] == (await client.get(tasks_url)).json()

    async def test_users_have_keys_of_their_own(
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
        """Keys differ by case and by each character; without one, every request creates a task."""
        keys = ["k", "K", "k,l", "'k'", '"', "k" * 254 + "l", "k" * 255, None, None]
        for key in keys:
            headers = {} if key is None else {"Idempotency-Key": key}
            assert 201 == (await client.post(tasks_url, json=TASK, headers=headers)).status_code

        assert len(keys) == len({task["id"] for task in (await client.get(tasks_url)).json()})

    @pytest.mark.parametrize("key", ["k", "k" * 255, '"', "!~"])
    async def test_quotes_do_not_count(self, client: httpx.AsyncClient, tasks_url: str, key: str) -> None:
        """The same key is sent by clients that follow the draft and by those that do not."""
        for each in (key, f'"{key}"'):
            assert 201 == (await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": each})).status_code

        assert 1 == len((await client.get(tasks_url)).json())

    @pytest.mark.parametrize("keys", BAD_KEYS, ids=lambda keys: ",".join(map(repr, keys))[:20])
    async def test_what_is_no_key_is_refused(
        self, client: httpx.AsyncClient, tasks_url: str, keys: list[bytes]
    ) -> None:
        """A client that relies on it would create the task twice."""
        headers: Any = [(b"Idempotency-Key", key) for key in keys]
        response = await client.post(tasks_url, json=TASK, headers=headers)

        assert (422, "invalid_parameter", ["Idempotency-Key"]) == refusal(response)
        assert [] == (await client.get(tasks_url)).json()

    async def test_a_refused_request_leaves_the_key_for_the_next(
        self, client: httpx.AsyncClient, stranger: httpx.AsyncClient, tasks_url: str
    ) -> None:
        """The client corrects what was wrong, and sends the same key."""
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

    async def test_repetitions_at_once_create_one_task(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Every one of them gets that task."""
        requests = [client.post(tasks_url, json=TASK, headers={"Idempotency-Key": "k"}) for _ in range(20)]
        responses = await asyncio.gather(*requests)

        assert {201} == {response.status_code for response in responses}
        assert [responses[0].json()] * 20 == [response.json() for response in responses]
        assert [responses[0].json()] == (await client.get(tasks_url)).json()

    async def test_a_key_outlives_the_server(self, database_url: str, user_id: str, tasks_url: str) -> None:
        """A repetition may come after a restart, when the first request was cut off by it."""
        responses = []
        for _ in range(2):
            async with serving(database_url, user_id) as client:
                responses.append(await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": "k"}))

        assert (201, 201) == (responses[0].status_code, responses[1].status_code)
        assert responses[0].json() == responses[1].json()

    async def test_a_key_is_good_for_a_day_at_least(
        self, client: httpx.AsyncClient, tasks_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is forgotten some time later, even if many others are; then, the request is a new one."""
        headers = {"Idempotency-Key": "k"}
        now = dt.datetime.now(dt.timezone.utc)
        found = []
        for hours in (0, 24, 168, 192):
            moment = now + dt.timedelta(hours=hours)
            monkeypatch.setattr(taskd_sql.store, "_now", lambda moment=moment: moment)
            # Whatever creates a task with a key forgets old ones.
            await client.post(tasks_url, json=TASK, headers={"Idempotency-Key": f"other-{hours}"})
            found.append((await client.post(tasks_url, json=TASK, headers=headers)).json()["id"])

        assert found[0] == found[1] != found[2] == found[3]

    async def test_only_a_post_has_a_key(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Other writes can be repeated as they are, or have a condition."""
        headers = {"Idempotency-Key": "k"}
        url = (await client.post(tasks_url, json=TASK, headers=headers)).headers["Location"]

        toggled = [(await client.patch(f"{url}/complete", headers=headers)).json()["completed"] for _ in range(2)]

        assert [True, False] == toggled
        assert 201 == (await client.put(f"{tasks_url}/{id_ahead()}", json=TASK, headers=headers | CREATE)).status_code
