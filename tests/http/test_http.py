"""What holds for every response: paths and methods, headers, CORS, errors, and outages of the storage."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import re
import sqlite3
import string
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp

from taskd.tasks import Task
from taskd_sql.engine.database import Limits
from taskd_sql.store import SQLTaskStore
from tests.conftest import ORIGIN, SECRET, client_of
from tests.support.applications import build
from tests.support.postgres import PostgresServer, free_port
from tests.support.proxy import listening, silent
from tests.support.serving import BRIEF, assert_unavailable, serving, until_ready

pytestmark = pytest.mark.anyio

FOREIGN = "https://evil.example.com"
NOTHING_HERE = {"detail": "There is nothing at this path.", "code": "not_found"}
# Pages that only `taskd dev` allows.
LOOPBACK = ["http://localhost:5173", "https://app.localhost", "http://127.0.0.1:8000", "http://[::1]"]
EXPOSED = "Location, X-Request-ID, Retry-After, WWW-Authenticate, ETag, Link, X-Total-Count"
PATHS = ["/livez", "/readyz", "/api/alice/tasks", "/api/alice", "/api", "/nowhere", "/"]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api", "/api/alice", "/api/alice/tasks/1/2", "/livez/x", "http://taskd//livez", "/livez%0A"]
)
async def test_an_unknown_path_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    """Every error is JSON with a detail, which is a string, and a code."""
    response = await client.get(path)

    assert (404, NOTHING_HERE) == (response.status_code, response.json())


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("", "GET, HEAD, POST"),
        ("/5", "DELETE, GET, HEAD, PUT"),
        ("/5/complete", "PATCH"),
        ("/../../../livez", "GET, HEAD"),
    ],
)
async def test_a_405_lists_the_supported_methods(
    client: httpx.AsyncClient, tasks_url: str, path: str, allowed: str
) -> None:
    """RFC 9110, section 15.5.6: `Allow` lists all methods of the path."""
    response = await client.request("OPTIONS", tasks_url + path)

    assert 405 == response.status_code
    assert allowed == ", ".join(sorted(response.headers["Allow"].split(", ")))
    assert {"detail": "This path does not support this method.", "code": "method_not_allowed"} == response.json()


async def test_a_trailing_slash_names_the_same_resource(client: httpx.AsyncClient, tasks_url: str) -> None:
    """This works on all paths, without a redirect."""
    created = await client.post(f"{tasks_url}/", json={"title": "t"})
    url = created.headers["Location"]

    assert 201 == created.status_code
    assert not url.endswith("/")
    assert (await client.get(tasks_url)).json() == (await client.get(f"{tasks_url}/")).json()
    assert created.json() == (await client.get(f"{url}/")).json()
    assert 200 == (await client.put(f"{url}/", json={})).status_code
    assert 200 == (await client.patch(f"{url}/complete/")).status_code
    assert 204 == (await client.delete(f"{url}/")).status_code
    assert [200, 200] == [(await client.get(path)).status_code for path in ("/livez/", "/readyz/")]
    assert 404 == (await client.get(f"{tasks_url}//")).status_code


@pytest.mark.parametrize("slash", ["%2F", "%2f"])
async def test_encoded_characters_in_a_path_are_decoded(app: ASGIApp, slash: str) -> None:
    """But an encoded slash does not end a segment, and nothing is decoded twice (RFC 3986, section 2.2)."""
    owner = f"{uuid.uuid4().hex}/%2F%b"
    quoted = quote(owner, safe="").replace("%2F", slash)
    async with client_of(app, owner) as client:
        created = await client.post(f"/%61pi/{quoted}/%74asks", json={"title": "t"})
        task_id = created.json()["id"]
        paths = [
            f"/api/{quoted}/tasks/%{ord(task_id[0]):x}{task_id[1:]}/",
            f"/api/{quoted}/t%61sks/{task_id}",
            f"/api/{quoted.replace('b', '%62')}/tasks/{task_id}",
        ]

        assert (201, owner) == (created.status_code, created.json()["user_id"])
        assert [200] * 3 == [(await client.get(path)).status_code for path in paths]
        assert 200 == (await client.patch(f"{paths[0]}compl%65te")).status_code
        for path in (
            f"/api/{quoted}{slash}tasks",
            f"/api{slash}{quoted}/tasks",
            f"/api/{quoted}/tasks{slash}",
            f"{slash}api/{quoted}/tasks",
            f"/livez{slash}",
            f"/api/{quoted}/%2574asks",
        ):
            assert 404 == (await client.get(path)).status_code, path
        for wrong in (quoted.replace("%25", "%"), quoted.replace("%25", "%2525"), quoted.replace(slash, "/", 1)):
            assert (await client.get(f"/api/{wrong}/tasks")).status_code in (401, 404), wrong


@pytest.mark.parametrize("root_path", ["/prefix", "/pre/f%2Fix", "/pr\u00e9"])
@pytest.mark.parametrize("sends_root_path", [True, False])
async def test_a_path_is_decoded_below_a_root_path(app: ASGIApp, root_path: str, *, sends_root_path: bool) -> None:
    """This works whether or not the server adds the root path to the raw path."""
    owner = f"{uuid.uuid4().hex}/b"

    async def below(scope: Any, receive: Any, send: Any) -> None:
        raw_path = (root_path.encode() if sends_root_path else b"") + scope["raw_path"]
        below_root = {"root_path": root_path, "raw_path": raw_path, "path": root_path + scope["path"]}
        await app({**scope, **below_root}, receive, send)

    async with client_of(below, owner) as client:
        assert 200 == (await client.get(f"/api/{quote(owner, safe='')}/%74asks")).status_code
        assert 404 == (await client.get(f"/api/{owner}/tasks")).status_code


async def test_head_returns_the_headers_of_get(client: httpx.AsyncClient, tasks_url: str) -> None:
    """HEAD works wherever GET does."""
    url = (await client.post(tasks_url, json={"title": "t"})).headers["Location"]
    for path in (tasks_url, url, "/livez", "/readyz", f"{tasks_url}/5"):
        get, head = await client.get(path), await client.head(path)

        assert (get.status_code, b"") == (head.status_code, head.content)
        assert [name for name, _ in get.headers.items()] == [name for name, _ in head.headers.items()]
        assert get.headers["Content-Length"] == head.headers["Content-Length"]


async def test_health_endpoints_report_the_process_and_the_storage(stranger: httpx.AsyncClient) -> None:
    """Both are public."""
    for path in ("/livez", "/readyz"):
        response = await stranger.get(path)

        assert (200, {"status": "ok"}) == (response.status_code, response.json())


@pytest.mark.parametrize("path", PATHS)
async def test_every_response_has_the_common_headers(stranger: httpx.AsyncClient, path: str) -> None:
    """No response is sniffed, names the server or lacks an id, and none under /api is stored."""
    headers = (await stranger.get(path)).headers

    assert "nosniff" == headers["X-Content-Type-Options"]
    assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-ID"])
    assert path.startswith("/api") == (headers.get("Cache-Control") == "no-store")
    assert "Server" not in headers


@pytest.mark.parametrize("request_id", ["a", "A-Za.z_0-9", "x" * 128, "8f14e45f-ceea-467f-a0e6-6d1f3b0b2a11"])
async def test_a_request_id_is_kept(stranger: httpx.AsyncClient, request_id: str) -> None:
    """Clients may choose the id by which to find a request in the logs."""
    response = await stranger.get("/livez", headers={"X-Request-ID": request_id})

    assert request_id == response.headers["X-Request-ID"]


@pytest.mark.parametrize("request_id", ["", "x" * 129, "a b", "a,b", "é", "<script>", "a\tb"])
async def test_an_invalid_request_id_is_replaced(stranger: httpx.AsyncClient, request_id: str) -> None:
    """An id that could garble a log is not kept."""
    response = await stranger.get("/livez", headers={b"X-Request-ID": request_id.encode()})

    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-ID"])


def allowances(headers: httpx.Headers) -> list[str]:
    """Return the names of the headers that allow a page something."""
    return [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("environ", [{"FRONTEND_URL": f"http://localhost:3000, {ORIGIN}/"}, {}], indirect=True)
async def test_pages_of_the_frontend_may_read_responses(app: ASGIApp, environ: dict[str, str], path: str) -> None:
    """Every response, including errors, allows the configured origins with credentials, and no others."""
    configured = "FRONTEND_URL" in environ
    async with client_of(app) as client:
        for origin in (ORIGIN, "http://localhost:3000"):
            headers = (await client.get(path, headers={"Origin": origin})).headers

            assert (origin if configured else None) == headers.get("Access-Control-Allow-Origin")
            assert ("true" if configured else None) == headers.get("Access-Control-Allow-Credentials")
            assert (EXPOSED if configured else None) == headers.get("Access-Control-Expose-Headers")
            assert "Origin" in headers["Vary"].split(", ")
        for origin in (FOREIGN, "null", ORIGIN.upper(), f"{ORIGIN}:444", f"{ORIGIN}.evil.com", "", *LOOPBACK):
            headers = (await client.get(path, headers={"Origin": origin})).headers

            assert [] == allowances(headers)
            assert "Origin" in headers["Vary"].split(", ")


APPS = ["capacitor://localhost", "ionic://localhost", "tauri://localhost", "http://tauri.localhost", "app://-"]


@pytest.mark.parametrize("origin", APPS)
async def test_an_app_may_read_responses(origin: str) -> None:
    """Web views of mobile and desktop apps have origins with their own schemes."""
    app = build(FRONTEND_URL=",".join((*APPS, ORIGIN)))
    preflight = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    async with client_of(app) as client:
        responses = [
            await client.get("/livez", headers={"Origin": origin}),
            await client.options("/api/alice/tasks", headers={"Origin": origin, **preflight}),
        ]

    assert [(200, origin), (204, origin)] == [
        (response.status_code, response.headers["Access-Control-Allow-Origin"]) for response in responses
    ]


@pytest.fixture(scope="module")
def environ(request: pytest.FixtureRequest, database_url: str) -> dict[str, str]:
    """Return the environment of the application; tests may override it."""
    given_settings = getattr(request, "param", {"FRONTEND_URL": ORIGIN})
    return {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, **given_settings}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
async def test_a_preflight_request_of_the_frontend_is_granted(stranger: httpx.AsyncClient, method: str) -> None:
    """A browser asks before it sends a token, a body or a method other than GET."""
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    response = await stranger.options("/api/alice/tasks", headers=headers)

    assert (204, b"") == (response.status_code, response.content)
    assert ORIGIN == response.headers["Access-Control-Allow-Origin"]
    assert "true" == response.headers["Access-Control-Allow-Credentials"]
    assert method in response.headers["Access-Control-Allow-Methods"].split(", ")
    assert "600" == response.headers["Access-Control-Max-Age"]
    assert {"Authorization", "Content-Type"} <= set(response.headers["Access-Control-Allow-Headers"].split(", "))
    assert "nosniff" == response.headers["X-Content-Type-Options"]


ALWAYS_ALLOWED = "accept, accept-language, authorization, content-language, content-type, x-request-id"


@pytest.mark.parametrize(
    ("asked", "also_allowed"),
    [
        ("sentry-trace,baggage", ["sentry-trace", "baggage"]),
        ("traceparent", ["traceparent"]),
        ("x-requested-with", ["x-requested-with"]),
        ("content-type, X-API-Key", ["x-api-key"]),
        ("idempotency-key,if-match,,", ["idempotency-key", "if-match"]),
        ("a b, c(d), é, !#$%&'*+-.^_`|~0", ["!#$%&'*+-.^_`|~0"]),
        ("", []),
        (None, []),
    ],
)
async def test_a_page_of_the_frontend_may_send_any_header(
    stranger: httpx.AsyncClient, asked: str | None, also_allowed: list[str]
) -> None:
    """Tracing libraries and auth plugins have their own headers; invalid names are not repeated."""
    headers = [(b"Origin", ORIGIN.encode()), (b"Access-Control-Request-Method", b"GET")]
    headers += [] if asked is None else [(b"Access-Control-Request-Headers", asked.encode())]
    response = await stranger.options("/api/alice/tasks", headers=headers)

    assert 204 == response.status_code
    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {*ALWAYS_ALLOWED.split(", "), *also_allowed} == set(allowed)


@given(asked=st.lists(st.binary(max_size=40).filter(lambda value: not set(value) & set(b"\r\n\0")), max_size=3))
async def test_only_header_names_are_repeated(stranger: httpx.AsyncClient, asked: list[bytes]) -> None:
    """Whatever a preflight asks for, in one line or several, the response lists only names of headers."""
    headers = [(b"Origin", ORIGIN.encode()), (b"Access-Control-Request-Method", b"GET")]
    headers += [(b"Access-Control-Request-Headers", value) for value in asked]
    response = await stranger.options("/api/alice/tasks", headers=headers)

    names = {name.strip(b" \t").decode("latin-1") for value in asked for name in value.split(b",")}
    is_token = set(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").issuperset
    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert 204 == response.status_code
    assert {*ALWAYS_ALLOWED.split(", "), *(name.lower() for name in names if name and is_token(name))} == set(allowed)


@pytest.mark.parametrize(("asked", "allowed"), [("true", "true"), ("false", None), (None, None)])
async def test_a_page_of_the_frontend_may_call_a_server_in_a_private_network(
    stranger: httpx.AsyncClient, asked: str | None, allowed: str | None
) -> None:
    """Some versions of Chromium ask for this if the server's address is private; configured origins may do so."""
    private = {} if asked is None else {"Access-Control-Request-Private-Network": asked}
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET", **private}
    response = await stranger.options("/api/alice/tasks", headers=headers)

    assert (204, allowed) == (response.status_code, response.headers.get("Access-Control-Allow-Private-Network"))


