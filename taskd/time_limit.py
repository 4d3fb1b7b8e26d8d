"""Await calls to plugins within a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, TypeVar

import attrs

__all__ = ["Steps", "TimeLimit", "TimedOut", "Timeouts", "rest_of", "stepwise"]

T = TypeVar("T")

MAX_CLEANUP_S = 1.0


class TimedOut(Exception):
    """Something took too long and was cancelled."""


@attrs.frozen
class Timeouts:
    """
    How long plugins may take, in seconds.

    Attributes:
        call_s: A call to the store; the contract of `TaskStore` sets this limit.
        auth_s: Verifying the credentials of a request.
        enter_s: Starting what the plugin runs as long as the server does.
        close_s: Closing what the plugin has created.
        check_s: One check of `taskd doctor`: a store that does not respond may take a long time to fail.
        start_s: An import, or a hook.  If one takes longer, it is not interrupted, but the log tells the waiting
            operator what the server is doing.
    """

    call_s: float = 10.0
    auth_s: float = 3.0
    enter_s: float = 10.0
    close_s: float = 2.0
    check_s: float = 60.0
    start_s: float = 5.0


Steps = Generator[Any, Any, T]
"""What an awaitable does, step by step: a generator that returns its result."""


@types.coroutine
def stepwise(awaitable: Awaitable[T], go_on: Callable[[Steps[T], Any], Steps[T]]) -> Steps[T]:
    """Await *awaitable*; if it has to wait, let *go_on* run the rest of its steps, given what it is waiting for."""
    steps = awaitable.__await__()
    try:
        waited_for = next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    return (yield from go_on(steps, waited_for))


def rest_of(
    steps: Steps[T],
    waited_for: Any,
    throw: Callable[[BaseException], Any] | None = None,
    wait: Callable[[Any], Steps[None]] | None = None,
) -> Steps[T]:
    """
    Run the rest of *steps*, as `yield from` would.

    Args:
        steps: The steps of an awaitable that is waiting for something.
        waited_for: What it is waiting for.
        throw: Handles an exception that is raised while it is waiting, and returns what to wait for next; by default,
            `steps.throw` does.
        wait: Waits for a task; by default, the event loop does, as it does for anything else.
    """
    throw = throw or steps.throw
    try:
        while True:
            try:
                if wait is not None and isinstance(waited_for, asyncio.Task):
                    yield from wait(waited_for)
                else:
                    yield waited_for
            except BaseException as error:  # noqa: BLE001  the awaitable handles any exception
                waited_for = throw(error)
            else:
                waited_for = next(steps)
    except StopIteration as end:
        result: T = end.value
        return result


@attrs.define(eq=False)
class TimeLimit:
    """
    A time limit for many calls.

    A task for each call, or `asyncio.timeout`, would cost more than a call that only reads memory.  Here, all calls in
    an event loop share one timer, and a call that does not wait needs none.

    Attributes:
        timeout_s: How long each call may take, in seconds.
        cleanup_s: How long a cancelled call may take to clean up; by default, as long as the call itself, but at most a
            second.
    """

    timeout_s: float
    cleanup_s: float = attrs.field()
    _watch: _Watch | None = attrs.field(init=False, default=None)

    @cleanup_s.default
    def _bounded_cleanup(self) -> float:
        return min(self.timeout_s, MAX_CLEANUP_S)

    def wait(self, awaitable: Awaitable[T]) -> Awaitable[T]:
        """
        Await *awaitable*, and cancel it when its time is up; if it keeps running after that, abandon it.

        Raises:
            TimedOut: Its time was up.  What it was doing may or may not have been done.
        """
        return stepwise(awaitable, self._go_on)

    def _go_on(self, steps: Steps[T], waited_for: Any) -> Steps[T]:
        call = _Call(steps)
        # Before Python 3.12, asking for the running loop takes a system call.
        watch = self._watch_of(call.loop)
        watch.begin(call)
        try:
            return (yield from rest_of(steps, waited_for, call.throw, call.wait))
        except asyncio.CancelledError:
            if call.is_only_late():
                raise TimedOut from None
            raise
        finally:
            watch.end(call)

    def _watch_of(self, loop: asyncio.AbstractEventLoop) -> _Watch:
        # Loops may run in several threads: each has its own watch.
        watch = self._watch
        if watch is None or watch.loop is not loop:
            watch = self._watch = _Watch(loop, self.timeout_s, self.cleanup_s)
        return watch


class _Call:
    """A call that is waiting, and can be cancelled or abandoned."""

    __slots__ = ("_cancelling", "_cleanup", "_is_abandoned", "_is_late", "_steps", "_task")

    def __init__(self, steps: Steps[Any]) -> None:
        self._steps = steps
        task: Any = asyncio.current_task()
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        self._cleanup: asyncio.TimerHandle | None = None
        self._is_late = self._is_abandoned = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop in which the call is running."""
        return self._task.get_loop()

    def throw(self, error: BaseException) -> Any:
        """Throw *error* into the call, which may handle it, unless the call is abandoned."""
        if self._is_abandoned and isinstance(error, asyncio.CancelledError):
            with contextlib.suppress(Exception):  # the call may ignore this, or fail
                self._steps.close()
            raise error
        return self._steps.throw(error)

    def wait(self, other: asyncio.Task[Any]) -> Steps[None]:
        """
        Wait for *other*, and cancel it when this call is cancelled.

        A plain `await` would then still wait until *other* has ended.  Here, if this call is abandoned, so is *other*.
        """
        while not other.done():
            is_done = self._task.get_loop().create_future()
            wake = partial(_wake, is_done)
            other.add_done_callback(wake)
            try:
                yield from is_done
            except asyncio.CancelledError:
                if self._is_abandoned:
                    raise
                other.cancel()
            finally:
                other.remove_done_callback(wake)

    def _abandon(self) -> None:
        self._is_abandoned = True
        self._task.cancel()

    def cancel(self, cleanup_s: float) -> None:
        """Cancel the call, whose time is up, and abandon it after *cleanup_s* seconds."""
        self._is_late = True
        self._cleanup = self._task.get_loop().call_later(cleanup_s, self._abandon)
        self._task.cancel()

    def is_only_late(self) -> bool:
        """Return whether only the time limit has cancelled the call."""
        return self._is_late and self._task.cancelling() - self._own_cancellations() <= self._cancelling

    def undo(self) -> None:
        """Undo the cancellations that `cancel` and `_abandon` requested."""
        if self._cleanup is not None:
            self._cleanup.cancel()
        for _ in range(self._own_cancellations()):
            self._task.uncancel()

    def _own_cancellations(self) -> int:
        return self._is_late + self._is_abandoned


def _wake(is_done: asyncio.Future[None], _: asyncio.Future[Any]) -> None:
    if not is_done.done():
        is_done.set_result(None)


class _Watch:
    """The waiting calls in *loop*, oldest first, with one timer for all of them."""

    __slots__ = ("_calls", "_cleanup_s", "_is_armed", "_timeout_s", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float, cleanup_s: float) -> None:
        self.loop = loop
        self._timeout_s = timeout_s
        self._cleanup_s = cleanup_s
        self._calls: dict[_Call, float] = {}
        self._is_armed = False

    def begin(self, call: _Call) -> None:
        """Start the time limit for *call*."""
        due = self._calls[call] = self.loop.time() + self._timeout_s
        if not self._is_armed:
            self._arm(due)

    def end(self, call: _Call) -> None:
        """Forget *call*, which has ended, and undo its cancellations if its time was up."""
        if self._calls.pop(call, None) is None:
            call.undo()

    def _arm(self, due: float) -> None:
        self._is_armed = True
        self.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._is_armed = False
        now = self.loop.time()
        for call, due in list(self._calls.items()):
            if due > now:
                self._arm(due)
                return
            del self._calls[call]
            call.cancel(self._cleanup_s)
