"""Long lists have the same bytes as short ones, and the event loop runs while they are converted."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
from collections.abc import Callable, Iterator, Sequence

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

import taskd.routes.lists
import taskd.routes.slices
from taskd.routes import JSONResponse, in_slices, list_response
from taskd.tasks import NewTask, Task
from tests.support.serving import create

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_short_slices")]

REQUEST = Request({"type": "http", "headers": []})
NOW = dt.datetime(2026, 11, 25, tzinfo=dt.timezone.utc)


@pytest.fixture(scope="module")
def _short_slices() -> Iterator[None]:
    """Use slices of three, so that a list of four is long."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in (taskd.routes.slices, taskd.routes.lists):
            monkeypatch.setattr(module, "SLICE_LENGTH", 3)
        yield


class Turns:
    """Counts the iterations of the event loop, and records in which of them slices were converted."""

    def __init__(self) -> None:
        self.count = 0
        self.noted: list[tuple[str, int]] = []
        asyncio.get_running_loop().call_soon(self._turn)

    def noting(self, name: str) -> Callable[[Sequence[int]], int]:
        """Return a function that converts slices."""

        def convert(_: Sequence[int]) -> int:
            self.noted.append((name, self.count))
            return self.count

        return convert

    def _turn(self) -> None:
        self.count += 1
        asyncio.get_running_loop().call_soon(self._turn)


async def sent(response: Response) -> tuple[list[Message], bytes]:
    """Return the start of *response*, with sorted headers, and its whole body."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await response({"type": "http"}, asyncio.Queue[Message]().get, send)
    assert [True] * (len(messages) - 2) == [message["more_body"] for message in messages[1:-1]]
    messages[0]["headers"] = sorted(messages[0]["headers"])
    return messages[:1], b"".join(message["body"] for message in messages[1:])


@given(st.lists(st.text(min_size=1), max_size=11), st.booleans())
def test_a_long_list_is_encoded_like_a_short_one(titles: list[str], is_tuple: bool) -> None:
    """The headers and the body are those of the list encoded at once, and the given items still exist."""
    task = Task.create("u", NewTask(title="t"), NOW, version=1)
    tasks = [attrs.evolve(task, title=title) for title in titles]
    items: Sequence[Task] = tuple(tasks) if is_tuple else tasks

    plain = JSONResponse(tasks)
    plain.headers["Vary"] = "Accept-Encoding"

    async def both() -> tuple[object, object]:
        return await sent(plain), await sent(await list_response(REQUEST, items))

    in_one_piece, in_parts = asyncio.run(both())
    assert in_one_piece == in_parts
    assert len(titles) == len(items)


@given(st.lists(st.integers(), max_size=11))
def test_slices_keep_the_order(numbers: list[int]) -> None:
    """Together, the slices are the whole list; none is longer than the limit, and only the last may be shorter."""
    slices = asyncio.run(in_slices(list, list(numbers)))

    assert numbers == [number for each in slices for number in each]
    assert [3] * (len(slices) - 1) == [len(each) for each in slices[:-1]]


async def test_a_long_list_is_returned_as_stored(client: httpx.AsyncClient, tasks_url: str) -> None:
    """Over HTTP, it has all tasks, newest first, and a Content-Length."""
    for number in range(8):
        assert 201 == await create(client, tasks_url, f"{number}")
    response = await client.get(tasks_url)

    assert [f"{number}" for number in reversed(range(8))] == [task["title"] for task in response.json()]
    assert f"{len(response.content)}" == response.headers["Content-Length"]
    assert "application/json" == response.headers["Content-Type"]


@pytest.mark.parametrize("length", range(4))
@pytest.mark.parametrize("work", [lambda items: in_slices(len, items), lambda items: list_response(REQUEST, items)])
def test_a_short_list_does_not_wait(length: int, work: Callable[[list[int]], object]) -> None:
    """Items that fit into one slice are converted without yielding to other tasks."""
    coroutine = work(list(range(length)))
    with pytest.raises(StopIteration):
        coroutine.send(None)  # type: ignore[attr-defined]


async def test_the_event_loop_runs_between_slices() -> None:
    """Each slice is converted in its own iteration of the loop."""
    counts = await in_slices(Turns().noting("a"), list(range(12)))

    assert [0, 1, 2, 3] == [count - counts[0] for count in counts]


async def test_long_lists_take_turns() -> None:
    """However many lists there are, only one slice is converted per iteration, and no list waits for all others."""
    turns = Turns()
    await asyncio.gather(*[in_slices(turns.noting(name), list(range(12))) for name in "abc"])

    assert ["a", "b", "c"] * 4 == [name for name, _ in turns.noted]
    assert 12 == len({turn for _, turn in turns.noted})


async def test_a_cancelled_long_list_does_not_block_the_others() -> None:
    """The other lists continue."""
    turns = Turns()
    gone, other = [asyncio.create_task(in_slices(turns.noting(name), list(range(12)))) for name in "ab"]
    await asyncio.sleep(0)
    gone.cancel()
    await other

    assert gone.cancelled()
    assert ["a", "b", "b", "b", "b"] == [name for name, _ in turns.noted]


async def test_a_slice_that_cannot_be_converted_ends_only_its_list() -> None:
    """The caller gets the error, and the next long list is converted."""

    def read(texts: list[str]) -> list[int]:
        return [int(text) for text in texts]

    with pytest.raises(ValueError, match="four"):
        await in_slices(read, ["1", "2", "3", "four"])

    assert [[1, 2, 3], [4]] == await in_slices(read, ["1", "2", "3", "4"])


async def test_a_long_list_does_not_burden_the_garbage_collector() -> None:
    """
    The collector never has to traverse many new objects at once.

    If old objects are freed as quickly as new ones are created, it does not notice how many there are.
    """
    olds = [[number] for number in range(2000)]
    piles: list[int] = []

    def convert(items: list[list[int]]) -> list[list[int]]:
        piles.append(len(gc.get_objects(generation=0)))
        return [[*item] for item in items]

    gc.collect()
    news = await in_slices(convert, olds)

    assert 2000 == sum(map(len, news))
    assert max(piles) < 500
