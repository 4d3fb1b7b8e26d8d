"""Give each event loop its own resource, such as a connection pool."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Generic, TypeVar

import attrs

__all__ = ["LoopBound"]

T = TypeVar("T")

# How long closing may take at the end of the process.
CLOSE_TIMEOUT_S = 2.0


@attrs.frozen(eq=False)
class _Resource(Generic[T]):
    """
    The resource of one loop.

    Attributes:
        opened: The resource itself, once it is open.
        closing: Closes the resource, from any loop.
        holder: The task that keeps the resource open.  It is stored here because a loop has only weak references to its
            tasks.
    """

    opened: asyncio.Future[T]
    closing: AsyncExitStack
    holder: asyncio.Task[None]

    async def close_elsewhere(self) -> None:
        """Close the resource from another loop, as far as possible."""
        # A socket is tied to its loop, so it is closed only when it is garbage-collected.
        with contextlib.suppress(Exception):
            await self.closing.aclose()
        # Otherwise asyncio would log that a pending task was destroyed.
        self.holder._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001


@attrs.frozen(eq=False)
class LoopBound(Generic[T]):
    """
    Gives every event loop its own resource, which *open* opens on first use.

    A task keeps the resource open, and closes it when the task is cancelled: by `close`, or by asyncio at the end of
    the loop.  So the resource is closed even if the server runs no ASGI lifespan, or if a serverless adapter
    uses a new loop for each call.

    A loop can also be stopped or closed without its tasks being cancelled.  A resource that a closed loop has left open
    is closed when another loop opens its own, or at the end of the process.
    """

    open: Callable[[], AbstractAsyncContextManager[T]]
    _resources: dict[asyncio.AbstractEventLoop, _Resource[T]] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        weakref.finalize(self, _close_all, self._resources)

    async def get(self) -> T:
        """Return the resource of the running loop, opening it if necessary; concurrent callers share it."""
        loop = asyncio.get_running_loop()
        if loop not in self._resources:
            self._resources[loop] = resource = self._open(loop)
            # If the task is cancelled before it starts, callers must not wait forever.
            resource.holder.add_done_callback(lambda _: self._forget(loop, resource.opened))
        opened = self._resources[loop].opened
        return opened.result() if opened.done() else await asyncio.shield(opened)

    def current(self) -> T | None:
        """Return the resource of the running loop if it is open."""
        resource = self._resources.get(asyncio.get_running_loop())
        if resource is None:
            return None
        opened = resource.opened
        if not opened.done() or opened.cancelled() or opened.exception() is not None:
            return None
        return opened.result()

    async def close(self) -> None:
        """Close the resource of the running loop, if it is open, and wait until it is closed."""
        if resource := self._resources.get(asyncio.get_running_loop()):
            # Opening cannot be interrupted: a thread may be busy with it.
            await asyncio.wait([resource.opened])
            resource.holder.cancel()
            await asyncio.wait([resource.holder])

    def _open(self, loop: asyncio.AbstractEventLoop) -> _Resource[T]:
        opened: asyncio.Future[T] = loop.create_future()
        closing = AsyncExitStack()
        return _Resource(opened, closing, loop.create_task(self._hold(loop, opened, closing)))

    async def _hold(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[T], closing: AsyncExitStack) -> None:
        """Open the resource, pass it to *opened*, and close it when cancelled."""
        try:
            await self._close_those_of_closed_loops()
            async with closing:
                opened.set_result(await closing.enter_async_context(self.open()))
                try:
                    await asyncio.Event().wait()
                finally:
                    # The resource is being closed, so later callers get a new one.
                    self._forget(loop, opened)
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)
            opened.exception()  # mark the error as retrieved, because all callers may have been cancelled

    def _forget(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[T]) -> None:
        opened.cancel()
        if loop in self._resources and self._resources[loop].opened is opened:
            del self._resources[loop]

    async def _close_those_of_closed_loops(self) -> None:
        for loop in [loop for loop in self._resources if loop.is_closed()]:
            # Another loop, in another thread, may be doing the same.
            if resource := self._resources.pop(loop, None):
                await resource.close_elsewhere()


def _close_all(resources: dict[asyncio.AbstractEventLoop, _Resource[Any]]) -> None:
    """Close the remaining resources at the end of the process."""

    async def close() -> None:
        for each in list(resources.values()):
            await each.close_elsewhere()

    if resources:
        with contextlib.suppress(Exception):
            asyncio.run(asyncio.wait_for(close(), CLOSE_TIMEOUT_S))