@pytest.mark.parametrize(
    "asked",
    [
        {"Origin": FOREIGN, "Access-Control-Request-Method": "GET"},
        {"Origin": "null", "Access-Control-Request-Method": "GET"},
        {"Origin": ORIGIN, "Access-Control-Request-Method": "TRACE"},
        {"Origin": FOREIGN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-other"},
        {"Origin": FOREIGN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Private-Network": "true"},
    ],
)
async def test_a_preflight_request_for_more_is_refused(stranger: httpx.AsyncClient, asked: dict[str, str]) -> None:
    """The refusal is an error like any other, and allows a foreign origin nothing."""
    response = await stranger.options("/api/alice/tasks", headers=asked)

    refused = "method" if asked["Origin"] == ORIGIN else "origin"
    assert (400, f"Disallowed CORS {refused}.") == (response.status_code, response.json()["detail"])
    assert "bad_request" == response.json()["code"]
    assert {ORIGIN: ORIGIN}.get(asked["Origin"]) == response.headers.get("Access-Control-Allow-Origin")
    assert (asked["Origin"] == ORIGIN) == bool(allowances(response.headers))


@pytest.mark.parametrize(("origin", "method"), [(ORIGIN, "GET"), (ORIGIN, "TRACE"), (FOREIGN, "GET")])
async def test_a_cache_keeps_preflights_apart(stranger: httpx.AsyncClient, origin: str, method: str) -> None:
    """The response depends on everything that a preflight asks for, whether or not it is granted."""
    response = await stranger.options("/livez", headers={"Origin": origin, "Access-Control-Request-Method": method})

    asked = [f"Access-Control-Request-{name}" for name in ("Method", "Headers", "Private-Network")]
    assert ", ".join(("Origin", *asked)) == response.headers["Vary"]


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("OPTIONS", {"Origin": ORIGIN}, 405),
        ("OPTIONS", {"Access-Control-Request-Method": "GET"}, 405),
        ("GET", {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}, 200),
    ],
)
async def test_other_requests_are_not_preflights(
    stranger: httpx.AsyncClient, method: str, headers: dict[str, str], status: int
) -> None:
    """A preflight is an OPTIONS with an origin and a requested method; other requests reach the resource."""
    response = await stranger.request(method, "/livez", headers=headers)

    assert (status, headers.get("Origin")) == (
        response.status_code,
        response.headers.get("Access-Control-Allow-Origin"),
    )


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    """Send *body* without a Content-Length."""
    yield body


