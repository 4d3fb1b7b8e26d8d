"""Who may: tokens, paths, and the isolation of users from each other, on all six endpoints."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from taskd import build_app
from tests.conftest import SECRET, client_of, token_for

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


def signed(claims: dict[str, Any], key: str = SECRET, algorithm: str = "HS256", **headers: Any) -> str:
    """Sign *claims*; those of a good token for alice that are not given are added, and those that are None left out."""
    now = int(time.time())
    merged = {"sub": "alice", "exp": now + 86_400, "iat": now, **claims}
    given_claims = {name: value for name, value in merged.items() if value is not None}
    return jwt.encode(given_claims, key, algorithm, headers=headers or None)


def unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    """Make a token with *header* and no signature."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join([*parts, ""])


NOW_S = int(time.time())
GOOD = signed({})
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")
BAD_TOKENS = {
    "empty": ("", "malformed"),
    "a session token": ("f3Zr0vSQ6uZ9tHqkq5pWj2x1yL8n4b7c", "session token, not a JWT"),
    "two parts": (f"{HEADER}.{PAYLOAD}", "malformed"),
    "four parts": (f"{GOOD}.x", "malformed"),
    "not base64": ("a.b.c", "malformed"),
    "not ASCII": ("é.é.é", "malformed"),
    "a token and more": (f"{GOOD} {GOOD}", "malformed"),
    "no signature": (f"{HEADER}.{PAYLOAD}.", "no signature"),
    "another's signature": (f"{HEADER}.{PAYLOAD}.{signed({'sub': 'bob'}).split('.')[2]}", "signature"),
    "another key": (signed({}, key="another secret of more than 32 bytes, too"), "signature"),
    "another payload": (
        f"{HEADER}.{unsigned({'sub': 'root', 'exp': NOW_S + 86_400}, {}).split('.')[1]}.{SIGNATURE}",
        "signature",
    ),
    "alg none": (unsigned({"sub": "alice", "exp": NOW_S + 86_400}, {"alg": "none", "typ": "JWT"}), "alg is none"),
    "alg NoNe": (unsigned({"sub": "alice", "exp": NOW_S + 86_400}, {"alg": "NoNe"}), "alg is none"),
    "no alg": (unsigned({"sub": "alice", "exp": NOW_S + 86_400}, {"typ": "JWT"}), "no alg"),
    "alg EdDSA": (unsigned({"sub": "alice", "exp": NOW_S + 86_400}, {"alg": "EdDSA"}) + "AAAA", "set BETTER_AUTH_URL"),
    "HS512": (signed({}, key=SECRET * 2, algorithm="HS512"), "another algorithm"),
    "expired": (signed({"exp": NOW_S - 5}), "expired"),
    "no exp": (signed({"exp": None}), "no exp claim"),
    "exp as text": (signed({"exp": str(NOW_S + 86_400)}), "exp claim must be a number"),
    "exp true": (signed({"exp": True}), "exp claim must be a number"),
    "exp NaN": (signed({"exp": float("nan")}), "NaN and Infinity are not JSON"),
    "exp infinite": (signed({"exp": float("inf")}), "NaN and Infinity are not JSON"),
    "exp of 400 digits": (signed({"exp": 10**400}), "exp claim must be a number"),
    "nbf in the future": (signed({"nbf": NOW_S + 86_400}), "nbf"),
    "nbf as text": (signed({"nbf": "soon"}), "nbf claim must be a number"),
    "iat in the future": (signed({"iat": NOW_S + 86_400}), "iat"),
    "no sub": (signed({"sub": None}), "no sub claim"),
    "empty sub": (signed({"sub": ""}), "sub claim"),
    "sub with NUL": (signed({"sub": "a\0"}), "user must be a text"),
    "sub too long": (signed({"sub": "a" * 256}), "sub claim must be a text"),
    "sub with a surrogate": (signed({"sub": "\ud800"}), "user must be a text"),
    "an audience": (signed({"aud": "https://app.example.com"}), "set TASKD_JWT_AUDIENCE"),
    "Better Auth's e-mail verification": (
        signed({"sub": None, "email": "a@b.c", "userId": "alice"}),
        "verify an e-mail",
    ),
    "claims that are no object": (jwt.api_jws.encode(b"[]", SECRET, "HS256"), "malformed"),
    "a critical extension": (signed({}, crit=["exp"]), "must not have crit"),
    "an empty audience": (signed({"aud": ""}), "set TASKD_JWT_AUDIENCE"),
    "a sub that no path can hold": (signed({"sub": ".."}), "user must be a text"),
}


