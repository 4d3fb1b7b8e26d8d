"""What lives as long as an event loop: connections belong to the loop in which they were opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

import attrs

__all__ = ["LoopBound"]

T = TypeVar("T")


@attrs.define(eq=False)
class LoopBound(Generic[T]):
    """
    A resource that is opened at the first use, by *open*, and closed when the event loop ends or when told.

    A task of its own holds it.  asyncio cancels all tasks when a loop ends, so it is closed even where no lifespan
    runs; and in the next loop, as serverless adapters may have one for each call, it is opened anew.
    """

    open: Callable[[], AbstractAsyncContextManager[T]]
    _holder: asyncio.Task[None] | None = attrs.field(init=False, default=None)
    _opened: asyncio.Future[T] = attrs.field(init=False)

    async def get(self) -> T:
        """Return the resource of the running loop; all who ask while it is being opened wait for the same one."""
        loop = asyncio.get_running_loop()
        if self._holder is None or self._holder.done() or self._holder.get_loop() is not loop:
            self._opened = loop.create_future()
            self._holder = loop.create_task(self._hold(self._opened))
        if self._opened.done():
            return self._opened.result()
        return await asyncio.shield(self._opened)

    async def close(self) -> None:
        """Close the resource, if it is open, and wait until it is closed."""
        holder, self._holder = self._holder, None
        if holder is not None and holder.get_loop() is asyncio.get_running_loop():
            holder.cancel()
            await asyncio.wait([holder])

    async def _hold(self, opened: asyncio.Future[T]) -> None:
        """Open the resource, pass it to *opened*, and close it when cancelled."""
        try:
            async with self.open() as resource:
                opened.set_result(resource)
                await asyncio.Event().wait()
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)
            opened.exception()  # it may be that nobody waits any more
