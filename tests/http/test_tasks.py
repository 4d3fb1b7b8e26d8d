"""The six endpoints, over HTTP, on both databases."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp

from taskd_sql.engine.database import Limits
from tests.conftest import client_of
from tests.support.serving import serving
from tests.support.tasks import Json, create

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def database_url(each_database_url: str) -> str:
    """The endpoints do the same whatever the store."""
    return each_database_url


def moment(text: str) -> dt.datetime:
    """Parse a time in a response; all end in Z."""
    assert text.endswith("Z")
    return dt.datetime.fromisoformat(text)


async def test_create_returns_the_task_and_its_location(client: httpx.AsyncClient, user_id: str) -> None:
    """A new task gets a version 7 id and default values, and the Location works."""
    response = await client.post(f"/api/{user_id}/tasks", json={"title": "Write tests"})
    task = response.json()

    assert 201 == response.status_code
    assert "application/json" == response.headers["Content-Type"]
    assert f"/api/{user_id}/tasks/{task['id']}" == response.headers["Location"]
    assert 7 == uuid.UUID(task["id"]).version
    expected = {
        "id": task["id"],
        "user_id": user_id,
        "title": "Write tests",
        "description": None,
        "status": "pending",
        "priority": "medium",
        "due_at": None,
        "tags": [],
        "is_completed": False,
        "completed": False,
        "created_at": task["created_at"],
        "updated_at": task["created_at"],
        "completed_at": None,
        "version": 1,
    }
    # In the order of the contract's table, too.
    assert list(expected.items()) == list(task.items())
    assert task == (await client.get(response.headers["Location"])).json()


async def test_create_accepts_every_field(client: httpx.AsyncClient, tasks_url: str) -> None:
    """Values are stored exactly as sent, and due dates are returned in UTC."""
    task = await create(
        client,
        tasks_url,
        title="  kept as sent\n",
        description="",
        status="in_progress",
        priority="urgent",
        due_at="2030-06-01T12:00:00.25+05:30",
        tags=[" b ", "a"],
    )

    assert ("  kept as sent\n", "", "in_progress", "urgent", [" b ", "a"]) == (
        task["title"],
        task["description"],
        task["status"],
        task["priority"],
        task["tags"],
    )
    assert "2030-06-01T06:30:00.250000Z" == task["due_at"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"is_completed": True}, "completed"),
        ({"is_completed": False}, "pending"),
        ({"completed": True}, "completed"),
        ({"completed": False}, "pending"),
        ({"completed": True, "is_completed": True}, "completed"),
        ({"status": "completed"}, "completed"),
        ({"status": "completed", "is_completed": True}, "completed"),
        ({"status": "completed", "completed": True}, "completed"),
        ({"status": "in_progress", "is_completed": False}, "in_progress"),
        ({"status": "in_progress", "completed": False}, "in_progress"),
        ({"status": "in_progress", "is_completed": False, "completed": False}, "in_progress"),
    ],
)
async def test_completion_and_status_agree_from_the_start(
    client: httpx.AsyncClient, tasks_url: str, fields: Json, status: str
) -> None:
    """Any of the fields may be given; a task that is created as completed was completed when it was created."""
    task = await create(client, tasks_url, **fields)

    assert (status, status == "completed") == (task["status"], task["is_completed"])
    assert task["completed"] is task["is_completed"]
    assert (task["created_at"] if status == "completed" else None) == task["completed_at"]


async def test_fields_that_the_server_sets_are_ignored(client: httpx.AsyncClient, tasks_url: str, user_id: str) -> None:
    """Clients cannot choose the id, the owner or the times, and unknown keys do no harm."""
    forged = {
        "id": str(uuid.uuid4()),
        "user_id": "somebody else",
        "created_at": "2000-01-01T00:00:00Z",
        "updated_at": 5,
        "completed_at": "2000-01-01T00:00:00Z",
        "version": 1000,
        "no such field": [{}],
    }
    task = await create(client, tasks_url, **forged)
    changed = (await client.put(f"{tasks_url}/{task['id']}", json=forged)).json()

    assert user_id == task["user_id"] == changed["user_id"]
    assert forged["id"] != task["id"] == changed["id"]
    assert 2000 < moment(task["created_at"]).year
    assert (task["created_at"], None) == (changed["created_at"], changed["completed_at"])
    assert (1, 2) == (task["version"], changed["version"])


async def test_the_list_of_a_new_user_is_empty(client: httpx.AsyncClient, tasks_url: str) -> None:
    """A user without tasks gets an empty array."""
    response = await client.get(tasks_url)

    assert (200, []) == (response.status_code, response.json())


async def test_the_list_has_one_s_own_tasks_newest_first(app: ASGIApp, client: httpx.AsyncClient, user_id: str) -> None:
    """Only the user's own tasks are listed, in reverse order of creation."""
    mine = [await create(client, f"/api/{user_id}/tasks", title=f"{number}") for number in range(12)]
    async with client_of(app, f"{user_id}2") as other:
        theirs = [await create(other, f"/api/{user_id}2/tasks")]

        assert theirs == (await other.get(f"/api/{user_id}2/tasks")).json()
    assert mine[::-1] == (await client.get(f"/api/{user_id}/tasks")).json()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "task_id",
    [
        "0190b5ba-0000-7000-8000-000000000000",
        "00000000-0000-0000-0000-000000000000",
        "5",
        "not-a-uuid",
        "%F0%9F%8E%89",
        "{01a202b8-f11b-754f-a9d2-4d7b6419c012}",
        "%00",
    ],
)
async def test_a_task_that_does_not_exist_is_not_found(
    client: httpx.AsyncClient, tasks_url: str, method: str, task_id: str
) -> None:
    """An unknown id leads to a 404, whatever it looks like."""
    path = f"{tasks_url}/{task_id}" + ("/complete" if method == "PATCH" else "")
    response = await client.request(method, path, json={} if method == "PUT" else None)

    assert (404, {"detail": "There is no such task.", "code": "not_found"}) == (response.status_code, response.json())


