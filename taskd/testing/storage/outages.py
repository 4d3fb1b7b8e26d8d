"""Test what a store does while something that it depends on is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import pytest

from taskd.storage import StoreUnavailable, TaskStore
from taskd.tasks import NewTask, Task, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import TIMEOUT_S
from taskd.testing.storage.samples import AT_ONCE, id_at, soon

__all__ = ["Outage", "OutageTests"]

Outage = Callable[[], AbstractAsyncContextManager[object]]

PAUSE_S = 0.05


@promises
class OutageTests:
    """Calls during an outage and after it; skipped unless there is a fixture `outage`."""

    # The limit is part of what is tested, so `limited` must not enforce it.
    timeout_s: ClassVar[float] = TIMEOUT_S

    @pytest.fixture
    def outage(self) -> Outage:
        """Skip the test: only a subclass knows what its store depends on."""
        pytest.skip("define a fixture `outage` to test what happens while something that the store needs is down")

    async def test_writes_are_unavailable_during_an_outage(self, store: TaskStore, owner: str, outage: Outage) -> None:
        """During an outage, `ping` and all writes raise `StoreUnavailable` within 10 seconds."""
        task = await store.create(owner, NewTask(title="t"))
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "ping": store.ping,
            "create": lambda: store.create(owner, NewTask(title="t")),
            "create with an id": lambda: store.create(owner, NewTask(title="t"), task_id=id_at(soon())),
            "update": lambda: store.update(owner, task.id, TaskChanges(title="u")),
            "toggle": lambda: store.toggle(owner, task.id, version=task.version),
            "delete": lambda: store.delete(owner, task.id),
        }
        async with outage():
            results = await asyncio.gather(*[self._result(call) for call in calls.values()])
        for name, result in zip(calls, results, strict=True):
            assert isinstance(result, StoreUnavailable), f"{name}: {result!r}"

    async def test_reads_are_correct_or_unavailable_during_an_outage(
        self, store: TaskStore, owner: str, outage: Outage
    ) -> None:
        """During an outage, a read returns what is stored or raises `StoreUnavailable`, but never says otherwise."""
        task = await store.create(owner, NewTask(title="t"))
        calls: dict[str, tuple[Callable[[], Awaitable[object]], object]] = {
            "get": (lambda: store.get(owner, task.id), task),
            "list": (lambda: store.list(owner), [task]),
            "seq": (lambda: store.seq(owner), task.version),
        }
        async with outage():
            results = await asyncio.gather(*[self._result(call) for call, _ in calls.values()])
        for (name, (_, expected)), result in zip(calls.items(), results, strict=True):
            is_right = getattr(result, "tasks", result) == expected
            assert is_right or isinstance(result, StoreUnavailable), f"{name}: {result!r}"

    async def test_a_store_recovers_after_an_outage(self, store: TaskStore, owner: str, outage: Outage) -> None:
        """After an outage, the store recovers by itself, and nothing acknowledged is lost."""
        task = await store.create(owner, NewTask(title="t"))
        async with outage():
            await asyncio.gather(*[self._result(lambda: store.get(owner, task.id)) for _ in range(AT_ONCE)])

        async def use() -> Task:
            await store.ping()
            found = await asyncio.gather(*[store.get(owner, task.id) for _ in range(AT_ONCE)])
            assert [task] * AT_ONCE == found
            return await store.toggle(owner, task.id)

        end = time.monotonic() + 3 * self.timeout_s
        toggled = await self._result(use)
        while isinstance(toggled, StoreUnavailable) and time.monotonic() < end:
            await asyncio.sleep(PAUSE_S)
            toggled = await self._result(use)
        assert isinstance(toggled, Task), f"still not available: {toggled!r}"
        assert [toggled] == (await store.list(owner)).tasks

    async def _result(self, call: Callable[[], Awaitable[object]]) -> object:
        """Return what *call* returns or raises in time."""
        try:
            return await asyncio.wait_for(call(), self.timeout_s)
        except Exception as error:  # noqa: BLE001  the test says which error it must be
            return error