@pytest.mark.parametrize(("method", "asked"), [("POST", {"Upgrade": "h2c"}), ("CONNECT", {})])
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upgrade_does_not_hide_a_body(
    stranger: httpx.AsyncClient, method: str, asked: dict[str, str], *, chunked: bool
) -> None:
    """Some servers would read the body as the next request, so the request is refused, and the connection closed."""
    body = b"GET /livez HTTP/1.1"
    response = await stranger.request(method, "/livez", headers=asked, content=in_chunks(body) if chunked else body)

    assert (400, "close") == (response.status_code, response.headers.get("Connection"))
    assert {
        "detail": "A request with a body must not ask for an upgrade.",
        "code": "bad_request",
    } == response.json()
    assert 200 == (await stranger.get("/livez", headers=asked)).status_code


async def test_a_preflight_request_that_asks_for_an_upgrade_is_the_last_one(stranger: httpx.AsyncClient) -> None:
    """Data that follows it on the connection may be its body."""
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Upgrade": "h2c"}
    response = await stranger.options("/api/alice/tasks", headers=asked)

    assert (204, "close") == (response.status_code, response.headers.get("Connection"))


async def test_a_failure_is_logged_and_not_shown(
    client: httpx.AsyncClient, tasks_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A 500 reveals nothing about the error, but its request id leads to the log line; browsers may read it."""

    async def fail(*_: Any) -> None:
        raise RuntimeError("the disk is made of cheese")

    monkeypatch.setattr(SQLTaskStore, "list", fail)
    response = await client.get(f"{tasks_url}?token=xyz", headers={"Origin": ORIGIN, "X-Request-ID": "find-me"})

    assert (500, {"detail": "Internal server error", "code": "internal_error"}) == (
        response.status_code,
        response.json(),
    )
    assert ("find-me", ORIGIN) == (
        response.headers["X-Request-ID"],
        response.headers["Access-Control-Allow-Origin"],
    )
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert f"GET {tasks_url} failed, request id find-me" == record.getMessage()
    assert "cheese" in caplog.text
    assert "xyz" not in caplog.text


async def test_an_encoded_slash_is_logged_as_sent(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its internal replacement cannot be encoded; failures before and after the path is split are logged."""

    async def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("taskd.routes.router.Guard.admit", fail)
    await client.get("/api/a%2Fb/tasks")
    monkeypatch.setattr("taskd.routes.table.RouteTable.find", lambda *_: 1 / 0)
    await client.get("/api/a%2Fb/tasks")

    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert ["GET /api/a/b/tasks", "GET /api/a%2Fb/tasks"] == [line.partition(" failed")[0] for line in lines]


async def test_a_line_break_in_a_path_is_not_logged(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A request cannot forge a log line."""

    async def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("taskd.routes.router.Guard.admit", fail)
    await client.get("/api/alice%0A2026-01-01%20forged/tasks")

    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "\n" not in record.getMessage()


async def test_a_cancellation_goes_through(
    client: httpx.AsyncClient, tasks_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code in the same process may cancel a call to the application, which then sends no 503."""

    async def be_slow(*_: Any) -> None:
        limit.reschedule(0)
        await asyncio.Event().wait()

    monkeypatch.setattr(SQLTaskStore, "list", be_slow)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit:
            await client.get(tasks_url)


async def test_messages_from_the_database_are_not_logged(
    client: httpx.AsyncClient, tasks_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A database quotes the values that it rejects, so only the name of its error is logged."""
    create, now = Task.create, dt.datetime.now(dt.timezone.utc)

    def contradict(*args: Any, **options: Any) -> Task:
        return attrs.evolve(create(*args, **options), completed_at=now)

    monkeypatch.setattr(Task, "create", contradict)
    caplog.set_level(logging.DEBUG)
    user_id = tasks_url.split("/")[2]
    response = await client.post(tasks_url, json={"title": "a secret plan"})

    assert 500 == response.status_code
    assert "StoreError" in caplog.text
    assert "a secret plan" not in caplog.text
    assert user_id not in caplog.text.replace(f"POST {tasks_url}", "").replace(f"http://taskd{tasks_url}", "")


async def test_an_outage_of_the_server_leads_to_a_503(user_id: str, tasks_url: str) -> None:
    """taskd starts while PostgreSQL is down, and says so."""
    async with serving(f"postgresql://u:p@127.0.0.1:{free_port()}/d", user_id, BRIEF) as client:
        await assert_unavailable(client, tasks_url)


async def test_a_server_that_does_not_respond_leads_to_a_503(user_id: str, tasks_url: str) -> None:
    """A PostgreSQL server that accepts connections but never responds does not block requests forever."""
    limits = Limits(call_timeout_s=0.2)
    url = "postgresql://u:p@127.0.0.1:{}/d"
    async with listening(silent) as port, serving(url.format(port), user_id, limits) as client:
        await assert_unavailable(client, tasks_url)


@pytest.mark.parametrize(("user", "database"), [("taskd", "nowhere"), ("nobody", "postgres"), ("taskd", "postgres")])
async def test_a_database_that_is_not_set_up_leads_to_a_503(
    postgres: PostgresServer, user_id: str, tasks_url: str, user: str, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Only an operator can fix a missing database, user or table, so the log says which it is."""
    url = postgres.url(database).replace("taskd@", f"{user}@")
    async with serving(url, user_id) as client:
        response = await client.get(tasks_url)

        assert 503 == response.status_code
    assert f"PostgreSQL at 127.0.0.1:{postgres.port} is unavailable: " in caplog.text


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the write lock of an SQLite file."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


async def test_a_locked_file_leads_to_a_503_until_it_is_free(tmp_path: Path, user_id: str, tasks_url: str) -> None:
    """If another process holds the lock, the server does not fail, and the refused write does not happen later."""
    url = f"sqlite:///{tmp_path}/tasks.db"
    async with serving(url, user_id, TASKD_SQL_STATEMENT_TIMEOUT="0.1") as client:
        await until_ready(client)
        with locked(tmp_path / "tasks.db"):
            response = await client.post(tasks_url, json={"title": "t"})

            assert (503, True) == (response.status_code, "Retry-After" in response.headers)
        assert [] == (await client.get(tasks_url)).json()
        assert 201 == (await client.post(tasks_url, json={"title": "t"})).status_code


async def test_a_file_that_is_not_a_database_leads_to_a_503(tmp_path: Path, user_id: str, tasks_url: str) -> None:
    """The file is left as it is."""
    (tmp_path / "tasks.db").write_bytes(b"no database" * 1000)
    async with serving(f"sqlite:///{tmp_path}/tasks.db", user_id) as client:
        await assert_unavailable(client, tasks_url)

        (tmp_path / "tasks.db").unlink()
        assert 201 == (await client.post(tasks_url, json={"title": "t"})).status_code


async def test_the_core_logs_outages_that_the_store_does_not(
    tmp_path: Path, user_id: str, tasks_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The outage of a store that logs nothing is logged once, and so is its end when `/readyz` is called."""
    monkeypatch.setattr(SQLTaskStore, "_logging_outages", lambda *_, **__: contextlib.nullcontext(0.0))
    file = tmp_path / "tasks.db"
    async with serving(f"sqlite:///{file}", user_id) as client:
        file.mkdir()
        assert [503] * 3 == [(await client.get(tasks_url)).status_code for _ in range(3)]
        file.rmdir()
        assert [200] * 3 == [(await client.get("/readyz")).status_code for _ in range(3)]

    down, up = [record.getMessage() for record in caplog.records if record.name == "taskd.application"]
    assert down.startswith("The storage is unavailable: ")
    assert up.startswith("The storage is available again after ")
