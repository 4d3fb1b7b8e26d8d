"""Write long lists as JSON arrays, in slices and compressed.  A list may be read page by page while it is sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

import attrs
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Receive, Scope, Send

from taskd.routes.compression import MIN_COMPRESSED_BYTES, Gzip, gzipped
from taskd.routes.negotiation import accepts_gzip
from taskd.routes.responses import JSONResponse, encode
from taskd.routes.slices import SLICE_LENGTH, in_slices
from taskd.storage import StoreUnavailable

__all__ = ["CUT_OFF", "MAX_PAGE_LENGTH", "More", "list_response", "list_unmodified"]

# An ASGI extension of taskd's server: a function that ends the connection in the middle of a response.
CUT_OFF = "taskd.cut_off"

# The first byte of a list can be sent once so many tasks have been read, which takes a few milliseconds.
MAX_PAGE_LENGTH = 500
# If items are long, pages are shorter, so that a client that does not read holds about this much.
PAGE_BYTES = 1024 * 1024


class More(Protocol):
    """Reads a list that is too long to be kept in memory."""

    async def __call__(self, last: Any, length: int, /) -> tuple[Sequence[object], bool]:
        """
        Return the items after *last*, at most *length* of them, and whether there are more after these.

        Raises:
            StoreUnavailable: They cannot be read.  The client then gets an incomplete response.
        """
        ...


class _PartsResponse(Response):
    """A response with encoded JSON, sent in *parts*."""

    media_type = JSONResponse.media_type

    def __init__(self, parts: Sequence[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(headers={**headers, "Content-Length": str(sum(map(len, parts)))})
        # Each part is freed when it has been sent: freeing all at the end would block the event loop.
        self.parts = deque(parts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the parts, and let the event loop run between them."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while self.parts:
            part = self.parts.popleft()
            await send({"type": "http.response.body", "body": part, "more_body": bool(self.parts)})
            del part
            if self.parts:
                await asyncio.sleep(0)


class _PagesResponse(StreamingResponse):
    """A response with a list that is read while it is sent; if it cannot be read, the response is cut off."""

    media_type = JSONResponse.media_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pages, unless the client disconnects."""
        try:
            await super().__call__(scope, receive, send)
        except StoreUnavailable as error:
            if not error.is_logged:
                scope["app"].state.storage.failed(str(error))
            # Other servers close the connection of a response that is not complete.
            scope.get("extensions", {}).get(CUT_OFF, bool)()


@attrs.frozen
class _Page:
    """
    Some items of a list, as JSON.

    Attributes:
        parts: The items as they appear in the array, each after a comma.
        last: The last of the items; None if there are none.
        has_more: Whether there are items after that one.
        next_length: How many items the next page should have.
    """

    parts: list[bytes]
    last: Any
    has_more: bool
    next_length: int

    @classmethod
    async def of(cls, items: list[Any], *, has_more: bool) -> _Page:
        """Return the page that begins with *items*: all of them, unless they are too long.  The list is emptied."""
        if not items and not has_more:
            return cls([], None, has_more=False, next_length=0)
        length = len(items)
        parts: list[bytes] = []
        size = 0
        encoded = await in_slices(_encode_with_last, items)
        for part, _ in encoded:
            parts.append(part)
            size += len(part)
            if size >= PAGE_BYTES:
                break
        taken = min(len(parts) * SLICE_LENGTH, length)
        next_length = max(SLICE_LENGTH, min(MAX_PAGE_LENGTH, PAGE_BYTES * taken // size))
        _, last = encoded[len(parts) - 1]
        return cls(parts, last, has_more=has_more or taken < length, next_length=next_length)


async def list_response(
    request: Request, items: Sequence[object], headers: Mapping[str, str] | None = None, *, more: More | None = None
) -> Response:
    """
    Return the response to *request* with *items*, instances of attrs classes, as a JSON array.

    It has the same content as `JSONResponse(items)`, but a long list does not block the event loop while it is encoded
    and sent, and one of 8 KiB or more is compressed if the client accepts that.  An `ETag` in *headers* must be weak,
    because it is the same with and without compression.

    If there are more items, *more* reads them, page by page, each when the client has read most of the previous ones.
    The response then has no `Content-Length`.
    """
    all_headers = dict(headers or {})
    vary = all_headers.get("Vary")
    all_headers["Vary"] = "Accept-Encoding" if vary is None else f"{vary}, Accept-Encoding"
    if len(items) <= SLICE_LENGTH and more is None:
        parts = [encode(items)]
    else:
        # Copying a hundred thousand references takes a millisecond or two, and the store has just done as much.
        await asyncio.sleep(0)
        own = list(items)
        # Unless the caller keeps references to the items, they are freed one slice at a time.
        del items
        if more is not None:
            return await _in_pages(request, own, more, all_headers)
        parts = await _encode_list(own)
    if sum(map(len, parts)) >= MIN_COMPRESSED_BYTES and accepts_gzip(request):
        parts = await gzipped(parts)
        all_headers["Content-Encoding"] = "gzip"
    return _PartsResponse(parts, all_headers)


async def _in_pages(request: Request, items: list[Any], more: More, headers: dict[str, str]) -> Response:
    gzip = Gzip() if accepts_gzip(request) else None
    if gzip is not None:
        headers["Content-Encoding"] = "gzip"
    if request.method == "HEAD":
        head = Response(headers=headers, media_type=JSONResponse.media_type)
        del head.headers["Content-Length"]
        return head
    return _PagesResponse(_pieces(await _Page.of(items, has_more=True), more, gzip), headers=headers)


async def _pieces(page: _Page, more: More, gzip: Gzip | None) -> AsyncIterator[bytes]:
    """Yield the array that begins with *page*, compressed with *gzip* if that is given."""
    page.parts[0] = b"[" + page.parts[0][1:]
    while page.has_more:
        yield await _joined(page.parts, gzip)
        # The server sends nothing now, but waits until the client has read most of the previous piece.
        yield b""
        items, has_more = await more(page.last, page.next_length)
        page = await _Page.of(list(items), has_more=has_more)
    page.parts.append(b"]")
    yield await _joined(page.parts, gzip)
    if gzip is not None:
        yield gzip.end()


async def _joined(parts: list[bytes], gzip: Gzip | None) -> bytes:
    """Return all *parts* in one piece, whose bytes the server counts while they are unread; empty the list."""
    if gzip is not None:
        parts = await gzip.compressed(parts)
    piece = b"".join(parts)
    parts.clear()
    return piece


def list_unmodified(headers: Mapping[str, str]) -> Response:
    """Return a 304 for a client that already has the list; *headers* are those of the list, including its `ETag`."""
    response = NotModifiedResponse(Headers(headers))
    response.headers.add_vary_header("Accept-Encoding")
    return response


async def _encode_list(items: list[Any]) -> list[bytes]:
    """Encode *items* as `encode` does, but in slices, and empty the list."""
    parts = await in_slices(_encode_following, items)
    parts[0] = b"[" + parts[0][1:]
    parts[-1] += b"]"
    return parts


def _encode_following(items: list[Any]) -> bytes:
    """Encode *items* as they appear after other items in an array."""
    return b"," + encode(items)[1:-1]


def _encode_with_last(items: list[Any]) -> tuple[bytes, Any]:
    return _encode_following(items), items[-1]
