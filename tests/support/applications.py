"""Applications with the default plugins and those that a test installs: build them, and send them requests."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx
import pytest
from starlette.types import ASGIApp

from taskd import PluginError, hooks
from taskd.application import Application
from taskd.plugins import Plugins
from taskd.settings import load_settings
from taskd.time_limit import Timeouts
from taskd_jwt.backend import JWTBackend
from taskd_jwt.clock import Clock
from taskd_jwt.jwks.timing import Timing
from taskd_jwt.settings import JWTSettings
from taskd_jwt.verifier import Verifier
from tests.conftest import SECRET, client_of


def build(timeouts: Timeouts | None = None, /, **environ: str) -> Application:
    """Build an application with the default plugins and those installed; *environ* overrides its settings."""
    given = {"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": "sqlite:///tasks.db", **environ}
    return Application.of(Plugins.load(given, timeouts))


def build_verifying(environ: Mapping[str, str], timing: Timing | None = None, clock: Clock = time) -> Application:
    """Build an application that fetches an issuer's keys as *timing* says, and verifies tokens by *clock*."""
    plugins = Plugins.load(environ)
    backend = JWTBackend(Verifier.of(load_settings(JWTSettings, environ), timing, clock))
    plugins.products.keep(hooks.taskd_auth, plugins.products.maker(hooks.taskd_auth, "jwt"), backend)
    return Application.of(plugins)


async def get(app: ASGIApp, path: str, user_id: str | None = None, **headers: str) -> httpx.Response:
    """Return the response to a GET, with a valid token if *user_id* is given."""
    async with client_of(app, user_id) as client:
        return await client.get(path, headers=headers)


async def response_to(app: ASGIApp, token: str, path: str = "/api/alice/tasks") -> httpx.Response:
    """Return the response to a GET with *token*, valid or not."""
    async with client_of(app) as client:
        return await client.get(path, headers={b"Authorization": f"Bearer {token}".encode()})


def without_remedy(message: str) -> str:
    """Return the *message* of a `PluginError` without the remedy at its end."""
    return message.partition("; or set TASKD_DISABLED_PLUGINS=")[0]


def refusal(**environ: str) -> str:
    """Return the message of the `PluginError` that keeps an application from being built."""
    with pytest.raises(PluginError) as caught:
        build(**environ)
    return str(caught.value)
