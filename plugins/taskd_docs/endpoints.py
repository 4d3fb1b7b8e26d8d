"""The endpoints: what may be read by anyone, and nothing that depends on who reads it."""

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

from taskd import JSONAnswer, public, url_prefix
from taskd_docs.files import File, paths
from taskd_docs.negotiation import weights

__all__ = ["Documentation"]

DESCRIPTION = "A self-hosted task-management server."

# All that the pages need comes from this server; no script and no style stands in a page itself.  Swagger UI sends
# requests to the API, and its style has images in it.
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
    """The API document, the page on which it can be read and tried, and what `/` says."""

    _home: Template = attrs.field(init=False, factory=lambda: _template("home.html"))
    _docs: Template = attrs.field(init=False, factory=lambda: _template("docs.html"))
    _paths: dict[str, Path] = attrs.field(init=False, factory=paths)
    _files: dict[str, File] = attrs.field(init=False, factory=dict)
    _reading: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    @public
    async def home(self, request: Request) -> Response:
        """Say what this is and where the documentation is."""
        prefix = url_prefix(request)
        if _prefers_html(request):
            answer = _page(self._home, prefix)
        else:
            links = {"docs": f"{prefix}/docs", "openapi": f"{prefix}/openapi.json"}
            answer = JSONAnswer({"name": "taskd", "description": DESCRIPTION, **links})
        answer.headers["Vary"] = "Accept"
        return answer

    @public
    async def page(self, request: Request) -> Response:
        """Answer the page about the API."""
        return _page(self._docs, url_prefix(request))

    @public
    async def static(self, request: Request) -> Response:
        """Answer a file that the pages need."""
        name = request.path_params["name"]
        if name not in self._paths:
            raise HTTPException(404, "There is nothing at this path.")
        if name not in self._files:
            await asyncio.to_thread(self._read, name)
        return self._files[name].answer(request)

    @public
    async def openapi(self, request: Request) -> Response:
        """Answer the API document."""
        name = "openapi.json"
        if name not in self._files:
            self._files[name] = File.of(name, request.app.state.openapi)
        return self._files[name].answer(request)

    def _read(self, name: str) -> None:
        """Read and compress a file, once however many ask for it at first."""
        with self._reading:
            if name not in self._files:
                self._files[name] = File.of(name, self._paths[name].read_bytes())


def _page(template: Template, prefix: str) -> Response:
    """Answer one of our pages, with links below *prefix*."""
    text = template.substitute(prefix=html.escape(prefix), description=html.escape(DESCRIPTION))
    return HTMLResponse(text, headers=_PAGE_HEADERS)


def _prefers_html(request: Request) -> bool:
    """Tell whether a client asks for HTML by name, rather than for JSON."""
    wanted = weights(request.headers.get("accept", ""))
    weight = wanted.get("text/html", 0)
    return weight >= wanted.get("*/*", 0) and weight > wanted.get("application/json", 0)
