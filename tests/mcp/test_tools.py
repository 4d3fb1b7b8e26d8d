"""The tools, used by the official SDK's own client, over the network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from taskd.testing import RunningServer, running_server
from tests.conftest import PATIENT, SECRET, token_for
from tests.mcp import PLUGINS
from tests.support.processes import child_environ

pytestmark = pytest.mark.anyio

Json = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    url = f"sqlite:///{tmp_path_factory.mktemp('mcp')}/tasks.db"
    settings = {"DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET, "TASKD_PLUGINS": PLUGINS, **PATIENT}
    with running_server(child_environ(settings)) as running:
        yield running


@contextlib.asynccontextmanager
async def connected(server: RunningServer, user_id: str, mode: str = "auto") -> AsyncIterator[Client]:
    """Yield a client that has connected as *user_id*."""
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(f"{server.url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@pytest.fixture
async def assistant(server: RunningServer, user_id: str) -> AsyncIterator[Client]:
    async with connected(server, user_id) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    """Call a tool that succeeds, and return its result, which must fit the schema that the tool has declared."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def refusal(client: Client, tool: str, **arguments: Any) -> Any:
    """Call a tool that fails, and return the error."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return result.structured_content


async def titles(client: Client, tool: str = "list_tasks", **arguments: Any) -> list[str]:
    return [task["title"] for task in (await call(client, tool, **arguments))["tasks"]]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_task_from_beginning_to_end(server: RunningServer, user_id: str, mode: str) -> None:
    """With the current protocol and with the older one, tasks can be added, found, changed, completed and deleted."""
    async with connected(server, user_id, mode) as client:
        added = await call(client, "add_task", title="Water the plants", due_at="2026-11-27T18:00:00+01:00")
        found = await call(client, "search_tasks", text="PLANTS")
        changed = await call(client, "update_task", id=added["id"], priority="high", tags=["home"])
        completed = await call(client, "complete_task", id=added["id"])
        reopened = await call(client, "complete_task", id=added["id"], completed=False)
        deleted = await call(client, "delete_task", id=added["id"])
        left = await call(client, "list_tasks")

    assert ("2026-11-27T17:00:00Z", user_id) == (added["due_at"], added["user_id"])
    assert {"tasks": [added], "next_cursor": None} == found
    assert ("Water the plants", "high", ["home"]) == (changed["title"], changed["priority"], changed["tags"])
    assert (True, False) == (completed["completed"], reopened["completed"])
    assert ({"id": added["id"]}, {"tasks": [], "next_cursor": None}) == (deleted, left)


async def test_two_users_see_only_their_own_tasks(server: RunningServer, user_id: str) -> None:
    """However they take turns, each client sees and changes the tasks of the user whose token it has."""
    async with connected(server, f"{user_id}-a") as alice, connected(server, f"{user_id}-b") as bob:
        added = await asyncio.gather(
            *[call(client, "add_task", title=name) for name, client in (("a", alice), ("b", bob)) * 5]
        )
        listed = await asyncio.gather(*[titles(client) for client in (alice, bob) * 5])
        foreign = next(task["id"] for task in added if task["title"] == "a")
        refused = [await refusal(bob, tool, id=foreign) for tool in ("update_task", "complete_task", "delete_task")]
        kept = await titles(alice)

    assert [["a"] * 5, ["b"] * 5] * 5 == listed
    assert [{"detail": "There is no such task.", "code": "not_found"}] * 3 == refused
    assert ["a"] * 5 == kept


async def test_the_tools_are_described(assistant: Client) -> None:
    """Each has a description, a schema of its arguments made from the model, and hints about what it does."""
    tools = {tool.name: tool for tool in (await assistant.list_tools()).tools}
    new = tools["add_task"].input_schema

    assert ["add_task", "list_tasks", "search_tasks", "update_task", "complete_task", "delete_task"] == list(tools)
    assert all(tool.description and tool.output_schema for tool in tools.values())
    assert (["title"], 200) == (new["required"], new["properties"]["title"]["maxLength"])
    assert ["low", "medium", "high", "urgent"] == new["$defs"]["Priority"]["enum"]
    assert {"list_tasks", "search_tasks"} == {name for name, tool in tools.items() if read_only(tool)}
    assert {"update_task", "delete_task"} == {name for name, tool in tools.items() if destructive(tool)}


def read_only(tool: Any) -> bool:
    return bool(tool.annotations.read_only_hint)


def destructive(tool: Any) -> bool:
    return bool(tool.annotations.destructive_hint)


class TestErrors:
    async def test_name_each_field(self, assistant: Client) -> None:
        """A wrong argument is an error of the tool, with the API's own messages, and nothing is stored."""
        error = await refusal(assistant, "add_task", title="", priority="huge", due_at="tomorrow")

        assert ("invalid_body", ["title", "priority", "due_at"]) == (
            error["code"],
            [each["field"] for each in error["errors"]],
        )
        assert [] == await titles(assistant)

    @pytest.mark.parametrize(
        ("tool", "arguments", "message"),
        [
            ("add_task", {}, "title is required"),
            ("add_task", {"title": 5}, "title must be a text of 1 to 200 characters"),
            ("add_task", {"title": "t", "status": "completed", "completed": False}, "completed must be true exactly"),
            ("list_tasks", {"limit": 101}, "limit must be a whole number from 1 to 100"),
            ("list_tasks", {"status": "pending"}, "status must be a list of pending, in_progress, completed"),
            ("list_tasks", {"priority": ["huge"]}, "priority must be a list of low, medium, high, urgent"),
            ("list_tasks", {"cursor": 5}, "cursor must be copied unchanged"),
            ("search_tasks", {}, "text is required"),
            ("search_tasks", {"text": "a\0"}, "text must be a text of 1 to 200 characters"),
            ("update_task", {"id": "1", "title": "t"}, "id must be the id of a task"),
            ("complete_task", {"completed": "yes"}, "id is required"),
            ("delete_task", {}, "id is required"),
        ],
    )
    async def test_say_what_is_wrong(
        self, server: RunningServer, user_id: str, tool: str, arguments: Json, message: str
    ) -> None:
        """What an API request must not have is refused here, too, in the same words."""
        async with connected(server, user_id) as client:
            result = await client.call_tool(tool, arguments)

        assert result.is_error
        assert result.structured_content["detail"].startswith(message)
        assert message in result.content[0].text  # type: ignore[union-attr]

    async def test_unknown_tools_are_an_error_of_the_protocol(self, assistant: Client) -> None:
        """The message lists those that there are."""
        with pytest.raises(Exception, match="There is no such tool, only add_task, list_tasks"):
            await assistant.call_tool("drop_tables", {})


