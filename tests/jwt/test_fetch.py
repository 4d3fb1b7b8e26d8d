"""Details of fetching a key set that cannot be seen over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from taskd_jwt.jwks.fetch import _content

pytestmark = pytest.mark.anyio
CHUNKS = 100


async def test_a_large_response_does_not_block_the_event_loop() -> None:
    """Other tasks run between any two chunks, even if all have arrived."""
    sent, seen = 0, set()

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for sent in range(CHUNKS):  # noqa: B007  look() reads it
            yield b"x"

    async def look() -> None:
        while True:
            seen.add(sent)
            await asyncio.sleep(0)

    other = asyncio.create_task(look())
    content = await _content(httpx.Response(200, content=chunks()))
    other.cancel()

    assert b"x" * CHUNKS == content
    assert set(range(CHUNKS)) == seen
