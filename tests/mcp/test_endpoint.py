"""The endpoint as HTTP sees it: who may use it, and what it refuses."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from starlette.types import ASGIApp

from taskd import build_app
from taskd.settings import SettingsError
from taskd.testing import lifespan
from tests.conftest import ORIGIN, SECRET, client_of
from tests.mcp import PLUGINS, URL
from tests.support.applications import build, get, refusal
from tests.support.commands import run_python
from tests.support.doctor import STRONG_SECRET
from tests.support.third_parties import STORE, Site

pytestmark = pytest.mark.anyio

AUTH_SERVER = "https://app.example.com/api/auth"
METADATA = "https://tasks.example.com/.well-known/oauth-protected-resource/mcp"
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


def message(tool: str, **arguments: Any) -> str:
    """Return a call of a *tool*, as a client of the older protocol sends it."""
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


async def send(client: httpx.AsyncClient, content: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    return await client.post(URL, content=content, headers={**HEADERS, **(headers or {})})


def error_in(response: httpx.Response) -> Any:
    """Return the error of a tool."""
    result = response.json()["result"]
    assert result["isError"]
    return result["structuredContent"]


class TestAccess:
    async def test_needs_a_token(self, client: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
        """Without a valid token, the response is the API's 401, whatever was called."""
        call = message("add_task", title="t")

        missing, wrong = await send(stranger, call), await send(stranger, call, {"Authorization": "Bearer a.b.c"})
        listed = await send(client, message("list_tasks"))

        assert ["missing_credentials", "invalid_token"] == [missing.json()["code"], wrong.json()["code"]]
        assert 'Bearer realm="taskd"' == missing.headers["WWW-Authenticate"]
        assert [] == listed.json()["result"]["structuredContent"]["tasks"]

    async def test_says_where_to_get_a_token(self, environ: dict[str, str]) -> None:
        """With an OAuth server, each 401 leads to metadata that names it (RFC 9728)."""
        app = build_app({**environ, "TASKD_MCP_AUTH_SERVER": AUTH_SERVER})
        async with lifespan(app), client_of(app) as stranger:
            refused = [await send(stranger, "", more) for more in ({}, {"Authorization": "Bearer a.b.c"})]
            shown = [await stranger.get(url) for url in (METADATA, METADATA.removesuffix("/mcp"))]
            elsewhere = await stranger.get("/api/alice/tasks")

        challenges = [response.headers["WWW-Authenticate"] for response in refused]
        assert f'Bearer realm="taskd", resource_metadata="{METADATA}"' == challenges[0]
        assert 'error="invalid_token"' in challenges[1]
        assert challenges[1].endswith(f', resource_metadata="{METADATA}"')
        assert "resource_metadata" not in elsewhere.headers["WWW-Authenticate"]
        metadata = {"resource": URL, "authorization_servers": [AUTH_SERVER], "bearer_methods_supported": ["header"]}
        assert [{**metadata, "resource_name": "taskd"}] * 2 == [response.json() for response in shown]

    @pytest.mark.parametrize(
        ("audience", "status"),
        [(URL, 200), ([URL, f"{AUTH_SERVER}/oauth2/userinfo"], 200), ("https://app.example.com", 401), (None, 401)],
    )
    async def test_checks_for_whom_a_token_was_issued(
        self, environ: dict[str, str], audience: object, status: int
    ) -> None:
        """A token that was issued for another service, or for no one in particular, is refused."""
        claims = {"sub": "alice", "exp": int(time.time()) + 60, **({"aud": audience} if audience else {})}
        token = jwt.encode(claims, SECRET, "HS256", {"typ": "at+jwt"})
        app = build_app({**environ, "TASKD_JWT_AUDIENCE": URL})
        async with lifespan(app), client_of(app) as client:
            response = await send(client, message("list_tasks"), {"Authorization": f"Bearer {token}"})

        assert status == response.status_code

    async def test_has_no_metadata_without_an_oauth_server(self, app: ASGIApp) -> None:
        """Clients would only find out that there is nowhere to go."""
        assert 404 == (await get(app, "/.well-known/oauth-protected-resource/mcp")).status_code

    @pytest.mark.parametrize(
        ("url", "headers", "status"),
        [
            (URL, {}, 200),
            (URL, {"Origin": "https://tasks.example.com"}, 200),
            (URL, {"Origin": ORIGIN}, 200),
            (URL, {"Origin": "http://localhost:6274"}, 200),
            ("http://127.0.0.1:8000/mcp", {}, 200),
            ("http://localhost/mcp", {}, 200),
            (URL, {"Origin": "https://evil.example.com"}, 403),
            (URL, {"Origin": "null"}, 403),
            ("https://evil.example.com/mcp", {}, 421),
            ("https://127.0.0.1.evil.example.com/mcp", {}, 421),
        ],
    )
    async def test_refuses_foreign_pages_and_hosts(
        self, client: httpx.AsyncClient, url: str, headers: dict[str, str], status: int
    ) -> None:
        """A page of another site cannot use it, even by a name of its own that leads to this machine."""
        response = await client.post(url, content=message("list_tasks"), headers={**HEADERS, **headers})

        assert status == response.status_code

    async def test_only_accepts_posts(self, client: httpx.AsyncClient) -> None:
        """There are no sessions, so there is nothing to listen to or to end."""
        responses = [await client.request(method, URL, headers=HEADERS) for method in ("GET", "DELETE")]

        assert [(405, "POST")] * 2 == [(response.status_code, response.headers["Allow"]) for response in responses]