class TestLists:
    async def test_are_filtered_and_sorted(self, assistant: Client) -> None:
        """All filters must match, and the order can be chosen."""
        for title, day, more in (("c", 25, {"tags": ["x"]}), ("a", 27, {"priority": "high"}), ("b", 26, {})):
            await call(assistant, "add_task", title=title, due_at=f"2026-11-{day}T12:00:00Z", **more)
        await call(assistant, "add_task", title="d", status="in_progress")

        assert ["d", "b", "a", "c"] == await titles(assistant)
        assert ["c", "b", "a", "d"] == await titles(assistant, sort="due_at")
        assert ["d", "c", "b", "a"] == await titles(assistant, sort="title", order="desc")
        assert ["d"] == await titles(assistant, status=["in_progress", "completed"], priority=["high", "medium"])
        assert ["a"] == await titles(assistant, priority=["high"])
        assert ["c"] == await titles(assistant, tags=["x"], due_before="2026-11-26T00:00:00Z")
        assert ["b"] == await titles(assistant, "search_tasks", text="B", due_after="2026-11-26T12:00:00Z")

    @pytest.mark.parametrize("sort", ["created_at", "updated_at", "due_at", "priority", "title"])
    async def test_have_pages(self, assistant: Client, sort: str) -> None:
        """A cursor leads to the next page of the same list, even if nothing else is passed with it."""
        for number in range(5):
            due_at = f"2026-11-2{number}T12:00:00Z" if number else None
            await call(assistant, "add_task", title=f"task {number}", due_at=due_at)
        everything = await titles(assistant, sort=sort)

        first = await call(assistant, "search_tasks", text="task", sort=sort, limit=2)
        second = await call(assistant, "search_tasks", cursor=first["next_cursor"], limit=2)
        third = await call(assistant, "search_tasks", text="task", sort=sort, cursor=second["next_cursor"])

        pages = [[task["title"] for task in page["tasks"]] for page in (first, second, third)]
        assert [everything[:2], everything[2:4], everything[4:]] == pages
        assert third["next_cursor"] is None

    async def test_refuse_other_cursors(self, assistant: Client) -> None:
        """A cursor of another list, or one that is damaged, is refused."""
        for title in "ab":
            await call(assistant, "add_task", title=title)
        cursor = (await call(assistant, "list_tasks", limit=1, sort="title"))["next_cursor"]

        errors = [
            await refusal(assistant, "search_tasks", text="a", cursor=cursor),
            await refusal(assistant, "list_tasks", sort="due_at", cursor=cursor),
            *[
                await refusal(assistant, "list_tasks", cursor=wrong)
                for wrong in (cursor[:-1], f"A{cursor[1:]}", "", "ü")
            ],
        ]

        assert ["cursor"] * 6 == [each["field"] for error in errors for each in error["errors"]]
        assert ["must be sent alone, or with the arguments of the first page"] * 2 == [
            error["errors"][0]["message"] for error in errors[:2]
        ]
