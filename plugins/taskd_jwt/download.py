"""Downloading a key set from a server that may be slow, broken, or someone else's."""

from __future__ import annotations

import asyncio
import ssl

import httpx

from taskd_jwt.keys import KeySetError

__all__ = ["download"]

FETCH_TIMEOUT_S = 10.0
MAX_DOCUMENT_BYTES = 1024 * 1024
# How much of what went wrong is said in the log: the endpoint may have worded it.
MAX_REASON_LENGTH = 200


async def download(url: str, tls: ssl.SSLContext) -> bytes:
    """
    Return what is at *url*.

    Raises:
        KeySetError: It cannot be had, or not in time, or is too large.
    """
    client = httpx.AsyncClient(
        verify=tls,
        # Neither a proxy nor a password of the environment's: who answers decides who gets in.
        trust_env=False,
        follow_redirects=False,
        # httpcore closes a connection whose handshake it has given up itself, but not one whose fetch was cancelled.
        timeout=httpx.Timeout(FETCH_TIMEOUT_S, connect=FETCH_TIMEOUT_S / 2),
        # What is compressed could be as large as one likes.
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    )
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S), client, client.stream("GET", url) as answer:
            return await _content(answer)
    except (TimeoutError, httpx.TimeoutException):
        raise KeySetError("no answer in time") from None
    # ValueError: of a host that is none, by the rules of international names.  OSError: of TLS, once it is spoken.
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        raise KeySetError((str(error) or type(error).__name__)[:MAX_REASON_LENGTH]) from None


async def _content(answer: httpx.Response) -> bytes:
    if answer.status_code != httpx.codes.OK:
        raise KeySetError(f"it answers {answer.status_code}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise KeySetError("it answers in an encoding that was not asked for")
    content = bytearray()
    async for chunk in answer.aiter_raw():
        content += chunk
        if len(content) > MAX_DOCUMENT_BYTES:
            raise KeySetError(f"it answers with more than {MAX_DOCUMENT_BYTES} bytes")
        # Chunks that are there already are given without a pause, and there may be ten thousand of them.
        await asyncio.sleep(0)
    return bytes(content)
