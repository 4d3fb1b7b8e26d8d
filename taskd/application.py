"""Build the ASGI application from the settings and the plugins."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Container, Iterator, Mapping
from contextlib import asynccontextmanager

import attrs
from starlette.applications import Starlette
from starlette.authentication import AuthenticationBackend, BaseUser
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from taskd.auth import DenyAll, Guard, when_known
from taskd.bounded_store import BoundedStore
from taskd.health import health_routes
from taskd.lifespans import Lifespans
from taskd.openapi import document as openapi
from taskd.outages import OutageLog
from taskd.plugins import Plugins, Source
from taskd.routes.router import not_found, resources
from taskd.routes.table import TableApp
from taskd.server.access_log import log_request
from taskd.server.admission import Admission
from taskd.server.limits import SEND_TIMEOUT
from taskd.server.middleware import HTTPMiddleware, responding_to_errors
from taskd.server.observing import Observing
from taskd.settings import read_environ
from taskd.storage import StoreError, StoreUnavailable, TaskStore
from taskd.telemetry import Measurement
from taskd.version import __version__

__all__ = ["Application", "build_app"]

# After this many seconds without a failure, the next failure begins a new outage.
STORAGE_QUIET_S = 600.0
# The name of the asyncio task that pings the store at startup.
EARLY_PING = "taskd: early ping"

logger = logging.getLogger(__name__)


def build_app(environ: Mapping[str, str] | None = None) -> Application:
    """
    Build the ASGI application from *environ*, by default the environment layered over the `.env` file.

    This does no I/O except reading that file and importing the plugins.  Applications share no state.

    Raises:
        SettingsError: A setting is missing or wrong.
        PluginError: A plugin is broken or ambiguous.
    """
    return Application.assemble(read_environ() if environ is None else environ)


@attrs.frozen(eq=False)
class Application:
    """
    The ASGI application, assembled from the core and the plugins.

    Attributes:
        plugins: The enabled plugins.
        backend: Verifies credentials.
        store: Holds the tasks; its calls have a time limit.
        routes: The routes that are served, one for each path.
        document: The API document.
        origins: The origins whose pages may read responses.
    """

    plugins: Plugins
    backend: AuthenticationBackend
    store: BoundedStore
    routes: list[Route]
    document: bytes
    origins: Container[str]
    _lifespans: Lifespans
    _logs_access: bool
    _asgi: ASGIApp = attrs.field(init=False, repr=False)

    @classmethod
    def assemble(cls, environ: Mapping[str, str], *, verifies_credentials: bool = True) -> Application:
        """Load the plugins that *environ* enables, and assemble the application from them; see `of`."""
        return cls.of(Plugins.load(environ), verifies_credentials=verifies_credentials)

    @classmethod
    def of(
        cls,
        plugins: Plugins,
        *,
        verifies_credentials: bool = True,
        origins: Container[str] | None = None,
        logs_access: bool | None = None,
    ) -> Application:
        """
        Assemble the application from what *plugins* provide.

        Args:
            plugins: The enabled plugins.
            verifies_credentials: If False, the settings of the auth plugin are not needed, and every protected route
                responds with 401.
            origins: The origins whose pages may read responses; by default, those in the settings.
            logs_access: Whether each request is logged; by default, as the settings say.

        Raises:
            SettingsError: A setting is missing or wrong.
            PluginError: A plugin is broken or ambiguous.
        """
        backend = plugins.backend if verifies_credentials else DenyAll()
        # Asked first: both this and the backend may import other plugins, which may have routes.
        schemes = plugins.security_schemes
        store = plugins.bounded_store()
        core = Source("server", "taskd")
        health = [(core, route) for route in health_routes(store)]
        guard = Guard(backend, str(plugins.auth_plugin), plugins.timeouts)
        routes = resources([*health, *plugins.routes(store)], guard)
        document = openapi.document(routes, schemes)
        allowed = plugins.settings.frontend_origins if origins is None else origins
        lifespans = Lifespans(plugins.lifespans(store), plugins.timeouts)
        logs_access = plugins.settings.access_log if logs_access is None else logs_access
        return cls(plugins, backend, store, routes, document, allowed, lifespans, bool(logs_access))

    @_asgi.default
    def _with_middleware(self) -> ASGIApp:
        app = TableApp(self.routes, lifespan=self._lifespan)
        # Only /readyz reports successes to this log.
        app.state.storage = OutageLog("The storage", logger, quiet_s=STORAGE_QUIET_S)
        app.state.openapi = self.document
        app.router.redirect_slashes = False
        app.router.default = not_found
        inner: ASGIApp = app
        if middleware := self.plugins.middleware():
            outer = functools.reduce(lambda inside, wrap: wrap(inside), reversed(middleware), responding_to_errors(app))
            inner = _for_http(outer, app)
        request_headers = self.plugins.request_headers(self.backend)
        admission = Admission(inner, self.store, self.plugins.settings.queue_timeout_s, request_headers)
        whole = HTTPMiddleware(admission, self.origins, request_headers)

        def measurements() -> Iterator[Measurement]:
            yield from admission.measurements()
            yield from app.state.storage.measurements("storage")
            yield from self.plugins.measurements()

        observers = [*([log_request] if self._logs_access else []), *self.plugins.observers(measurements)]
        return Observing(whole, observers) if observers else whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection, as the ASGI specification defines it."""
        if scope["type"] != "lifespan":
            await self._asgi(scope, receive, send)
            return
        if "state" in scope:
            scope["state"][SEND_TIMEOUT] = self.plugins.settings.send_timeout_s
        await self._lifespans.run(self._asgi, scope, receive, send)

    def _summary(self) -> str:
        """Say what is served, for the log."""
        plugins = self.plugins
        location, file = plugins.location(), plugins.environ.file
        if location is None:
            tasks = f"plugin {plugins.settings.storage}"
        else:
            tasks = str(location.file.absolute()) if location.file else location.description
        names = ", ".join(each.plugin.name for each in plugins.loaded)
        read = f", and {file}" if file else ""
        return f"taskd {__version__}; tasks: {tasks}; plugins: {names}; settings: environment{read}"

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Start what plugins run, and ping the store, to log whether it is down; at shutdown, close everything."""
        # Logging is not set up yet when the application is assembled.
        for warning in (*self.plugins.warnings, *self.plugins.environ.unknown()):
            logger.warning("%s", warning)
        logger.info("%s", self._summary())
        pinging = asyncio.create_task(_ping(self.store, app.state.storage), name=EARLY_PING)
        try:
            async with self._lifespans:
                yield
        finally:
            pinging.cancel()
            await asyncio.wait([pinging], timeout=self.plugins.timeouts.close_s)
            await self.plugins.close()


def _for_http(outer: ASGIApp, app: ASGIApp) -> ASGIApp:
    """Return an application that passes HTTP requests to *outer*, and all else, such as the lifespan, to *app*."""

    async def divide(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def keep(user: BaseUser) -> None:
            # Middleware may pass on a copy of the scope, but whether a response may be cached depends on this one.
            scope["user"] = user

        when_known(scope, keep)
        try:
            await outer(scope, receive, send)
        except SystemExit as error:
            # SystemExit would end the server.
            raise RuntimeError("middleware of a plugin tried to exit") from error

    return divide


async def _ping(store: TaskStore, outages: OutageLog) -> None:
    try:
        await store.ping()
    except StoreUnavailable as error:
        if not error.is_logged:
            outages.failed(str(error))
    except StoreError as error:
        outages.failed(str(error))
    except Exception:
        # Nothing awaits this task, so nothing else would report the error.
        logger.exception("The storage plugin failed to respond to a ping")