class TestCalls:
    @pytest.mark.parametrize("title", [r'"\ud800"', "NaN", "[" * 2000])
    async def test_refuse_what_no_body_may_have(self, client: httpx.AsyncClient, title: str) -> None:
        """What is not valid JSON in UTF-8 is refused, and nothing is stored."""
        response = await send(client, message("add_task", title="?").replace('"?"', title))
        listed = await send(client, message("list_tasks"))

        assert response.status_code == 400 or "error" in response.json() or error_in(response)["errors"]
        assert [] == listed.json()["result"]["structuredContent"]["tasks"]

    async def test_are_limited_in_size(self, client: httpx.AsyncClient) -> None:
        """Arguments that are larger than a body may be are refused, whatever they are."""
        large = await send(client, message("add_task", title="t", description="x" * 65536))
        larger = await send(client, message("add_task", title="t", description="x" * 2 * 65536))

        assert (200, 413) == (large.status_code, larger.status_code)
        assert "invalid_body" == error_in(large)["code"]

    async def test_fail_while_the_store_is_down(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """A call that the store cannot serve is an error of the tool, and one line says that the store is down."""
        site.install("down", STORE.replace("task = ", "raise taskd.storage.StoreUnavailable('it is gone')  # "))

        responses = await called(build(TASKD_PLUGINS=f"{PLUGINS},down", TASKD_STORAGE="down"), "list_tasks", times=2)

        assert ["unavailable"] * 2 == [error_in(response)["code"] for response in responses]
        assert 1 == caplog.text.count("it is gone")

    async def test_that_fail_unexpectedly_are_logged(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """The client learns nothing about a fault in the server, and the log has the traceback."""
        site.install("broken", STORE.replace("task = ", "raise LookupError('a secret')  # "))

        [response] = await called(build(TASKD_PLUGINS=f"{PLUGINS},broken", TASKD_STORAGE="broken"), "list_tasks")

        [record] = [record for record in caplog.records if record.name == "taskd_mcp.server"]
        assert {"detail": "Internal server error", "code": "internal_error"} == error_in(response)
        assert "list_tasks failed" == record.getMessage()
        assert record.exc_info
        assert "a secret" not in response.text


async def called(app: ASGIApp, tool: str, times: int = 1) -> list[httpx.Response]:
    """Return the responses to calls of a *tool* that needs no arguments."""
    async with lifespan(app), client_of(app, "alice") as client:
        content = message(tool)
        return [await client.post("http://localhost/mcp", content=content, headers=HEADERS) for _ in range(times)]


class TestStart:
    @pytest.mark.parametrize(
        ("settings", "refused"),
        [
            ({"TASKD_MCP_URL": "tasks.example.com/mcp"}, "TASKD_MCP_URL: must be a URL such as"),
            ({"TASKD_MCP_URL": "https://tasks.example.com"}, "TASKD_MCP_URL: must be a URL such as"),
            ({"TASKD_MCP_URL": URL, "TASKD_MCP_AUTH_SERVER": "x"}, "TASKD_MCP_AUTH_SERVER: must be a URL such as"),
            ({"TASKD_MCP_AUTH_SERVER": AUTH_SERVER}, "TASKD_MCP_URL: is not set, and TASKD_MCP_AUTH_SERVER needs it"),
        ],
    )
    def test_refuses_wrong_settings(self, settings: dict[str, str], refused: str) -> None:
        """The message names the variable and the plugin."""
        with pytest.raises(SettingsError) as caught:
            build(TASKD_PLUGINS=PLUGINS, **settings)

        assert str(caught.value).startswith(refused)
        assert "(plugin 'mcp' of taskd-server" in str(caught.value)

    def test_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the SDK, one line says how to get it."""
        for name in [name for name in sys.modules if name.partition(".")[0] in ("mcp", "taskd_mcp")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "mcp", None)

        said = refusal(TASKD_PLUGINS=PLUGINS)

        assert said.startswith("plugin 'mcp' of taskd-server ")
        assert "the MCP SDK is not installed: pip install 'taskd-server[mcp]'" in said
        assert "\n" not in said

    async def test_serves_nothing_unless_it_is_asked_to(self) -> None:
        """Without `mcp` in `TASKD_PLUGINS`, there is no endpoint."""
        async with client_of(build(), "alice") as client:
            assert 404 == (await client.post("/mcp")).status_code

    def test_imports_nothing_unless_it_is_asked_to(self, tmp_path: Path) -> None:
        """A server without the plugin imports neither it nor the SDK."""
        code = "import sys, taskd.asgi; print({'mcp', 'pydantic', 'taskd_mcp'} & set(sys.modules))"
        run = run_python("-c", code, cwd=tmp_path, settings={"BETTER_AUTH_SECRET": STRONG_SECRET})

        assert "set()" == run.stdout.strip()

    async def test_applications_share_nothing(self, environ: dict[str, str], user_id: str) -> None:
        """Two applications in one process have an endpoint each."""
        first, second = build_app(environ), build_app({**environ, "DATABASE_URL": "sqlite:///other.db"})
        async with (
            lifespan(first),
            lifespan(second),
            client_of(first, user_id) as one,
            client_of(second, user_id) as two,
        ):
            await send(one, message("add_task", title="t"))
            listed = [await send(client, message("list_tasks")) for client in (one, two)]

        assert [1, 0] == [len(response.json()["result"]["structuredContent"]["tasks"]) for response in listed]

    async def test_needs_a_server_that_runs_the_lifespan(
        self, environ: dict[str, str], user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Otherwise, a call gets a 500, and the log says why."""
        async with client_of(build_app(environ), user_id) as client:
            response = await send(client, message("list_tasks"))

        assert 500 == response.status_code
        assert "the MCP endpoint needs a server that runs the ASGI lifespan" in caplog.text
