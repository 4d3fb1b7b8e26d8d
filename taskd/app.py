"""The one place where the parts meet."""

from __future__ import annotations

import asyncio
import logging
import time
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
from taskd.availability import Availability
from taskd.http import ERROR_HANDLERS, JSONAnswer
from taskd.middleware import CORSLayer, PathLayer, RequestLayer
from taskd.routing import public, resources
from taskd.settings import Settings, load_settings, read_environ
from taskd.storage import StoreError, StoreUnavailable, TaskStore

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
    app.state.storage = Availability("The storage", logger)
    app.router.redirect_slashes = False
    app.router.default = _nothing_here
    return RequestLayer(CORSLayer(PathLayer(app), settings.frontend_origins))


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    raise HTTPException(404, "There is nothing at this path.")


def _lifespan(store: TaskStore) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Look early whether the storage answers, so that the log says so if not, and serve all the same."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(_look(store, app.state.storage))
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            await store.close()

    return lifespan


async def _look(store: TaskStore, availability: Availability) -> None:
    try:
        await store.ping()
    except StoreUnavailable as error:
        if not error.is_told:
            availability.failed(str(error))
    except StoreError as error:
        availability.failed(str(error))


def _health_routes(store: TaskStore) -> list[tuple[str, Route]]:
    """Make the routes by which a supervisor watches the process (`/livez`) and what it needs (`/readyz`)."""

    @public
    async def livez(_: Request) -> Response:
        return JSONAnswer({"status": "ok"})

    @public
    async def readyz(request: Request) -> Response:
        begun_s = time.monotonic()
        await store.ping()
        request.app.state.storage.served(begun_s)
        return JSONAnswer({"status": "ok"})

    return [("taskd", Route("/livez", livez)), ("taskd", Route("/readyz", readyz))]
