"""The endpoint from which Prometheus reads the metrics."""

from __future__ import annotations

import hmac

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taskd.routes import public
from taskd.settings import Secret
from taskd_metrics.exposition import exposed
from taskd_metrics.numbers import Numbers

__all__ = ["PATH", "metrics_route"]

PATH = "/metrics"
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="taskd metrics"'}


def metrics_route(numbers: Numbers, token: Secret) -> Route:
    """Return the route at which *numbers* can be read with *token*."""
    wanted = token.value.encode()

    # Users' credentials are none here: the token is that of the operator alone.
    @public
    async def metrics(request: Request) -> Response:
        """Return the metrics."""
        if not hmac.compare_digest(_sent_by(request), wanted):
            raise HTTPException(401, "The token for the metrics is missing or wrong.", CHALLENGE)
        try:
            found = await numbers.everywhere()
        except OSError as error:
            # The numbers of this process alone would look as if counters had fallen.
            detail = f"The folder of the metrics cannot be used: {error.strerror}"
            raise HTTPException(503, detail, {"Retry-After": "5"}) from None
        content, content_type = exposed(found, request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    return Route(PATH, metrics, methods=["GET"], include_in_schema=False)


def _sent_by(request: Request) -> bytes:
    """Return the bearer token of *request*; empty if there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip(" ").encode() if scheme.lower() == "bearer" else b""
