"""The real Better Auth, in a Node process, set up as docs/guides/better-auth.md says."""

from __future__ import annotations

import asyncio
import contextlib
import http.cookiejar
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import httpx

from tests.conftest import SECRET
from tests.support.node import install, npm
from tests.support.requirements import required

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "tests" / "ecosystem" / "better_auth"
DOCUMENTATION = ROOT / "docs" / "guides" / "better-auth.md"
# Which section of the documentation shows the files of which folder.
SET_UPS = {"## Set-up 1": "key-set", "## Set-up 2": "shared-secret"}
PASSWORD = "a password for the tests"
TIMEOUT_S = 60


def snippets() -> dict[str, str]:
    """Return the files that the documentation shows, by path; each path begins with the folder of a set-up."""
    shown = {}
    for section in re.split(r"(?m)^(?=## )", DOCUMENTATION.read_text()):
        for start, folder in SET_UPS.items():
            if section.startswith(start):
                for name, text in re.findall(r"(?ms)^```ts\n// (\S+)\n(.*?)^```$", section):
                    shown[f"{folder}/{name}"] = text
    return shown


def at_path(client: str) -> str:
    """Return *client*, changed as the documentation says for a `BETTER_AUTH_URL` with a path."""
    [arguments] = re.findall(r"`createAuthClient\(\{ (.*), … \}\)`", DOCUMENTATION.read_text())
    changed = client.replace("createAuthClient({", f"createAuthClient({{\n  {arguments},")
    assert changed != client
    return changed


def build(folder: Path) -> Path:
    """Install Better Auth into *folder*, and build the servers and pages there; return the server's program."""
    shutil.copytree(SOURCES, folder)
    shown = snippets()
    shown["at-path/lib/tasks.ts"] = at_path(shown["key-set/lib/tasks.ts"])
    for name, text in shown.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for set_up in SET_UPS.values():
        shutil.copy(SOURCES / "database.js", folder / set_up / "lib")
    install(folder)
    npm(folder, "run", "build")
    return folder / "built" / "server.mjs"


@attrs.frozen
class SignedIn:
    """
    A user with a session.

    Attributes:
        session_token: The token in the body of the response.
        bearer_token: The token that the `bearer` plugin put into a header of the response, if that plugin is used.
        session_data: The cookie in which Better Auth caches the session, if it does.
    """

    auth: BetterAuth = attrs.field(repr=False)
    user_id: str
    session_token: str
    cookie: str
    bearer_token: str | None
    session_data: str | None

    async def token(self) -> str:
        """Return a fresh JWT, as `authClient.token()` does."""
        response = await self.auth.get("/token", Cookie=self.cookie)
        token: str = response.json()["token"]
        return token

    async def header_token(self) -> str:
        """Return the JWT that comes with the session."""
        return (await self.auth.get("/get-session", Cookie=self.cookie)).headers["set-auth-jwt"]


@attrs.frozen
class BetterAuth:
    """
    A Better Auth server that listens at *url*.

    Attributes:
        base_path: The path that its endpoints are under.
    """

    url: str
    base_path: str
    client: httpx.AsyncClient

    @property
    def port(self) -> int:
        port = httpx.URL(self.url).port
        assert port is not None
        return port

    async def get(self, path: str, **headers: str) -> httpx.Response:
        response = await self.client.get(f"{self.base_path}{path}", headers=headers)
        return response.raise_for_status()

    async def sign_up(self, name: str = "alice") -> SignedIn:
        return await self._enter("/sign-up/email", email=f"{name}@example.com", password=PASSWORD, name=name)

    async def sign_in(self, name: str = "alice") -> SignedIn:
        return await self._enter("/sign-in/email", email=f"{name}@example.com", password=PASSWORD)

    async def _enter(self, path: str, **body: str) -> SignedIn:
        # Better Auth accepts these only from its own pages.
        response = await self.client.post(f"{self.base_path}{path}", json=body, headers={"Origin": self.url})
        said = response.raise_for_status().json()
        cookies = dict(response.cookies)
        return SignedIn(
            auth=self,
            user_id=said["user"]["id"],
            session_token=said["token"],
            cookie="; ".join(f"{name}={value}" for name, value in cookies.items()),
            bearer_token=response.headers.get("set-auth-token"),
            session_data=cookies.get("better-auth.session_data"),
        )

    async def verification_token(self, name: str = "alice") -> str:
        """Return the token that was sent to the e-mail address of *name* to verify it."""
        response = await self.client.get("/test/verification-token", params={"email": f"{name}@example.com"})
        token: str = response.json()["token"]
        return token

    async def behave(self, behaviour: str) -> None:
        """Respond to requests for the keys like this from now on, and to those held back: see `lies` in server.mjs."""
        await self.client.get("/test/behave", params={"as": behaviour})

    async def asked(self, at_least: int = 0) -> int:
        """Return how often the keys have been requested, once that is at least *at_least* times."""
        count: int = (await self.client.get("/test/asked", params={"count": at_least})).json()["asked"]
        return count


@contextlib.asynccontextmanager
async def better_auth(program: Path, **options: Any) -> AsyncIterator[BetterAuth]:
    """Run Better Auth for as long as the block lasts; *options* are those of server.mjs."""
    process = await asyncio.create_subprocess_exec(
        required("node"),
        program,
        json.dumps(options),
        # This is not production mode, which has rate limits and requires https.
        env={"PATH": os.environ["PATH"], "BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_TELEMETRY": "0"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            port = json.loads(await process.stdout.readline())["port"]
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, cookies=_no_cookies(), timeout=TIMEOUT_S, trust_env=False) as client:
            yield BetterAuth(url, options.get("path", "").rstrip("/") or "/api/auth", client)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _no_cookies() -> http.cookiejar.CookieJar:
    """Return a jar that stays empty: each user sends its own cookies."""
    return http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
