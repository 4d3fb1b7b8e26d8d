"""Try an application in this process, with credentials."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx

from taskd.application import Application
from taskd.openapi.credentials import header_with
from taskd.plugins import Plugins
from taskd.testing.server import lifespan

__all__ = ["trial_client"]

LIFETIME_S = 3600


@contextlib.asynccontextmanager
async def trial_client(user_id: str, environ: Mapping[str, str] | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """
    Serve an application in this process, as `taskd dev` does, to a client that sends the credentials of *user_id*.

    The selected plugins supply settings that *environ* lacks.  They may keep files in the current folder, so a test
    should first change to a folder of its own.

    Args:
        user_id: Whose credentials to send; the selected auth plugin must be able to issue them.
        environ: All settings; by default, none.

    Raises:
        SettingsError: A setting is wrong, or the auth plugin cannot issue credentials.
        PluginError: A plugin is broken or ambiguous.
    """
    plugins = Plugins.load(environ or {})
    plugins.complete_for_trial(Path("taskd"))
    token = plugins.issue_token(user_id, LIFETIME_S)
    app, header = Application.of(plugins), header_with(token, plugins.security_schemes)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://taskd", headers=[header])
    async with lifespan(app), client:
        yield client
