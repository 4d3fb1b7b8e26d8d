"""Authentication and authorization: credentials, paths, and the isolation of users, on all six endpoints."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp

from tests.conftest import client_of, token_for
from tests.support.applications import response_to

pytestmark = pytest.mark.anyio

TASK_ID = "01a202b8-f11b-754f-a9d2-4d7b6419c012"
ENDPOINTS = [
    ("GET", ""),
    ("POST", ""),
    ("GET", f"/{TASK_ID}"),
    ("HEAD", f"/{TASK_ID}"),
    ("PUT", f"/{TASK_ID}"),
    ("DELETE", f"/{TASK_ID}"),
    ("PATCH", f"/{TASK_ID}/complete"),
]
GOOD = token_for("alice")


def challenge(response: httpx.Response) -> str:
    """Return the WWW-Authenticate of a 401, and check that it has an error if and only if the code requires one."""
    assert 401 == response.status_code, response.text
    assert ["detail", "code"] == list(response.json())
    value: str = response.headers["WWW-Authenticate"]
    assert value.startswith('Bearer realm="taskd"')
    assert (response.json()["code"] == "missing_credentials") == ("error=" not in value)
    return value


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_every_endpoint_requires_a_token(stranger: httpx.AsyncClient, method: str, path: str) -> None:
    """Without credentials, the challenge names no error (RFC 6750, section 3.1)."""
    response = await stranger.request(method, f"/api/alice/tasks{path}")

    assert (401, 'Bearer realm="taskd"') == (response.status_code, response.headers["WWW-Authenticate"])
    assert method == "HEAD" or "missing_credentials" == response.json()["code"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_case_insensitive(app: ASGIApp, user_id: str, scheme: str) -> None:
    """RFC 9110, section 11.1, requires this."""
    async with client_of(app) as client:
        headers = {"Authorization": f"{scheme}  {token_for(user_id)}"}

        assert 200 == (await client.get(f"/api/{user_id}/tasks", headers=headers)).status_code


@pytest.mark.parametrize(
    "value", ["Basic YWxpY2U6cGFzc3dvcmQ=", "Bearer", "Token x", "", GOOD], ids=lambda value: value[:8]
)
async def test_another_scheme_is_refused(app: ASGIApp, value: str) -> None:
    """Only bearer tokens are supported."""
    async with client_of(app) as client:
        response = await client.get("/api/alice/tasks", headers={"Authorization": value})

        assert ("error=" in challenge(response)) == (value == "Bearer")


@pytest.mark.parametrize("value", [f"Bearer: {GOOD}", f'"Bearer {GOOD}"', f"'bearer {GOOD}'", f"Bearer,{GOOD}"])
async def test_a_near_miss_gets_its_own_message(app: ASGIApp, value: str) -> None:
    """A client that did send Bearer, but not in the right form, would not know what else is wrong."""
    async with client_of(app) as client:
        response = await client.get("/api/alice/tasks", headers={"Authorization": value})

        challenge(response)
        assert (
            "The Authorization header must be Bearer, a space and the token, and nothing else."
            == response.json()["detail"]
        )


async def test_a_token_in_a_query_or_a_cookie_is_ignored(app: ASGIApp) -> None:
    """Tokens are only read from the header."""
    async with client_of(app) as client:
        query = {"access_token": GOOD, "token": GOOD}
        response = await client.get("/api/alice/tasks", params=query, headers={"Cookie": f"token={GOOD}"})

        assert "error=" not in challenge(response)


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_another_users_path_is_refused(client: httpx.AsyncClient, method: str, path: str) -> None:
    """A valid token works only for its own user's path, on every endpoint."""
    response = await client.request(method, f"/api/somebody-else/tasks{path}", json={"title": "t"})

    assert 401 == response.status_code
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    assert method == "HEAD" or "a user other than" in response.json()["detail"]
    assert method == "HEAD" or "wrong_user" == response.json()["code"]


async def test_users_are_isolated_on_all_endpoints(app: ASGIApp, user_id: str) -> None:
    """With another user's task ids, a user gets the same responses as for unknown ids, and changes nothing."""
    users = [f"{user_id}-a", f"{user_id}-b"]
    clients = [client_of(app, user) for user in users]
    tasks = []
    for client, user in zip(clients, users, strict=True):
        response = await client.post(f"/api/{user}/tasks", json={"title": f"of {user}"})
        tasks.append(response.json())
    for client, user, theirs in zip(clients, users, tasks[::-1], strict=True):
        for method, rest in [("GET", ""), ("HEAD", ""), ("PUT", ""), ("DELETE", ""), ("PATCH", "/complete")]:
            body = {"title": "stolen", "is_completed": True} if method in ("PUT", "PATCH") else None
            swapped = await client.request(method, f"/api/{user}/tasks/{theirs['id']}{rest}", json=body)
            nowhere = await client.request(method, f"/api/{user}/tasks/{TASK_ID}{rest}", json=body)

            assert 404 == swapped.status_code
            assert nowhere.content == swapped.content
            assert without_request_id(nowhere) == without_request_id(swapped)
    for client, user, own in zip(clients, users, tasks, strict=True):
        assert [own] == (await client.get(f"/api/{user}/tasks")).json()
        await client.aclose()


def without_request_id(response: httpx.Response) -> list[tuple[str, str]]:
    """Return the headers without the one that differs between any two responses."""
    return [(name, value) for name, value in response.headers.multi_items() if name != "x-request-id"]


@pytest.mark.parametrize("user", ["a/b", "a%2Fb", "../x", "ünï", "a b+c", "%", "?#", "auth0|1", "A" * 255, ".", "a\\b"])
async def test_a_user_id_is_opaque(app: ASGIApp, user_id: str, user: str) -> None:
    """Whatever text a subject is, it is that user's path when percent-encoded, and the Location works."""
    user = f"{user_id}{user}"[-255:]
    async with client_of(app, user) as client:
        url = f"/api/{quote(user, safe='')}/tasks"
        created = await client.post(url, json={"title": "t"})
        location = created.headers["Location"]

        assert (201, user) == (created.status_code, created.json()["user_id"])
        assert f"{url}/{created.json()['id']}" == location
        assert created.json() == (await client.get(f"{location}/")).json()
        assert [created.json()] == (await client.get(url)).json()


@pytest.mark.parametrize("user", [".", ".."])
async def test_a_user_id_that_clients_remove_from_paths_is_refused(app: ASGIApp, user: str) -> None:
    """The response says which user ids are valid (RFC 3986, section 6.2.2.3)."""
    response = await response_to(app, token_for(user))

    challenge(response)
    assert (
        "The user must be a text of 1 to 255 characters other than . and .., without NUL." == response.json()["detail"]
    )


async def test_the_path_is_compared_exactly(app: ASGIApp) -> None:
    """Letters that look alike or differ in case belong to different users."""
    for path in ("ALICE", "alice%20", "%61lice%00", "ålice"):
        assert 401 == (await response_to(app, GOOD, f"/api/{path}/tasks")).status_code
    assert 200 == (await response_to(app, GOOD, "/api/%61lice/tasks")).status_code


@given(token=st.binary(max_size=300).filter(lambda token: not set(token) & set(b"\r\n\0")))
async def test_a_random_token_is_refused(app: ASGIApp, token: bytes) -> None:
    """Nothing unsigned is accepted, and nothing makes the server fail."""
    async with client_of(app) as client:
        response = await client.get("/api/alice/tasks", headers={b"Authorization": b"Bearer " + token})

        challenge(response)
