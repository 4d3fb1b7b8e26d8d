"""Applications with the default plugins and those that a test installs: build them, and send them requests."""

from __future__ import annotations

import httpx
import pytest
from starlette.types import ASGIApp

from taskd import PluginError
from taskd.application import Application
from taskd.plugins import Plugins
from taskd.time_limit import Timeouts
from tests.conftest import SECRET, client_of


def build(timeouts: Timeouts | None = None, /, **environ: str) -> Application:
    """Build an application with the default plugins and those installed, and *environ* on top of what it needs."""
    given = {"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": "sqlite:///tasks.db", **environ}
    return Application.of(Plugins.load(given, timeouts))


async def get(app: ASGIApp, path: str, user_id: str | None = None, **headers: str) -> httpx.Response:
    """Return the response to a GET, with a good token for *user_id* if that is given."""
    async with client_of(app, user_id) as client:
        return await client.get(path, headers=headers)


async def response_to(app: ASGIApp, token: str, path: str = "/api/alice/tasks") -> httpx.Response:
    """Return the response to a GET with *token*, whatever that is."""
    async with client_of(app) as client:
        return await client.get(path, headers={b"Authorization": f"Bearer {token}".encode()})


def refusal(**environ: str) -> str:
    """Return why no application can be built because of a plugin."""
    with pytest.raises(PluginError) as caught:
        build(**environ)
    return str(caught.value)
