"""The cache saves reads, and nobody sees anything old."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from taskd_cache.plugin import taskd_wrap_store
from taskd_cache.store import CachingStore

from taskd.commands import open_store
from taskd.queries import TaskQuery
from taskd.settings import SettingsError
from taskd.storage import StoreUnavailable, StoreWrapper, TaskNotFound, TaskStore
from taskd.tasks import NewTask, TaskChanges
from taskd.testing import StoreContract

MIB = 1024 * 1024

pytestmark = pytest.mark.anyio


class TestCachingStore(StoreContract):
    """The SQL store in its wrapper passes the contract, whether counters are trusted or not."""

    @pytest.fixture(scope="class", params=["0", "600"])
    @classmethod
    def environ(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
        return {
            "DATABASE_URL": f"sqlite:///{tmp_path_factory.mktemp('cache')}/tasks.db",
            "TASKD_STORE_WRAPPERS": "cache",
            "TASKD_CACHE_TRUST": request.param,
        }

    @pytest.fixture(scope="class")
    @classmethod
    async def store(cls, environ: Mapping[str, str]) -> AsyncIterator[TaskStore]:
        async with open_store(environ) as store:
            yield store

    @pytest.fixture(scope="class")
    @classmethod
    async def reopen(cls, environ: Mapping[str, str]) -> AsyncIterator[Callable[[], Awaitable[TaskStore]]]:
        async with contextlib.AsyncExitStack() as stack:
            yield lambda: stack.enter_async_context(open_store(environ))


class Counting(StoreWrapper):
    """Counts the calls that reach the store."""

    def __init__(self, store: TaskStore) -> None:
        super().__init__(store)
        self.calls: Counter[str] = Counter()

    async def list(self, *arguments: Any) -> Any:
        self.calls["list"] += 1
        return await super().list(*arguments)

    async def seq(self, owner: str) -> int:
        self.calls["seq"] += 1
        return await super().seq(owner)

    async def get(self, *arguments: Any) -> Any:
        self.calls["get"] += 1
        return await super().get(*arguments)


@attrs.define
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Counting]:
    """A store without a cache."""
    async with open_store({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db"}) as opened:
        yield Counting(opened)


async def test_a_list_is_read_once_until_something_changes(store: Counting) -> None:
    """Only the counter is read again."""
    cache = CachingStore(store, MIB)
    await cache.create("alice", NewTask(title="t"))
    pages = [await cache.list("alice") for _ in range(5)]

    assert all(page == pages[0] for page in pages)
    assert {"list": 1, "seq": 5} == store.calls


async def test_each_query_has_its_own_page(store: Counting) -> None:
    """Filters and limits are a part of what is remembered."""
    cache = CachingStore(store, MIB)
    for title in ("t", "u"):
        await cache.create("alice", NewTask(title=title))
    queries = [TaskQuery(), TaskQuery(limit=1), TaskQuery(search="t"), TaskQuery(search="u")]
    for _ in range(2):
        found = [[task.title for task in (await cache.list("alice", query)).tasks] for query in queries]
        assert [["u", "t"], ["u"], ["t"], ["u"]] == found
    assert 4 == store.calls["list"]


async def test_another_process_s_change_is_seen_at_once(store: Counting) -> None:
    """By default, the counter is read each time, so any number of processes may change tasks."""
    ours, theirs = CachingStore(store, MIB), CachingStore(store, MIB)
    task = await ours.create("alice", NewTask(title="t"))
    for cache, other in [(ours, theirs), (theirs, ours)] * 3:
        await cache.list("alice")
        task = await other.toggle("alice", task.id)
        assert [task] == (await cache.list("alice")).tasks
        assert task == await cache.get("alice", task.id)
        assert task.version == await cache.seq("alice")
    await theirs.delete("alice", task.id)
    assert [] == (await ours.list("alice")).tasks
    with pytest.raises(TaskNotFound):
        await ours.get("alice", task.id)


async def test_a_trusted_counter_saves_all_reads(store: Counting) -> None:
    """Until the time is over, nothing reaches the store."""
    clock = Clock()
    cache = CachingStore(store, MIB, 5, clock)
    task = await cache.create("alice", NewTask(title="t"))
    for _ in range(5):
        assert [task] == (await cache.list("alice")).tasks
        assert task == await cache.get("alice", task.id)
        assert 1 == await cache.seq("alice")
    assert {"list": 1, "seq": 1, "get": 1} == store.calls
    clock.now_s += 5
    await cache.list("alice")
    assert {"list": 1, "seq": 2, "get": 1} == store.calls


@pytest.mark.parametrize("change", ["create", "update", "toggle", "delete"])
async def test_one_s_own_change_is_seen_at_once(change: str, store: Counting) -> None:
    """However long counters are trusted, a change through this store is seen by the next read."""
    cache = CachingStore(store, MIB, 600, Clock())
    task = await cache.create("alice", NewTask(title="t"))
    await cache.list("alice")
    await cache.get("alice", task.id)
    match change:
        case "create":
            await cache.create("alice", NewTask(title="u"))
        case "update":
            await cache.update("alice", task.id, TaskChanges(title="u"))
        case "toggle":
            await cache.toggle("alice", task.id)
        case "delete":
            await cache.delete("alice", task.id)

    assert await store.list("alice") == await cache.list("alice")
    assert await store.seq("alice") == await cache.seq("alice")
    if change == "delete":
        with pytest.raises(TaskNotFound):
            await cache.get("alice", task.id)
    else:
        assert await store.get("alice", task.id) == await cache.get("alice", task.id)


async def test_another_process_s_change_is_seen_when_trust_ends(store: Counting) -> None:
    """It takes no longer than the setting says."""
    clock = Clock()
    cache = CachingStore(store, MIB, 5, clock)
    await cache.list("alice")
    task = await store.create("alice", NewTask(title="t"))
    assert [] == (await cache.list("alice")).tasks
    clock.now_s += 5
    assert [task] == (await cache.list("alice")).tasks


async def test_what_was_seen_once_does_not_disappear(store: Counting) -> None:
    """If one list shows another process's change, later reads show it, too, although the counter was trusted."""
    cache = CachingStore(store, MIB, 600, Clock())
    await cache.list("alice")
    task = await store.create("alice", NewTask(title="t"))
    assert [task] == (await cache.list("alice", TaskQuery(limit=7))).tasks
    assert [task] == (await cache.list("alice")).tasks


