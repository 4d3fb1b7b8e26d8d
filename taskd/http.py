"""HTTP bodies in and out: reading JSON, writing answers, and every error as `{"detail": "one sentence"}`."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import attrs
from msgspec import Meta
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from taskd.conversion import Fault, InvalidBody, decode, encode
from taskd.storage import StoreUnavailable, TaskNotFound

__all__ = [
    "ERROR_HANDLERS",
    "INTERNAL_ERROR",
    "NOT_JSON",
    "NO_SUCH_TASK",
    "STORAGE_AWAY",
    "TOO_LARGE",
    "ErrorBody",
    "InvalidBodyError",
    "JSONAnswer",
    "error_answer",
    "read_json",
    "url_prefix",
]

MAX_BODY_BYTES = 64 * 1024
_JSON_MEDIA_TYPE = re.compile(r"application/json\s*(;\s*charset=\"?utf-8\"?\s*)?;?", re.IGNORECASE)

INTERNAL_ERROR = "Internal server error"
NOT_JSON = "The body must be sent with Content-Type: application/json."
NO_SUCH_TASK = "There is no such task."
STORAGE_AWAY = "The storage cannot be reached now; try again later."
TOO_LARGE = f"The body must not be larger than {MAX_BODY_BYTES} bytes."

logger = logging.getLogger(__name__)


# Without slots, JSON has the fields in this order.
@attrs.frozen(slots=False)
class ErrorBody:
    """Why a request was refused, or failed."""

    detail: Annotated[str, Meta(description="One sentence for people.")]


@attrs.frozen(slots=False)
class InvalidBodyError(ErrorBody):
    """What is wrong with a body, of which nothing was stored."""

    errors: Annotated[tuple[Fault, ...], Meta(description="All that is wrong, in the order of the body's fields.")]


class JSONAnswer(Response):
    """An answer with *content*, any value of attrs classes, lists and dicts, as JSON."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Write *content* as JSON in UTF-8."""
        return encode(content)


def url_prefix(request: Request) -> str:
    """Return what paths begin with where clients see them: the percent-encoded `root_path`; nothing, as a rule."""
    return quote(request.scope.get("root_path", "").rstrip("/"))


async def read_json(request: Request, without_body: object = None) -> object:
    """
    Return the parsed JSON body of *request*, or *without_body* if it has none.

    Raises:
        HTTPException: 415 if the body is declared as anything but JSON in UTF-8; 413 if it is larger than 64 KiB.
        InvalidBody: The body is not JSON.
    """
    declared = request.headers.get("content-length", "")
    too_large = HTTPException(413, TOO_LARGE)
    if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise too_large
    if not body:
        return without_body
    if not _JSON_MEDIA_TYPE.fullmatch(request.headers.get("content-type", "").strip()):
        raise HTTPException(415, NOT_JSON)
    return decode(bytes(body))


def error_answer(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONAnswer:
    """Return the answer to a request that failed: *detail* is one sentence for people."""
    return JSONAnswer(ErrorBody(detail), status, headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_answer(error.status_code, str(error.detail), error.headers)


async def _on_invalid_body(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidBody)
    return JSONAnswer(InvalidBodyError(f"{error}.", error.faults), 422)


async def _on_task_not_found(request: Request, error: Exception) -> Response:
    return error_answer(404, NO_SUCH_TASK)


async def _on_store_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreUnavailable)
    if not error.is_told:
        request.app.state.storage.failed(str(error))
    headers = {"Retry-After": str(error.retry_after_s)}
    return error_answer(503, STORAGE_AWAY, headers)


async def _on_client_disconnect(request: Request, error: Exception) -> Response:
    """Answer nobody: the client has gone in the middle of its body."""
    return Response(status_code=400)


async def _on_any_exception(request: Request, error: Exception) -> Response:
    """Say nothing of what went wrong; `taskd.middleware.RequestLayer` logs it."""
    return error_answer(500, INTERNAL_ERROR)


ERROR_HANDLERS: Mapping[Any, Any] = {
    HTTPException: _on_http_exception,
    InvalidBody: _on_invalid_body,
    TaskNotFound: _on_task_not_found,
    StoreUnavailable: _on_store_unavailable,
    ClientDisconnect: _on_client_disconnect,
    Exception: _on_any_exception,
}
