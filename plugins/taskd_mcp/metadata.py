"""Say where clients get tokens (RFC 9728, "OAuth 2.0 Protected Resource Metadata")."""

from __future__ import annotations

import attrs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taskd.routes import JSONResponse, public
from taskd.urls import HTTPAddress

__all__ = ["Metadata"]

WELL_KNOWN = "/.well-known/oauth-protected-resource"


@attrs.frozen
class Metadata:
    """
    The metadata of the endpoint at *url*, whose tokens the OAuth server *auth_server* issues.

    Attributes:
        url: The endpoint, which is what a client asks a token for.
        auth_server: The issuer.
    """

    url: HTTPAddress
    auth_server: HTTPAddress

    @property
    def location(self) -> str:
        """The URL of the metadata (RFC 9728, section 3.1)."""
        return f"{self.url.origin}{WELL_KNOWN}{self.url.path}"

    def routes(self) -> list[Route]:
        """Return the routes, with and without the path of the endpoint: clients try both."""
        show = public(self._show)
        paths = (WELL_KNOWN, WELL_KNOWN + self.url.path)
        return [Route(path, show, methods=["GET"], include_in_schema=False) for path in paths]

    async def _show(self, _: Request) -> Response:
        """Return the metadata."""
        values = {
            "resource": str(self.url),
            "authorization_servers": [str(self.auth_server)],
            "bearer_methods_supported": ["header"],
            "resource_name": "taskd",
        }
        return JSONResponse(values, headers={"Cache-Control": "public, max-age=3600"})
