"""Register the routes for the documentation."""

from __future__ import annotations

from starlette.routing import Route

from taskd import hookimpl
from taskd_docs.endpoints import Documentation

__all__ = ["taskd_routes"]


@hookimpl
def taskd_routes() -> list[Route]:
    """Return the routes, which the API document leaves out."""
    documentation = Documentation()
    return [
        Route("/", documentation.home, methods=["GET"], include_in_schema=False),
        Route("/docs", documentation.page, methods=["GET"], include_in_schema=False),
        Route("/docs/{name}", documentation.static, methods=["GET"], include_in_schema=False),
        Route("/openapi.json", documentation.openapi, methods=["GET"], include_in_schema=False),
    ]
