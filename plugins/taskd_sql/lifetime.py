"""What lives as long as an event loop: connections belong to the loop in which they were opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

import attrs

__all__ = ["LoopBound"]

T = TypeVar("T")


@attrs.frozen(eq=False)
class LoopBound(Generic[T]):
    """
    A resource of which every event loop has its own, opened at the first use by *open*.

    A task holds it, and closes it when it is cancelled: by `close`, or by asyncio when the loop ends.  So it is closed
    even where no lifespan runs; and serverless adapters may have a loop for each call.
    """

    open: Callable[[], AbstractAsyncContextManager[T]]
    # A loop holds its tasks only weakly.
    _held: dict[asyncio.AbstractEventLoop, tuple[asyncio.Task[None], asyncio.Future[T]]] = attrs.field(
        init=False, factory=dict
    )

    async def get(self) -> T:
        """Return the resource of the running loop; all who ask while it is being opened wait for the same one."""
        loop = asyncio.get_running_loop()
        if loop not in self._held:
            self._forget_closed_loops()
            opened: asyncio.Future[T] = loop.create_future()
            holder = loop.create_task(self._hold(loop, opened))
            # Nobody waits for ever for one that was cancelled before it had begun.
            holder.add_done_callback(lambda _: self._forget(loop, opened))
            self._held[loop] = holder, opened
        _, opened = self._held[loop]
        return opened.result() if opened.done() else await asyncio.shield(opened)

    async def close(self) -> None:
        """Close the resource of the running loop, if it is open, and wait until it is closed."""
        if held := self._held.get(asyncio.get_running_loop()):
            holder, opened = held
            # What is half open cannot be closed: a thread may be at it.
            await asyncio.wait([opened])
            holder.cancel()
            await asyncio.wait([holder])

    async def _hold(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[T]) -> None:
        """Open the resource, pass it to *opened*, and close it when cancelled."""
        try:
            async with self.open() as resource:
                opened.set_result(resource)
                try:
                    await asyncio.Event().wait()
                finally:
                    # From here on it is being closed: who asks now gets another.
                    self._forget(loop, opened)
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)
            opened.exception()  # it may be that nobody waits any more

    def _forget(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[T]) -> None:
        opened.cancel()
        if loop in self._held and self._held[loop][1] is opened:
            del self._held[loop]

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._held if loop.is_closed()]:
            del self._held[loop]
