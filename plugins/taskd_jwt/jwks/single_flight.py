"""Run fetches one at a time, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import attrs

from taskd_jwt.clock import Clock
from taskd_jwt.jwks.rate_limit import FetchLimit
from taskd_jwt.jwks.timing import Timing

__all__ = ["SingleFlight"]

TASK_NAME = "taskd: fetch a key set"


@attrs.define(eq=False)
class SingleFlight:
    """
    Runs each fetch in a separate task.  Requests share the task, and it continues even if they are cancelled.

    Attributes:
        fetch: What to run; its argument is the number of the fetch, counted from 1.
        timing: How often fetches may start.
        clock: Tells whether a fetch may start.
        started: How many fetches have started.
    """

    fetch: Callable[[int], Coroutine[Any, Any, None]]
    timing: Timing
    clock: Clock
    started: int = attrs.field(init=False, default=0)
    _limit: FetchLimit = attrs.field(init=False)
    _task: asyncio.Task[None] | None = attrs.field(init=False, default=None)

    @_limit.default
    def _unused(self) -> FetchLimit:
        return FetchLimit(self.timing)

    def running(self) -> asyncio.Task[None] | None:
        """Return the fetch that is running in this event loop, if any."""
        task = self._task
        if task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop():
            return task
        return None

    def start(self) -> asyncio.Task[None] | None:
        """Return the running fetch or a new one, or None if it is too soon after the last one."""
        if task := self.running():
            return task
        now_s = self.clock.monotonic()
        if self._limit.wait_s(now_s) > 0:
            return None
        self._limit.start(now_s)
        self.started += 1
        self._task = asyncio.create_task(self.fetch(self.started), name=TASK_NAME)
        return self._task

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait before the next fetch; 0 if it may start now."""
        return self._limit.wait_s(now_s)
