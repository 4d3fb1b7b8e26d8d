"""Write JSON responses.  Long lists are written in slices, and compressed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Receive, Scope, Send

from taskd.routes.compression import MIN_COMPRESSED_BYTES, gzipped
from taskd.routes.negotiation import accepts_gzip
from taskd.routes.slices import SLICE_LENGTH, in_slices

__all__ = ["HEADERS", "REQUEST_ID", "JSONResponse", "encode", "list_response", "list_unmodified", "url_prefix"]

# A request id that the response may copy from the request.
REQUEST_ID = "[A-Za-z0-9._-]{1,128}"

RequestID = Annotated[
    str,
    Meta(
        description="Identifies the request; copied from it if valid. After a 500, look for it in the server's log.",
        pattern=f"^{REQUEST_ID}$",
    ),
]

# The headers of every response, for the API document.
HEADERS: Mapping[str, Any] = {"X-Request-ID": RequestID}


class JSONResponse(Response):
    """A response with *content*, made of attrs instances, lists and dicts, as JSON."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Encode *content* as JSON in UTF-8."""
        return encode(content)


class _PartsResponse(Response):
    """A response with encoded JSON, sent in *parts*."""

    media_type = JSONResponse.media_type

    def __init__(self, parts: Sequence[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(headers={**headers, "Content-Length": str(sum(map(len, parts)))})
        self.parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the parts, and let the event loop run between them."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        *parts, last = self.parts
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": last, "more_body": False})


async def list_response(
    request: Request, items: Sequence[object], headers: Mapping[str, str] | None = None
) -> Response:
    """
    Return the response to *request* with *items*, instances of attrs classes, as a JSON array.

    It has the same content as `JSONResponse(items)`, but a long list does not block the event loop while it is encoded
    and sent, and one of 8 KiB or more is compressed if the client accepts that.  An `ETag` in *headers* must be weak,
    because it is the same with and without compression.
    """
    if len(items) <= SLICE_LENGTH:
        parts = [encode(items)]
    else:
        own = list(items)
        # Unless the caller keeps references to the items, they are freed one slice at a time.
        del items
        parts = await _encode_list(own)
    all_headers = dict(headers or {})
    if sum(map(len, parts)) >= MIN_COMPRESSED_BYTES and accepts_gzip(request):
        parts = await gzipped(parts)
        all_headers["Content-Encoding"] = "gzip"
    vary = all_headers.get("Vary")
    all_headers["Vary"] = "Accept-Encoding" if vary is None else f"{vary}, Accept-Encoding"
    return _PartsResponse(parts, all_headers)


def list_unmodified(headers: Mapping[str, str]) -> Response:
    """Return a 304 for a client that already has the list; *headers* are those of the list, including its `ETag`."""
    response = NotModifiedResponse(Headers(headers))
    response.headers.add_vary_header("Accept-Encoding")
    return response


def encode(value: object) -> bytes:
    """Encode *value*, made of attrs instances, lists and dicts, as JSON.  Times in UTC end in `Z`."""
    return msgspec.json.encode(value)


async def _encode_list(items: list[Any]) -> list[bytes]:
    """Encode *items* as `encode` does, but in slices, and empty the list."""
    parts = await in_slices(_encode_following, items)
    parts[0] = b"[" + parts[0][1:]
    parts[-1] += b"]"
    return parts


def _encode_following(items: list[Any]) -> bytes:
    """Encode *items* as they appear after other items in an array."""
    return b"," + encode(items)[1:-1]


def url_prefix(request: Request) -> str:
    """Return the prefix of all paths as clients see them: the percent-encoded `root_path`, usually empty."""
    return quote(request.scope.get("root_path", "").rstrip("/"))
