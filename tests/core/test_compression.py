"""Compressed lists have the same content, and the event loop runs between their pieces."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

import taskd.routes.compression
from taskd.routes import JSONResponse, list_response, list_unmodified
from taskd.routes.compression import gzipped

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_short_pieces")]

PIECE = 10
REQUEST = Request({"type": "http", "headers": [(b"accept-encoding", b"gzip")]})


@pytest.fixture(scope="module")
def _short_pieces() -> Iterator[None]:
    """Use pieces of ten bytes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(taskd.routes.compression, "PIECE_BYTES", PIECE)
        monkeypatch.setattr(taskd.routes.compression, "PIECES_AT_ONCE", 1)
        yield


async def body_of(response: Response) -> bytes:
    """Return the whole body of *response* as sent."""
    bodies: list[bytes] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        bodies.append(message.get("body", b""))

    await response({"type": "http"}, asyncio.Queue[dict[str, object]]().get, send)
    return b"".join(bodies)


@given(st.lists(st.binary(max_size=5 * PIECE), max_size=5))
def test_compression_keeps_the_content(parts: list[bytes]) -> None:
    """Together, the compressed parts are equal to the given parts, which are not kept."""
    content = b"".join(parts)
    compressed = asyncio.run(gzipped(parts))

    assert content == gzip.decompress(b"".join(compressed))
    assert [] == parts


async def test_the_event_loop_runs_between_pieces() -> None:
    """However long a part is, only one piece is compressed at once."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await gzipped([b"x" * PIECE * 20, b"", b"y"])
    counting.cancel()

    assert 21 <= turns


@pytest.mark.parametrize(("length", "is_compressed"), [(8191, False), (8192, True), (100_000, True)])
async def test_a_list_of_8_kib_is_compressed(length: int, is_compressed: bool) -> None:
    """A shorter one would not arrive any earlier."""
    items = ["x" * (length - 4)]
    response = await list_response(REQUEST, items)
    body = await body_of(response)

    assert ("gzip" if is_compressed else None) == response.headers.get("Content-Encoding")
    assert str(len(body)) == response.headers["Content-Length"]
    assert JSONResponse(items).body == (gzip.decompress(body) if is_compressed else body)
    assert is_compressed == (len(body) < length)


@pytest.mark.parametrize("length", [1, 10_000])
async def test_a_list_keeps_its_own_headers(length: int) -> None:
    """The headers that it depends on are added to those that the endpoint names."""
    headers = {"ETag": 'W/"5"', "Link": "</more>", "Vary": "Accept"}
    response = await list_response(REQUEST, ["x" * length], headers)

    assert ('W/"5"', "</more>") == (response.headers["ETag"], response.headers["Link"])
    assert ["Accept, Accept-Encoding"] == response.headers.getlist("Vary")
    assert "Content-Encoding" not in headers


def test_a_304_says_what_the_list_depends_on() -> None:
    """A cache needs to know this for the list that it keeps (RFC 9110, section 15.4.5)."""
    response = list_unmodified({"ETag": 'W/"5"', "Vary": "Accept"})

    assert (304, b"") == (response.status_code, response.body)
    assert [("etag", 'W/"5"'), ("vary", "Accept, Accept-Encoding")] == response.headers.items()