async def test_only_the_canonical_form_of_an_id_names_a_task(client: httpx.AsyncClient, tasks_url: str) -> None:
    """Other spellings of the same UUID are unknown ids."""
    task_id = (await create(client, tasks_url))["id"]

    for spelling in (task_id.upper(), task_id.replace("-", ""), f"{{{task_id}}}", f"urn:uuid:{task_id}"):
        assert 404 == (await client.get(f"{tasks_url}/{spelling}")).status_code
    assert 200 == (await client.get(f"{tasks_url}/{task_id}")).status_code


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "another"},
        {"description": "more"},
        {"description": None},
        {"priority": "low"},
        {"due_at": "2031-01-01T00:00:00Z"},
        {"due_at": None},
        {"tags": ["b", "c"]},
        {"tags": []},
        {"status": "in_progress"},
        {"title": "all", "description": None, "priority": "high", "due_at": None, "tags": [], "status": "in_progress"},
        {},
    ],
    ids=repr,
)
async def test_put_changes_the_given_fields_and_keeps_the_rest(
    client: httpx.AsyncClient, tasks_url: str, changes: Json
) -> None:
    """An omitted field is kept; null clears an optional one."""
    before = await create(client, tasks_url, description="d", due_at="2030-01-01T00:00:00Z", tags=["a", "b"])

    response = await client.put(f"{tasks_url}/{before['id']}", json=changes)
    after = response.json()

    assert 200 == response.status_code
    assert {**before, **changes, "updated_at": after["updated_at"], "version": after["version"]} == after
    assert moment(before["updated_at"]) <= moment(after["updated_at"])
    assert after == (await client.get(f"{tasks_url}/{before['id']}")).json()


@pytest.mark.parametrize("start", ["pending", "in_progress", "completed"])
@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"is_completed": True}, "completed"),
        ({"is_completed": False}, "pending"),
        ({"completed": True}, "completed"),
        ({"completed": False}, "pending"),
        ({"status": "completed"}, "completed"),
    ],
)
async def test_put_completes_and_reopens(
    client: httpx.AsyncClient, tasks_url: str, start: str, changes: Json, end: str
) -> None:
    """Setting a flag sets the status; the time of completion is kept while the task stays completed."""
    before = await create(client, tasks_url, status=start)

    after = (await client.put(f"{tasks_url}/{before['id']}", json=changes)).json()

    assert (end, end == "completed") == (after["status"], after["is_completed"])
    first_completed = before["completed_at"] or after["updated_at"]
    assert (first_completed if end == "completed" else None) == after["completed_at"]


async def test_delete_is_permanent(client: httpx.AsyncClient, tasks_url: str) -> None:
    """A deleted task is gone, and deleting it again finds nothing."""
    task = await create(client, tasks_url)
    response = await client.delete(f"{tasks_url}/{task['id']}")

    assert (204, b"") == (response.status_code, response.content)
    assert "Content-Type" not in response.headers
    assert 404 == (await client.get(f"{tasks_url}/{task['id']}")).status_code
    assert 404 == (await client.delete(f"{tasks_url}/{task['id']}")).status_code
    assert [] == (await client.get(tasks_url)).json()


