"""The one place where the parts meet."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from taskd import plugins
from taskd.auth import Guard
from taskd.http import ERROR_HANDLERS, JSONAnswer
from taskd.middleware import CORSLayer, PathLayer, RequestLayer
from taskd.routing import public, resources
from taskd.settings import Settings, load_settings, read_environ
from taskd.storage import StoreError, TaskStore

__all__ = ["build_app"]

logger = logging.getLogger(__name__)


def build_app(environ: Mapping[str, str] | None = None) -> ASGIApp:
    """
    Build the ASGI application from *environ*, by default the environment on top of the `.env` file.

    It does no I/O but reading that file and importing the plugins, and shares nothing with another application.

    Raises:
        SettingsError: A setting is missing or wrong.
        PluginError: A plugin is broken or ambiguous.
    """
    environ = read_environ() if environ is None else environ
    settings = load_settings(Settings, environ)
    loaded = plugins.Plugins(plugins.find(settings))
    guard = Guard(loaded.auth(settings.auth, environ))
    store = loaded.storage(settings.storage, environ)
    routes = resources([*_health_routes(store), *loaded.routes(store, environ)], guard)
    app = Starlette(routes=routes, exception_handlers=ERROR_HANDLERS, lifespan=_lifespan(store))
    app.router.redirect_slashes = False
    app.router.default = _nothing_here
    return RequestLayer(CORSLayer(PathLayer(app), settings.frontend_origins))


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    raise HTTPException(404, "There is nothing at this path.")


def _lifespan(store: TaskStore) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Say early that the storage cannot be reached, and start all the same: it may come back."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            await store.ping()
        except StoreError as error:
            logger.warning("The storage does not serve yet: %s", error)
        try:
            yield
        finally:
            await store.close()

    return lifespan


def _health_routes(store: TaskStore) -> list[tuple[str, Route]]:
    """Make the routes by which a supervisor watches the process (`/livez`) and what it needs (`/readyz`)."""

    @public
    async def livez(_: Request) -> Response:
        return JSONAnswer({"status": "ok"})

    @public
    async def readyz(_: Request) -> Response:
        await store.ping()
        return JSONAnswer({"status": "ok"})

    return [("taskd", Route("/livez", livez)), ("taskd", Route("/readyz", readyz))]
