"""Applications of the default plugins and of those that a test installs: built, asked, or refused."""

from __future__ import annotations

import httpx
import pytest
from starlette.types import ASGIApp

from taskd import PluginError, build_app
from taskd.application import Application
from tests.conftest import SECRET, client_of


def build(**environ: str) -> Application:
    """An application of the default plugins and those installed, with *environ* on top of what it needs."""
    return build_app({"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": "sqlite:///tasks.db", **environ})


async def get(app: ASGIApp, path: str, user_id: str | None = None, **headers: str) -> httpx.Response:
    """The response to a GET, with a good token of *user_id* if there is one."""
    async with client_of(app, user_id) as client:
        return await client.get(path, headers=headers)


async def response_to(app: ASGIApp, token: str, path: str = "/api/alice/tasks") -> httpx.Response:
    """The response to a GET with whatever is given for a token."""
    async with client_of(app) as client:
        return await client.get(path, headers={b"Authorization": f"Bearer {token}".encode()})


def refusal(**environ: str) -> str:
    """Why no application is built because of a plugin."""
    with pytest.raises(PluginError) as caught:
        build(**environ)
    return str(caught.value)
