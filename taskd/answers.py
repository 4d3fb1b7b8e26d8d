"""What operations answer without declaring it: the errors that many have in common, and the headers of all answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from taskd.conversion import Fault
from taskd.http import INTERNAL_ERROR, NO_SUCH_TASK, NOT_JSON, STORAGE_AWAY, TOO_LARGE, ErrorBody, InvalidBodyError
from taskd.operations import Answer

__all__ = ["ERRORS", "HEADERS"]

RequestID = Annotated[
    str,
    Meta(
        description="Identifies this response in the server's log. The request's own value, if it was valid.",
        pattern="^[A-Za-z0-9._-]{1,128}$",
    ),
]
Challenge = Annotated[
    str, Meta(description='The challenge (RFC 6750, section 3), with `error="invalid_token"` if a token was sent.')
]
RetryAfter = Annotated[int, Meta(description="Seconds to wait before the next try.", ge=0)]

# By the names that they have in the API document.
ERRORS = {
    "Unauthorized": Answer(
        401,
        "The credentials are missing or invalid, or `{user_id}` is another user's.",
        type=ErrorBody,
        example=ErrorBody("The token expired 12 s ago."),
        headers={"WWW-Authenticate": Challenge},
    ),
    "NotFound": Answer(
        404, "There is no such task, or it is another user's.", type=ErrorBody, example=ErrorBody(NO_SUCH_TASK)
    ),
    "TooLarge": Answer(413, "The body is larger than 64 KiB.", type=ErrorBody, example=ErrorBody(TOO_LARGE)),
    "NotJSON": Answer(
        415, "The `Content-Type` is not `application/json`.", type=ErrorBody, example=ErrorBody(NOT_JSON)
    ),
    "InvalidBody": Answer(
        422,
        "The body is not JSON, or breaks a rule. Nothing was stored.",
        type=InvalidBodyError,
        example=InvalidBodyError(
            "title is required; is_completed must be true or false.",
            (Fault("title", "is required"), Fault("is_completed", "must be true or false")),
        ),
    ),
    "Failed": Answer(
        500,
        "An error in the server. Quote `X-Request-ID` when you report it.",
        type=ErrorBody,
        example=ErrorBody(INTERNAL_ERROR),
    ),
    "Unavailable": Answer(
        503,
        "A service that the server needs cannot be reached. If the request was a write, it may have taken effect.",
        type=ErrorBody,
        example=ErrorBody(STORAGE_AWAY),
        headers={"Retry-After": RetryAfter},
    ),
}

HEADERS: Mapping[str, Any] = {"X-Request-ID": RequestID}
