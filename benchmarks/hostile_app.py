"""A small ASGI application for the servers that taskd is compared with."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]

MAX_BODY_BYTES = 64 * 1024
LARGE = b"x" * 9 * 1024 * 1024
# As much as each of 200 clients may leave unread.
MEDIUM = b"x" * 320 * 1024


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Read the body and say how long it was; respond to `/refused` without reading it."""
    if scope["type"] != "http":
        return
    status, content = 200, {"/large": LARGE, "/medium": MEDIUM}.get(scope["path"])
    if scope["path"] == "/refused":
        status, content = 401, b'{"detail": "no"}'
    elif content is None:
        status, content = await _read(scope["method"], receive)
    length = str(len(content)).encode()
    headers = [(b"content-type", b"application/json")]
    if scope["path"] != "/unframed":
        headers.append((b"content-length", length))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _read(method: str, receive: Callable[[], Awaitable[Message]]) -> tuple[int, bytes]:
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return 400, b'{"detail": "gone"}'
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
        if length > MAX_BODY_BYTES:
            return 413, b'{"detail": "too large"}'
    if method == "POST" and not length:
        return 422, b'{"detail": "a body is missing"}'
    return 200, json.dumps({"method": method, "length": length}).encode()
