"""The documentation endpoints.  All are public, and respond in the same way to everyone."""

from __future__ import annotations

import asyncio
import html
import threading
from pathlib import Path
from string import Template

import attrs
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from taskd.routes import NOTHING_HERE, JSONResponse, accept_weights, public, url_prefix
from taskd_docs.files import PATHS, File

__all__ = ["Documentation"]

DESCRIPTION = "A self-hosted task-management server."

# Pages load everything from this server, and contain no inline scripts or styles.  Swagger UI sends requests to the
# API, and its stylesheet embeds images.
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
_PAGE_HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

_PAGES = Path(__file__).parent / "pages"


def _template(name: str) -> Template:
    return Template((_PAGES / name).read_text(encoding="utf-8"))


@attrs.define
class Documentation:
    """Serves the API document, the page for reading it and trying it out, and the home page."""

    _home: Template = attrs.field(init=False, factory=lambda: _template("home.html"))
    _docs: Template = attrs.field(init=False, factory=lambda: _template("docs.html"))
    _files: dict[str, File] = attrs.field(init=False, factory=dict)
    _reading: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    @public
    async def home(self, request: Request) -> Response:
        """Describe this server and link to its documentation, as HTML or JSON."""
        prefix = url_prefix(request)
        if _prefers_html(request):
            response = _page(self._home, prefix)
        else:
            links = {"docs": f"{prefix}/docs", "openapi": f"{prefix}/openapi.json"}
            response = JSONResponse({"name": "taskd", "description": DESCRIPTION, **links})
        response.headers["Vary"] = "Accept"
        return response

    @public
    async def page(self, request: Request) -> Response:
        """Return the page that shows the API document."""
        return _page(self._docs, url_prefix(request))

    @public
    async def static(self, request: Request) -> Response:
        """Return a file that the pages need."""
        name = request.path_params["name"]
        if name not in PATHS:
            raise HTTPException(404, NOTHING_HERE)
        if name not in self._files:
            await asyncio.to_thread(self._read, name)
        return self._files[name].response(request)

    @public
    async def openapi(self, request: Request) -> Response:
        """Return the API document."""
        name = "openapi.json"
        if name not in self._files:
            self._files[name] = File.of(name, request.app.state.openapi)
        return self._files[name].response(request)

    def _read(self, name: str) -> None:
        """Read and compress a file, but only once, even if many requests need it at the same time."""
        with self._reading:
            if name not in self._files:
                self._files[name] = File.of(name, PATHS[name].read_bytes())


def _page(template: Template, prefix: str) -> Response:
    """Return a page whose links begin with *prefix*."""
    text = template.substitute(prefix=html.escape(prefix), description=html.escape(DESCRIPTION))
    return HTMLResponse(text, headers=_PAGE_HEADERS)


def _prefers_html(request: Request) -> bool:
    """Return whether the client prefers HTML."""
    wanted = accept_weights(request, "accept")
    weight = wanted.get("text/html", 0)
    return weight >= wanted.get("*/*", 0) and weight > wanted.get("application/json", 0)
