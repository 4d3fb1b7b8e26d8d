"""A list that is read while it is sent has the same content as one that is sent at once."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Iterator, Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

import taskd.routes.lists
import taskd.routes.slices
from taskd.outages import OutageLog
from taskd.routes import JSONResponse, list_response
from taskd.routes.lists import CUT_OFF
from taskd.storage import StoreUnavailable

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_short_pages")]

PAGE_BYTES = 40


@pytest.fixture(scope="module")
def _short_pages() -> Iterator[None]:
    """Use pages of about forty bytes or of nine items, in slices of three."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in (taskd.routes.slices, taskd.routes.lists):
            monkeypatch.setattr(module, "SLICE_LENGTH", 3)
        monkeypatch.setattr(taskd.routes.lists, "MAX_PAGE_LENGTH", 9)
        monkeypatch.setattr(taskd.routes.lists, "PAGE_BYTES", PAGE_BYTES)
        yield


@attrs.define
class Source:
    """
    Reads the items after the first page of a list.

    Attributes:
        items: The whole list, without repetitions.
        fails_at: How many pages can be read; None if all can.
        lengths: The greatest lengths that were asked for.
    """

    items: Sequence[object]
    fails_at: int | None = None
    lengths: list[int] = attrs.field(factory=list)

    async def after(self, last: object, length: int) -> tuple[Sequence[object], bool]:
        if len(self.lengths) == self.fails_at:
            raise StoreUnavailable("the disk is gone")
        self.lengths.append(length)
        start = self.items.index(last) + 1
        return self.items[start : start + length], start + length < len(self.items)


def asked(method: str = "GET", *headers: tuple[bytes, bytes]) -> Request:
    return Request({"type": "http", "method": method, "headers": headers})


async def sent(response: Response, **scope: object) -> list[Message]:
    """Return the messages of *response*."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await response({"type": "http", **scope}, asyncio.Queue[Message]().get, send)
    return messages


def body_in(messages: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


@given(st.lists(st.text("ab", max_size=70), min_size=2, max_size=40, unique=True), st.integers(1, 9), st.booleans())
def test_it_is_encoded_like_a_whole_list(items: list[str], first: int, is_compressed: bool) -> None:
    """However long the pages are and wherever the first one ends, the body is that of the list encoded at once."""
    headers = [(b"accept-encoding", b"gzip")] if is_compressed else []
    first = min(first, len(items) - 1)

    async def listed() -> list[Message]:
        more = Source(items).after
        return await sent(await list_response(asked("GET", *headers), items[:first], {"ETag": 'W/"1"'}, more=more))

    start, *rest = asyncio.run(listed())
    names = {name.decode(): value.decode() for name, value in start["headers"]}
    expected = {"etag": 'W/"1"', "vary": "Accept-Encoding", "content-type": "application/json"}
    assert (expected | ({"content-encoding": "gzip"} if is_compressed else {})) == names
    body = body_in(rest)
    assert JSONResponse(items).body == (gzip.decompress(body) if is_compressed else body)


async def test_tasks_that_are_deleted_meanwhile_may_be_the_last() -> None:
    """A page may be empty, even if there were more items when the page before it was read."""

    async def nothing(last: object, length: int) -> tuple[Sequence[object], bool]:  # noqa: ARG001
        return [], False

    messages = await sent(await list_response(asked(), ["a", "b"], more=nothing))

    assert b'["a","b"]' == body_in(messages)


async def test_the_longer_the_items_the_shorter_the_pages() -> None:
    """A page has at least one slice, and is not read before the server has room for it."""
    short, long = Source([f"{number}" for number in range(100)]), Source([f"{number:020}" for number in range(100)])
    for source in (short, long):
        messages = await sent(await list_response(asked(), source.items[:9], more=source.after))
        sizes = [len(message["body"]) for message in messages[1:]]

        assert max(sizes) <= PAGE_BYTES + 3 * 23
        # An empty piece lets the server wait until the client has read the one before.
        assert {0} == set(sizes[1::2])
    assert 3 < min(short.lengths)
    assert {3} == {*long.lengths}


async def test_head_reads_no_further_pages() -> None:
    """It has the headers of GET, and no length."""
    source = Source(["a", "b", "c"])
    get, head = [
        await sent(await list_response(asked(method), ["a"], {"ETag": 'W/"1"'}, more=source.after))
        for method in ("GET", "HEAD")
    ]

    assert 1 == len(source.lengths)
    assert sorted(get[0]["headers"]) == sorted(head[0]["headers"])
    assert b"" == body_in(head)


@pytest.mark.parametrize("is_logged", [False, True])
async def test_it_is_cut_off_if_the_store_fails(caplog: pytest.LogCaptureFixture, is_logged: bool) -> None:
    """The array does not end, the connection does, and the outage is logged unless the store has done so."""
    app = Starlette()
    app.state.storage = OutageLog("The storage", logging.getLogger("taskd.test"))
    source = Source([f"{number}" for number in range(30)], fails_at=1)

    async def after(last: object, length: int) -> tuple[Sequence[object], bool]:
        try:
            return await source.after(last, length)
        except StoreUnavailable as error:
            error.is_logged = is_logged
            raise

    ends: list[str] = []
    extensions = {CUT_OFF: lambda: ends.append("cut off")}
    response = await list_response(asked(), source.items[:9], more=after)
    messages = await sent(response, app=app, extensions=extensions)

    assert all(message["more_body"] for message in messages[1:])
    assert not body_in(messages).endswith(b"]")
    assert ["cut off"] == ends
    assert ([] if is_logged else ["The storage is unavailable: the disk is gone"]) == caplog.messages
