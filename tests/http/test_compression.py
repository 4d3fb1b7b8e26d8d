"""Long lists are compressed for clients that accept this; nothing else below /api is."""

from __future__ import annotations

import gzip

import httpx
import pytest

from tests.support.serving import create

pytestmark = pytest.mark.anyio

LONG = {"title": "t", "description": "All work and no play. " * 400}
GZIP = {"Accept-Encoding": "gzip, deflate, br, zstd"}
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
async def long_list_url(client: httpx.AsyncClient, tasks_url: str) -> str:
    """Return the path of a list that has several slices and several pieces to compress."""
    for number in range(40):
        assert 201 == await create(client, tasks_url, f"{number}" * 100)
    await client.post(tasks_url, json=LONG)
    return tasks_url


async def raw(client: httpx.AsyncClient, url: str, headers: dict[str, str]) -> tuple[httpx.Response, bytes]:
    """Return the response to a GET, and its body as sent."""
    async with client.stream("GET", url, headers=headers) as response:
        return response, b"".join([part async for part in response.aiter_raw()])


async def test_a_long_list_is_compressed(client: httpx.AsyncClient, long_list_url: str) -> None:
    """It has the same content in less than a third of the bytes."""
    plain, content = await raw(client, long_list_url, PLAIN)
    response, sent = await raw(client, long_list_url, GZIP)

    assert (None, "gzip") == (plain.headers.get("Content-Encoding"), response.headers["Content-Encoding"])
    assert content == gzip.decompress(sent)
    assert 3 * len(sent) < len(content)
    assert [str(len(content)), str(len(sent))] == [each.headers["Content-Length"] for each in (plain, response)]
    assert 41 == len((await client.get(long_list_url, headers=GZIP)).json())


@pytest.mark.parametrize("headers", [GZIP, PLAIN])
async def test_head_of_a_list_has_the_headers_of_get(
    client: httpx.AsyncClient, long_list_url: str, headers: dict[str, str]
) -> None:
    """This holds with and without compression, except for the request id."""
    headers = {**headers, "X-Request-ID": "same"}
    get = await client.get(long_list_url, headers=headers)
    head = await client.head(long_list_url, headers=headers)

    assert get.headers.multi_items() == head.headers.multi_items()


@pytest.mark.parametrize("headers", [GZIP, PLAIN])
async def test_a_short_list_is_not_compressed(
    client: httpx.AsyncClient, tasks_url: str, headers: dict[str, str]
) -> None:
    """Caches are still told that a longer list would be."""
    for count in range(2):
        response = await client.get(tasks_url, headers=headers)

        assert count == len(response.json())
        assert "Content-Encoding" not in response.headers
        assert {"Accept-Encoding", "Authorization", "Origin"} == set(response.headers["Vary"].split(", "))
        assert 201 == await create(client, tasks_url, "t")


async def test_a_single_task_is_never_compressed(client: httpx.AsyncClient, tasks_url: str) -> None:
    """This holds however long the task is, for every method."""
    created = await client.post(tasks_url, json=LONG, headers=GZIP)
    task_url = created.headers["Location"]
    others = [
        await client.get(task_url, headers=GZIP),
        await client.put(task_url, json={"priority": "low"}, headers=GZIP),
        await client.patch(f"{task_url}/complete", headers=GZIP),
    ]

    for response in (created, *others):
        assert len(response.content) > 8192
        assert "Content-Encoding" not in response.headers
        assert "Accept-Encoding" not in response.headers["Vary"]


async def test_the_api_document_is_compressed(stranger: httpx.AsyncClient) -> None:
    """It is as long as a long list."""
    response = await stranger.get("/openapi.json", headers=GZIP)

    assert len(response.content) > 8192
    assert "gzip" == response.headers["Content-Encoding"]
