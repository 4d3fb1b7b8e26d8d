"""Fetch a key set from a server that may be slow, broken or malicious."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

from taskd_jwt.jwks.keys import KeySet, KeySetError, read_key_set

__all__ = ["Observer", "fetch_key_set"]

# What looks at a response before its status is checked.
Observer = Callable[[httpx.Response], Awaitable[None]]

MAX_DOCUMENT_BYTES = 1024 * 1024
# Keeps log lines short: the server controls this text.
MAX_REASON_LENGTH = 200
NOT_HERE = (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED, httpx.codes.GONE)
NOT_HERE_ADVICE = "If the keys are elsewhere, as with Better Auth's basePath or jwksPath, set TASKD_JWKS_URL."
REDIRECT_ADVICE = "Redirects are not followed: set BETTER_AUTH_URL or TASKD_JWKS_URL to the final URL."


async def fetch_key_set(url: str, tls: ssl.SSLContext, timeout_s: float, observe: Observer | None = None) -> KeySet:
    """
    Return the key set at *url*; let *observe* look at the response.

    Raises:
        KeySetError: It cannot be fetched, the server takes longer than *timeout_s*, or the response is not a key set.
    """
    document = await _download(url, tls, timeout_s, observe)
    # Reading a mebibyte of keys would block the event loop.
    return await asyncio.to_thread(read_key_set, document)


async def _download(url: str, tls: ssl.SSLContext, timeout_s: float, observe: Observer | None) -> bytes:
    try:
        async with (
            asyncio.timeout(timeout_s),
            _closed_connections() as trace,
            _client(tls, timeout_s) as client,
            client.stream("GET", url, extensions={"trace": trace}) as response,
        ):
            if observe is not None:
                await observe(response)
            return await _content(response)
    except (TimeoutError, httpx.TimeoutException):
        raise KeySetError("no response in time") from None
    # ValueError: the host is not a valid internationalized name.  OSError: TLS fails after the handshake.
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        raise KeySetError((str(error) or type(error).__name__)[:MAX_REASON_LENGTH]) from None


@contextlib.asynccontextmanager
async def _closed_connections() -> AsyncIterator[Callable[[str, dict[str, Any]], Awaitable[None]]]:
    """
    Yield a trace function for httpx; at the end, close every connection that it has seen.

    On its own, httpcore leaves a connection open if the fetch is cancelled during the TLS handshake.
    """
    async with contextlib.AsyncExitStack() as connections:

        async def trace(event: str, info: dict[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                connections.push_async_callback(info["return_value"].aclose)

        yield trace


def _client(tls: ssl.SSLContext, timeout_s: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=tls,
        # Ignore proxies and passwords in the environment: the server that responds decides who is authenticated.
        trust_env=False,
        follow_redirects=False,
        # For each step; the caller's time limit covers all steps together.
        timeout=timeout_s,
        # A compressed response could expand to any size, and a cached one may lack the newest key.
        headers={"Accept": "application/json", "Accept-Encoding": "identity", "Cache-Control": "no-cache"},
    )


async def _content(response: httpx.Response) -> bytes:
    if response.status_code != httpx.codes.OK:
        raise _failure(response)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise KeySetError("the response has a content encoding that was not requested")
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > MAX_DOCUMENT_BYTES:
            raise KeySetError(f"the response has more than {MAX_DOCUMENT_BYTES} bytes")
        # Chunks that have already arrived are yielded without a pause, and there may be ten thousand of them.
        await asyncio.sleep(0)
    return bytes(content)


def _failure(response: httpx.Response) -> KeySetError:
    """Return the error for a response that has no keys."""
    reason = f"the response is {response.status_code}"
    if response.next_request is not None:
        # Leave out parts that may be secret, such as a session in the query.
        target = response.next_request.url.copy_with(userinfo=b"", query=None, fragment=None)
        return KeySetError(f"{reason}, a redirect to {target}"[:MAX_REASON_LENGTH], REDIRECT_ADVICE)
    return KeySetError(reason, NOT_HERE_ADVICE if response.status_code in NOT_HERE else "")
