"""The hooks that this plugin implements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial

from starlette.types import ASGIApp

from taskd import __version__, hookimpl
from taskd.settings import load_settings
from taskd.storage import TaskStore
from taskd_otel.settings import OTelSettings, check_variables

try:
    from taskd_otel.middleware import TracedRequests
    from taskd_otel.provider import Tracing
    from taskd_otel.store import TracedStore
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] != "opentelemetry":
        raise
    raise ImportError("OpenTelemetry is not installed: pip install 'taskd-server[otel]'") from None

__all__ = ["OTel"]


class OTel:
    """
    The plugin.  taskd makes an instance for each application, whose hooks share what makes spans.

    Attributes:
        tracing: What makes spans.
    """

    def __init__(self) -> None:
        self.tracing = Tracing()

    @hookimpl
    def taskd_middleware(self, environ: Mapping[str, str]) -> Callable[[ASGIApp], ASGIApp]:
        """Return the middleware that makes a span for each request."""
        return partial(TracedRequests, tracing=self.tracing, users=load_settings(OTelSettings, environ).users)

    @hookimpl
    def taskd_wrap_store(self, store: TaskStore) -> TracedStore:
        """Return *store*, with a span for each of its calls."""
        return TracedStore(store, self.tracing.provider.get_tracer("taskd", __version__))

    @hookimpl
    def taskd_lifespan(self, environ: Mapping[str, str]) -> AbstractAsyncContextManager[None]:
        """Return what sends the spans."""
        check_variables(environ)
        return self.tracing.exporting(load_settings(OTelSettings, environ).exporter)
