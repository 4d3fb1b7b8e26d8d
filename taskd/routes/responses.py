"""Write JSON responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

__all__ = ["HEADERS", "REQUEST_ID", "JSONResponse", "encode", "url_prefix"]

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


def encode(value: object) -> bytes:
    """Encode *value*, made of attrs instances, lists and dicts, as JSON.  Times in UTC end in `Z`."""
    return msgspec.json.encode(value)


def url_prefix(request: Request) -> str:
    """Return the prefix of all paths as clients see them: the percent-encoded `root_path`, usually empty."""
    return quote(request.scope.get("root_path", "").rstrip("/"))
