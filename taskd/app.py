"""The one place where the parts meet."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import attrs
from starlette.applications import Starlette
from starlette.authentication import AuthenticationBackend
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from taskd import openapi
from taskd.auth import Guard
from taskd.availability import Availability
from taskd.http import ERROR_HANDLERS, JSONAnswer
from taskd.middleware import CORSLayer, PathLayer, RefusalLayer, RequestLayer
from taskd.operations import Answer, operation
from taskd.plugins import Claimant, Plugins
from taskd.routing import public, resources
from taskd.settings import read_environ
from taskd.storage import StoreError, StoreUnavailable, TaskStore

__all__ = ["api_document", "build_app", "paths"]

# After so long without a failure the next one is another outage.
STORAGE_QUIET_S = 600.0
# What asyncio calls the task that looks at the storage early.
LOOK = "taskd: look at the storage"

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
    plugins = Plugins.load(environ)
    guard = Guard(plugins.auth())
    store = plugins.storage()
    routes = _all_routes(plugins, store, guard)
    app = Starlette(routes=routes, exception_handlers=ERROR_HANDLERS, lifespan=_lifespan(store))
    # Of what is served, only /readyz tells it.
    app.state.storage = Availability("The storage", logger, quiet_s=STORAGE_QUIET_S)
    app.state.openapi = openapi.document(routes, plugins.security_scheme())
    app.router.redirect_slashes = False
    app.router.default = _nothing_here
    return RequestLayer(CORSLayer(RefusalLayer(PathLayer(app)), plugins.settings.frontend_origins))


def api_document(environ: Mapping[str, str]) -> bytes:
    """
    Return the API document of what `build_app` builds from *environ*.  Nobody's credentials need to be verified for it.

    Raises:
        SettingsError: A setting is wrong.
        PluginError: A plugin is broken or ambiguous.
    """
    plugins = Plugins.load(environ)
    nobody = Guard(AuthenticationBackend())
    return openapi.document(_all_routes(plugins, plugins.storage(), nobody), plugins.security_scheme())


def paths(app: ASGIApp) -> set[str]:
    """Return the paths that *app*, which `build_app` built, answers."""
    inner: Any = app
    while not isinstance(inner, Starlette):
        inner = inner.app
    return {route.path for route in inner.routes if isinstance(route, Route)}


def _all_routes(plugins: Plugins, store: TaskStore, guard: Guard) -> list[Route]:
    core = Claimant("server", "taskd")
    own = [(core, route) for route in _health_routes(store)]
    return resources([*own, *plugins.routes(store)], guard)


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    raise HTTPException(404, "There is nothing at this path.")


def _lifespan(store: TaskStore) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Look early whether the storage answers, so that the log says so if not, and serve all the same."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(_look(store, app.state.storage), name=LOOK)
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
    except Exception:
        # Nobody waits for this task, so nobody else would tell.
        logger.exception("The storage plugin failed when it was asked whether it answers")


@attrs.frozen(slots=False)
class Health:
    """The process, or the whole server, is healthy."""

    status: Literal["ok"]


def _health_routes(store: TaskStore) -> list[Route]:
    """Make the routes by which a supervisor watches the process (`/livez`) and what it needs (`/readyz`)."""

    @public
    @operation("checkLiveness", Answer(200, "The process answers.", type=Health, example=Health("ok")))
    async def livez(_: Request) -> Response:
        """
        Ask whether the process answers.

        Does not check the storage. Use it to decide whether to restart the process.
        """
        return JSONAnswer(Health("ok"))

    @public
    @operation(
        "checkReadiness", Answer(200, "The storage answers, too.", type=Health, example=Health("ok")), errors=[503]
    )
    async def readyz(request: Request) -> Response:
        """
        Ask whether the server can serve.

        503 while the storage does not answer, or has another schema than this server needs.
        """
        begun_s = time.monotonic()
        await store.ping()
        request.app.state.storage.served(begun_s)
        return JSONAnswer(Health("ok"))

    return [Route("/livez", livez), Route("/readyz", readyz)]
