"""Decide which requests are traced, make spans, and send them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import attrs
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import asgi_getter
from opentelemetry.propagate import extract, get_global_textmap
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler
from opentelemetry.trace import SpanKind, get_current_span
from starlette.types import Scope

from taskd import __version__
from taskd_otel.settings import Exporter

__all__ = ["Tracing"]

# Less than taskd gives a plugin to stop.
FLUSH_TIMEOUT_MS = 1500

# They warn of what is wrong with the headers of a request, and quote it: anyone could fill the log with that.
PARSERS = (
    "opentelemetry.baggage.propagation",
    "opentelemetry.trace.propagation.tracecontext",
    "opentelemetry.trace.span",
)

_getter: Any = asgi_getter
_new_trace_id = RandomIdGenerator().generate_trace_id


def _new_provider() -> TracerProvider:
    # Attributes that are passed take precedence over those in the environment, so the latter are passed, too.
    given = OTELResourceDetector().detect().attributes
    resource = Resource.create({"service.name": "taskd", "service.version": __version__, **given})
    return TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)


@attrs.frozen(eq=False)
class Tracing:
    """
    What traces are made with, as the variables `OTEL_*` say.

    OpenTelemetry's middleware prepares a span before it asks whether the request is to be traced, which takes nearly as
    long as the span.  So the sampler is asked here, and only requests that it chooses come to the middleware.

    Attributes:
        provider: Makes spans, for all requests that come to it.
        sampler: Chooses the requests that are traced.
    """

    provider: TracerProvider = attrs.field(factory=_new_provider)
    sampler: Sampler = attrs.field(factory=lambda: TracerProvider(shutdown_on_exit=False).sampler)
    # The headers that say to which trace a request belongs.
    _headers: frozenset[bytes] = attrs.field(
        init=False, factory=lambda: frozenset(name.lower().encode() for name in get_global_textmap().fields)
    )

    def chooses(self, scope: Scope) -> bool:
        """Return whether to trace the request with this *scope*."""
        context = Context()
        if not self._headers.isdisjoint([name for name, _ in scope["headers"]]):
            context = extract(scope, context, _getter)
        parent = get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else _new_trace_id()
        choice = self.sampler.should_sample(context, trace_id, scope["method"], SpanKind.SERVER)
        return choice.decision is not Decision.DROP

    @contextlib.asynccontextmanager
    async def exporting(self, exporter: Exporter) -> AsyncIterator[None]:
        """Send the spans during the block, from a thread; at the end, send those that are left."""
        for name in PARSERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        made = _made(exporter)
        if made is None:
            yield
            return
        processor = BatchSpanProcessor(made)
        self.provider.add_span_processor(processor)
        try:
            yield
        finally:
            await asyncio.to_thread(processor.force_flush, FLUSH_TIMEOUT_MS)
            await asyncio.to_thread(self.provider.shutdown)


def _made(exporter: Exporter) -> SpanExporter | None:
    if exporter is Exporter.NONE:
        return None
    return ConsoleSpanExporter() if exporter is Exporter.CONSOLE else OTLPSpanExporter()
