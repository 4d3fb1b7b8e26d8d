"""Make a span for each request."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware, set_status_code
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import (
    Span,
    Status,
    StatusCode,
    format_span_id,
    format_trace_id,
    get_current_span,
)
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskd.telemetry import LOG_CONTEXT
from taskd_otel.provider import Tracing
from taskd_otel.settings import Users

__all__ = ["TracedRequests"]

# Supervisors ask all the time.
UNTRACED = frozenset(("/livez", "/readyz", "/metrics"))
# OpenTelemetry can be told to record all headers.
CREDENTIALS = frozenset((b"authorization", b"cookie", b"proxy-authorization"))
_set_status: Any = set_status_code
# The key in a scope for the request itself.
REQUEST = "taskd.otel.request"


class TracedRequests:
    """
    ASGI middleware that makes a span for each request that is chosen, with OpenTelemetry's own.

    That one records the whole URL, which here may contain the text of tasks, and errors with their messages.  So it
    gets a scope without a path, a query, credentials and the client's address, and no errors.
    """

    def __init__(self, app: ASGIApp, tracing: Tracing, users: Users) -> None:
        """Wrap *app*; *users* says what spans tell about users."""
        self.app = app
        self._tracing = tracing
        self._users = users
        # `metrics` is for metrics.
        self._instrumented: Any = OpenTelemetryMiddleware(
            _run,
            default_span_details=lambda scope: (scope["method"], {}),
            tracer_provider=tracing.provider,
            meter_provider=NoOpMeterProvider(),
            exclude_spans=["receive", "send"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, in a span if it is chosen."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in UNTRACED or not self._tracing.chooses(scope):
            await self.app(scope, receive, send)
            return
        request = _Request(self.app, scope, self._users)
        await self._instrumented(request.public_scope(), receive, send)
        if request.failure is not None:
            raise request.failure


async def _run(scope: Scope, receive: Receive, send: Send) -> None:
    await scope[REQUEST].run(receive, send)


@attrs.define(eq=False)
class _Request:
    """
    A request.

    Attributes:
        app: The application.
        scope: The scope that the application gets.
        users: What the span says about the user.
        failure: The error with which the application failed, if it did.
    """

    app: ASGIApp
    scope: Scope
    users: Users
    failure: Exception | None = None

    def public_scope(self) -> Scope:
        """Return the scope without what must not be recorded."""
        kept = ("type", "asgi", "http_version", "method", "scheme", "server")
        headers = [header for header in self.scope["headers"] if header[0] not in CREDENTIALS]
        public = {"path": "", "query_string": b"", "headers": headers, REQUEST: self}
        return {**public, **{name: self.scope[name] for name in kept}}

    async def run(self, receive: Receive, send: Send) -> None:
        """Run the application in the current span."""
        span = get_current_span()
        context = span.get_span_context()
        LOG_CONTEXT.set({"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)})

        async def send_named(message: Message) -> None:
            # The span ends with the response.
            if message["type"] == "http.response.start":
                self._describe(span)
            await send(message)

        try:
            await self.app(self.scope, receive, send_named)
        except Exception as error:  # noqa: BLE001  raised again outside of the span
            self.failure = error
            self._describe(span)
            if isinstance(error, HTTPException):
                # Other middleware has refused the request.
                _set_status(span, error.status_code)
            else:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", type(error).__name__)

    def _describe(self, span: Span) -> None:
        """Add the route and the user to *span*, which are known by now."""
        if not span.is_recording():
            return
        route, user = self.scope.get("route"), self.scope.get("user")
        if route is not None:
            span.update_name(f"{self.scope['method']} {route.path}")
            span.set_attribute("http.route", route.path)
        if user is not None and self.users is not Users.NONE:
            name = "enduser.id" if self.users is Users.ID else "enduser.pseudo.id"
            span.set_attribute(name, user.identity if self.users is Users.ID else _hash(user.identity))


def _hash(user_id: str) -> str:
    return hashlib.sha256(user_id.encode()).hexdigest()[:32]