async def answer_to(app: ASGIApp, token: str, path: str = "/api/alice/tasks") -> httpx.Response:
    async with client_of(app) as client:
        return await client.get(path, headers={b"Authorization": f"Bearer {token}".encode()})


def challenge(answer: httpx.Response) -> str:
    """Return the WWW-Authenticate of a 401, after checking its form."""
    assert 401 == answer.status_code, answer.text
    assert {"detail"} == set(answer.json())
    value: str = answer.headers["WWW-Authenticate"]
    assert value.startswith('Bearer realm="taskd"')
    return value


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_every_endpoint_wants_a_token(stranger: httpx.AsyncClient, method: str, path: str) -> None:
    """Without credentials the challenge names no error (RFC 6750, section 3.1)."""
    answer = await stranger.request(method, f"/api/alice/tasks{path}")

    assert (401, 'Bearer realm="taskd"') == (answer.status_code, answer.headers["WWW-Authenticate"])
    assert method == "HEAD" or "missing" in answer.json()["detail"]


@pytest.mark.parametrize(("token", "reason"), BAD_TOKENS.values(), ids=BAD_TOKENS)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_bad_token_is_told_what_is_wrong(app: ASGIApp, token: str, reason: str) -> None:
    """The detail and the description name the fault, and do not repeat the token."""
    answer = await answer_to(app, token)

    assert 'error="invalid_token", error_description="' in challenge(answer)
    assert reason in answer.json()["detail"]
    assert not token or token not in answer.text + challenge(answer)


@pytest.mark.parametrize("claims", [{"iat": NOW_S + 10}, {"nbf": NOW_S + 10}, {"iat": None}, {"exp": NOW_S + 86_400.5}])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_clocks_may_differ_a_little(app: ASGIApp, claims: dict[str, Any]) -> None:
    """A token from up to 30 seconds ahead is good, with or without a date of issue."""
    assert 200 == (await answer_to(app, signed(claims))).status_code


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_in_any_case(app: ASGIApp, user_id: str, scheme: str) -> None:
    """RFC 9110, section 11.1: schemes are compared without regard to case."""
    async with client_of(app) as client:
        headers = {"Authorization": f"{scheme}  {token_for(user_id)}"}

        assert 200 == (await client.get(f"/api/{user_id}/tasks", headers=headers)).status_code


@pytest.mark.parametrize(
    "value", ["Basic YWxpY2U6cGFzc3dvcmQ=", "Bearer", "Token x", "", GOOD], ids=lambda value: value[:8]
)
async def test_another_scheme_is_refused(app: ASGIApp, value: str) -> None:
    """Only bearer tokens are understood."""
    async with client_of(app) as client:
        answer = await client.get("/api/alice/tasks", headers={"Authorization": value})

        assert ("error=" in challenge(answer)) == (value == "Bearer")


async def test_two_authorization_headers_are_refused(app: ASGIApp) -> None:
    """Even if both are good."""
    async with client_of(app) as client:
        header = ("Authorization", f"Bearer {GOOD}")
        answer = await client.get("/api/alice/tasks", headers=[header, header])

        assert 'error="invalid_token"' in challenge(answer)


async def test_a_token_in_a_query_or_a_cookie_is_not_looked_at(app: ASGIApp) -> None:
    """A token comes in the header or not at all."""
    async with client_of(app) as client:
        query = {"access_token": GOOD, "token": GOOD}
        answer = await client.get("/api/alice/tasks", params=query, headers={"Cookie": f"token={GOOD}"})

        assert "error=" not in challenge(answer)


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_another_users_path_is_refused(client: httpx.AsyncClient, method: str, path: str) -> None:
    """A good token opens no path but its user's, on any endpoint."""
    answer = await client.request(method, f"/api/somebody-else/tasks{path}", json={"title": "t"})

    assert 401 == answer.status_code
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert method == "HEAD" or "another user" in answer.json()["detail"]