@pytest.mark.parametrize("body", [None, b"", b"{}", b" {} "])
async def test_complete_toggles_without_a_flag(client: httpx.AsyncClient, tasks_url: str, body: bytes | None) -> None:
    """A task is completed first, and then reopened as pending."""
    task = await create(client, tasks_url, status="in_progress")
    headers = {"Content-Type": "application/json"} if body else {}
    url = f"{tasks_url}/{task['id']}/complete"

    on = await client.patch(url, content=body, headers=headers)
    off = await client.patch(url, content=body, headers=headers)

    assert (200, "completed", True) == (on.status_code, on.json()["status"], on.json()["is_completed"])
    assert on.json()["completed_at"] == on.json()["updated_at"]
    assert (200, "pending", None) == (off.status_code, off.json()["status"], off.json()["completed_at"])


@pytest.mark.parametrize("flags", [["is_completed"], ["completed"], ["completed", "is_completed"]])
@pytest.mark.parametrize("is_completed", [True, False])
async def test_complete_sets_the_given_flag(
    client: httpx.AsyncClient, tasks_url: str, flags: list[str], is_completed: bool
) -> None:
    """With a flag, under either name, the result is the same however often it is sent; unknown keys are ignored."""
    task = await create(client, tasks_url, status="in_progress")
    url = f"{tasks_url}/{task['id']}/complete"

    body = {"unknown": 1, **dict.fromkeys(flags, is_completed)}
    first = (await client.patch(url, json=body)).json()
    second = (await client.patch(url, json=body)).json()

    assert is_completed == first["is_completed"] == second["is_completed"]
    assert ("completed" if is_completed else "pending") == first["status"] == second["status"]
    assert first["completed_at"] == second["completed_at"]


async def test_two_hundred_concurrent_toggles_are_all_counted(database_url: str, user_id: str, tasks_url: str) -> None:
    """200 toggles leave a task as it was, and one more completes it."""
    # However slow the machine is, no request is given up.
    limits = Limits(call_timeout_s=60)
    patience = {"TASKD_SQL_ACQUIRE_TIMEOUT": "60", "TASKD_SQL_STATEMENT_TIMEOUT": "60"}
    async with serving(database_url, user_id, limits, **patience) as client:
        task = await create(client, tasks_url)
        url = f"{tasks_url}/{task['id']}/complete"

        responses = await asyncio.gather(*[client.patch(url) for _ in range(200)])
        after = (await client.get(f"{tasks_url}/{task['id']}")).json()
        once_more = (await client.patch(url)).json()

    assert {200} == {response.status_code for response in responses}
    assert 100 == sum(response.json()["is_completed"] for response in responses)
    assert (False, True) == (after["is_completed"], once_more["is_completed"])


async def test_sending_back_a_whole_task_changes_nothing(client: httpx.AsyncClient, tasks_url: str) -> None:
    """A frontend may PUT a task as it read it."""
    task = await create(
        client, tasks_url, description="d", completed=True, due_at="2030-01-01T00:00:00+01:00", tags=["a"]
    )

    after = (await client.put(f"{tasks_url}/{task['id']}", json=task)).json()

    assert {**task, "updated_at": after["updated_at"], "version": after["version"]} == after


async def test_repeated_tags_are_dropped(client: httpx.AsyncClient, tasks_url: str) -> None:
    """The first of equal tags is kept, in order; tags that only look equal are different."""
    sent, kept = ["b", "a", "b", "A", "a ", "\u00e9", "e\u0301", "a"], ["b", "a", "A", "a ", "\u00e9", "e\u0301"]
    created = await create(client, tasks_url, tags=sent)
    changed = (await client.put(f"{tasks_url}/{created['id']}", json={"tags": sent[::-1]})).json()

    assert kept == created["tags"]
    assert ["a", "e\u0301", "\u00e9", "a ", "A", "b"] == changed["tags"]
    assert [changed] == (await client.get(tasks_url)).json()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
DUE_AT = st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29), timezones=OFFSETS)  # noqa: DTZ001  the offsets come on top


@given(
    title=TEXT.filter(lambda text: bool(text.strip()) and len(text) <= 200),
    description=st.none() | TEXT,
    tags=st.lists(TEXT.filter(lambda text: bool(text.strip()) and len(text) <= 50), max_size=20, unique=True),
    priority=st.sampled_from(["low", "medium", "high", "urgent"]),
    status=st.sampled_from(["pending", "in_progress", "completed"]),
    due_at=DUE_AT,
)
async def test_accepted_values_are_returned_unchanged(
    client: httpx.AsyncClient, tasks_url: str, due_at: dt.datetime, **sent: object
) -> None:
    """Text is stored to the letter, and times to the microsecond."""
    task = await create(client, tasks_url, due_at=due_at.isoformat(), **sent)
    read = (await client.get(f"{tasks_url}/{task['id']}")).json()

    assert task == read
    assert sent == {name: read[name] for name in sent}
    assert due_at == moment(read["due_at"])
