"""Downloading a key set, as far as it cannot be seen over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from taskd_jwt.download import _content

pytestmark = pytest.mark.anyio
CHUNKS = 100


async def test_what_is_there_already_leaves_room_for_others() -> None:
    """Between any two chunks whatever else there is to do is done."""
    sent, seen = 0, set()

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for sent in range(CHUNKS):  # noqa: B007  others look at it
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
