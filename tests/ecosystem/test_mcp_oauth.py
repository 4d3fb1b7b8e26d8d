"""An assistant that has no token gets one from a real Better Auth, set up as docs/guides/mcp.md says."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import attrs
import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from taskd.testing import running_server
from tests.conftest import SECRET
from tests.mcp import PLUGINS
from tests.support.documentation import ROOT, blocks
from tests.support.node import install
from tests.support.postgres import free_port
from tests.support.processes import child_environ
from tests.support.requirements import required

pytestmark = pytest.mark.anyio

GUIDE = "docs/guides/mcp.md"
SOURCES = ROOT / "tests" / "ecosystem" / "mcp_oauth"
# The addresses in the guide.
APP, TASKS = "https://app.example.com", "https://tasks.example.com"
# Where the client waits for the user to come back.
CALLBACK = "http://127.0.0.1/callback"
CLIENT = OAuthClientMetadata(
    redirect_uris=[AnyUrl(CALLBACK)],
    client_name="an assistant",
    token_endpoint_auth_method="none",
)


@attrs.frozen
class Servers:
    """Where Better Auth and taskd listen."""

    app: str = attrs.field(factory=lambda: f"http://127.0.0.1:{free_port()}")
    tasks: str = attrs.field(factory=lambda: f"http://127.0.0.1:{free_port()}")

    def here(self, text: str) -> str:
        """Return *text* from the guide with the addresses of these servers."""
        return text.replace(APP, self.app).replace(TASKS, self.tasks)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Better Auth and taskd, each with the settings that the guide shows."""
    made = Servers()
    shown = [line for block in blocks(GUIDE, "env") for line in block.splitlines()]
    settings = dict(made.here(line).split("=", 1) for line in shown)
    settings |= {"TASKD_PLUGINS": PLUGINS, "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db"}
    port = made.tasks.rpartition(":")[2]
    arguments = ("-m", "taskd", "serve", "--port", port)
    with _better_auth(made, tmp_path / "app"), running_server(child_environ(settings), arguments):
        yield made


@contextlib.contextmanager
def _better_auth(servers: Servers, folder: Path) -> Iterator[None]:
    """Run Better Auth with the plugins in the guide."""
    shutil.copytree(SOURCES, folder)
    [plugins] = [block for block in blocks(GUIDE, "ts") if block.startswith("// lib/plugins.ts")]
    (folder / "plugins.mjs").write_text(servers.here(plugins))
    install(folder)
    process = subprocess.Popen(
        [required("node"), "server.mjs", servers.app.rpartition(":")[2]],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_TELEMETRY": "0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            assert "ready\n" in process.stdout
            yield
        finally:
            process.terminate()


@attrs.define
class User:
    """Somebody with a browser, who trusts the assistant; also what the assistant remembers."""

    browser: httpx.AsyncClient
    _result: AuthorizationCodeResult | None = None
    _tokens: OAuthToken | None = None
    _client: OAuthClientInformationFull | None = None

    async def sign_up(self) -> str:
        """Sign up, and return the user's id."""
        body = {"email": "a@example.com", "password": "a password for the tests", "name": "a"}
        response = await self.browser.post("/api/auth/sign-up/email", json=body)
        user_id: str = response.raise_for_status().json()["user"]["id"]
        return user_id

    async def consent(self, url: str) -> None:
        """Open the page that the assistant asks for, and agree."""
        asked = urlsplit((await self.browser.get(url)).headers["Location"])
        body = {"accept": True, "oauth_query": asked.query}
        response = await self.browser.post("/api/auth/oauth2/consent", json=body)
        given = parse_qs(urlsplit(response.raise_for_status().json()["url"]).query)
        self._result = AuthorizationCodeResult(code=given["code"][0], state=given["state"][0], iss=given["iss"][0])

    async def come_back(self) -> AuthorizationCodeResult:
        assert self._result is not None
        return self._result

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


async def test_an_assistant_gets_a_token_by_itself(servers: Servers) -> None:
    """From the 401 it finds the OAuth server, registers, asks the user, and then adds a task that the frontend sees."""
    url = f"{servers.tasks}/mcp"
    async with httpx.AsyncClient(base_url=servers.app, headers={"Origin": servers.app}, timeout=30) as browser:
        user = User(browser)
        user_id = await user.sign_up()
        oauth = OAuthClientProvider(url, CLIENT, user, user.consent, user.come_back)
        async with (
            httpx2.AsyncClient(auth=oauth) as http,
            Client(streamable_http_client(url, http_client=http)) as assistant,
        ):
            added = await assistant.call_tool("add_task", {"title": "Water the plants"})
        token = (await browser.get("/api/auth/token")).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        listed = await browser.get(f"{servers.tasks}/api/{user_id}/tasks", headers=headers)

    assert [added.structured_content] == listed.json()
    assert user_id == listed.json()[0]["user_id"]


def test_the_guide_says_where_the_metadata_is() -> None:
    """The path of the route is the one that RFC 8414 derives from the issuer."""
    [route] = re.findall(r"(?m)^// app(/\S+)/route\.ts$", (ROOT / GUIDE).read_text())
    [issuer] = re.findall(r'(?m)^const issuer = "(.*)";$', (ROOT / GUIDE).read_text())

    assert f"/.well-known/oauth-authorization-server{urlsplit(issuer).path}" == route