async def test_users_are_isolated_on_all_endpoints(app: ASGIApp, user_id: str) -> None:
    """With the ids of each other's tasks, two users get what a task that does not exist gets, and change nothing."""
    users = [f"{user_id}-a", f"{user_id}-b"]
    clients = [client_of(app, user) for user in users]
    tasks = []
    for client, user in zip(clients, users, strict=True):
        answer = await client.post(f"/api/{user}/tasks", json={"title": f"of {user}"})
        tasks.append(answer.json())
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


def without_request_id(answer: httpx.Response) -> list[tuple[str, str]]:
    """Return the headers, less the one that differs between any two answers."""
    return [(name, value) for name, value in answer.headers.multi_items() if name != "x-request-id"]


@pytest.mark.parametrize("user", ["a/b", "a%2Fb", "../x", "ünï", "a b+c", "%", "?#", "auth0|1", "A" * 255, ".", "a\\b"])
async def test_a_user_id_is_opaque(app: ASGIApp, user_id: str, user: str) -> None:
    """Whatever text a subject is, percent-encoded it is the path of that user, and its Location works."""
    user = f"{user_id}{user}"[-255:]
    async with client_of(app, user) as client:
        url = f"/api/{quote(user, safe='')}/tasks"
        created = await client.post(url, json={"title": "t"})
        location = created.headers["Location"]

        assert (201, user) == (created.status_code, created.json()["user_id"])
        assert f"{url}/{created.json()['id']}" == location
        assert created.json() == (await client.get(f"{location}/")).json()
        assert [created.json()] == (await client.get(url)).json()


async def test_the_path_is_compared_exactly(app: ASGIApp) -> None:
    """Letters that look alike or differ in case are other users."""
    for path in ("ALICE", "alice%20", "%61lice%00", "ålice"):
        assert 401 == (await answer_to(app, GOOD, f"/api/{path}/tasks")).status_code
    assert 200 == (await answer_to(app, GOOD, "/api/%61lice/tasks")).status_code


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "taskd", "iss": "auth"}, None),
        ({"aud": ["other", "taskd"], "iss": "auth"}, None),
        ({"aud": "other", "iss": "auth"}, "audience other is not taskd"),
        ({"iss": "auth"}, "no aud claim"),
        ({"aud": "taskd", "iss": "other"}, "issuer other is not auth"),
        ({"aud": "taskd"}, "no iss claim"),
    ],
)
async def test_audience_and_issuer_are_checked_when_configured(
    tmp_path: Any, claims: dict[str, Any], reason: str | None
) -> None:
    """What is configured must be in the token."""
    environ = {
        "BETTER_AUTH_SECRET": SECRET,
        "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db",
        "TASKD_JWT_AUDIENCE": "taskd",
        "TASKD_JWT_ISSUER": "auth",
    }
    answer = await answer_to(build_app(environ), signed(claims))

    assert (200 if reason is None else 401) == answer.status_code
    assert (reason or "") in answer.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(position=st.integers(0, len(GOOD) - 1), character=st.characters(min_codepoint=33, max_codepoint=126))
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_token_with_any_character_changed_is_refused(app: ASGIApp, position: int, character: str) -> None:
    """No character of a token is without meaning."""
    changed = GOOD[:position] + character + GOOD[position + 1 :]
    answer = await answer_to(app, changed)

    assert (changed == GOOD) == (answer.status_code == 200), changed
    assert answer.status_code in (200, 401)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(token=st.binary(max_size=300).filter(lambda token: not set(token) & set(b"\r\n\0")))
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_whatever_comes_as_a_token_is_refused(app: ASGIApp, token: bytes) -> None:
    """Nothing that is not signed gets in, and nothing makes the server fail."""
    async with client_of(app) as client:
        answer = await client.get("/api/alice/tasks", headers={b"Authorization": b"Bearer " + token})

        challenge(answer)