class Hesitating(StoreWrapper):
    """Reads the counter, and returns it only when it may."""

    def __init__(self, store: TaskStore) -> None:
        super().__init__(store)
        self.has_read, self.may_return = asyncio.Event(), asyncio.Event()

    async def seq(self, owner: str) -> int:
        seq = await super().seq(owner)
        self.has_read.set()
        await self.may_return.wait()
        return seq


async def test_a_counter_that_was_read_before_a_change_is_not_trusted_after_it(store: Counting) -> None:
    """A read that began before a change and ends after it cannot hide the change from later reads."""
    hesitating = Hesitating(store)
    cache = CachingStore(hesitating, MIB, 600, Clock())
    reading = asyncio.create_task(cache.list("alice"))
    await hesitating.has_read.wait()
    task = await cache.create("alice", NewTask(title="t"))
    hesitating.may_return.set()
    await reading

    assert task.version == await cache.seq("alice")
    assert [task] == (await cache.list("alice")).tasks


class Lossy(StoreWrapper):
    """Makes changes, and loses the response."""

    async def create(self, *arguments: Any, **options: Any) -> Any:
        await super().create(*arguments, **options)
        raise StoreUnavailable("the response is lost")


async def test_a_change_whose_response_is_lost_is_seen(store: Counting) -> None:
    """A change that failed may have been made, so the counter is read again."""
    cache = CachingStore(Lossy(store), MIB, 600, Clock())
    await cache.list("alice")
    with pytest.raises(StoreUnavailable):
        await cache.create("alice", NewTask(title="t"))

    assert ["t"] == [task.title for task in (await cache.list("alice")).tasks]


@pytest.mark.parametrize("trust_s", [0, 600])
async def test_owners_are_not_mixed(trust_s: float, store: Counting) -> None:
    """Two owners may have the same query, the same id and the same counter."""
    cache = CachingStore(store, MIB, trust_s, Clock())
    task = await cache.create("alice", NewTask(title="hers"))
    theirs = await cache.create("bob", NewTask(title="his"), task_id=task.id)
    for _ in range(2):
        assert [task] == (await cache.list("alice")).tasks
        assert [theirs] == (await cache.list("bob")).tasks
        assert task == await cache.get("alice", task.id)
        assert theirs == await cache.get("bob", task.id)
        assert [] == (await cache.list("alic")).tasks


async def test_callers_may_change_their_list(store: Counting) -> None:
    """What is remembered stays as it was."""
    cache = CachingStore(store, MIB)
    task = await cache.create("alice", NewTask(title="t"))
    for _ in range(3):
        tasks = (await cache.list("alice")).tasks
        assert [task] == tasks
        tasks.clear()


async def test_memory_is_limited(store: Counting) -> None:
    """What was used least recently is dropped, and a list that is larger than the cache is not kept."""
    cache = CachingStore(store, 5000)
    for owner in ("alice", "bob", "carol"):
        await cache.create(owner, NewTask(title="t"))
    for owner in ("alice", "bob", "alice", "carol", "alice", "bob"):
        await cache.list(owner)
    assert 4 == store.calls["list"]
    await cache.create("dave", NewTask(title="t", description="x" * 1000))
    for _ in range(2):
        await cache.list("dave")
    assert 6 == store.calls["list"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("TASKD_CACHE_MIB", "0"), ("TASKD_CACHE_MIB", "1.5"), ("TASKD_CACHE_TRUST", "-1"), ("TASKD_CACHE_TRUST", "1m")],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    """The error names the setting, and says what it must be."""
    with pytest.raises(SettingsError, match=f"{name}: must be a number of "):
        taskd_wrap_store(Counting(None), {name: value})  # type: ignore[arg-type]


@pytest.fixture(scope="class")
def anyio_backend() -> str:
    return "asyncio"
