"""Convert long lists in slices, so that the event loop can run between them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

__all__ = ["SLICE_LENGTH", "in_slices"]

T = TypeVar("T")
R = TypeVar("R")

# Turning so many rows into tasks takes about a quarter of a millisecond; writing them as JSON takes less.
SLICE_LENGTH = 25
# Traversing what so many slices have made takes less than a millisecond.
SLICES_PER_COLLECTION = 20

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def in_slices(convert: Callable[[list[T]], R], items: list[T]) -> list[R]:
    """
    Call *convert* with each slice of *items*, and return the results in order.

    Up to `SLICE_LENGTH` items, or none, are one slice, which is converted at once.  Between several slices the event
    loop runs.  It converts at most one slice in each of its iterations, however many calls there are; they take turns.

    Args:
        convert: Converts one slice.
        items: A list that the caller does not need any more.  It is emptied if it has several slices, because freeing
            many objects at once would also block the event loop.
    """
    if len(items) <= SLICE_LENGTH:
        return [convert(items)]
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    converted = []
    while items:
        async with turn:
            converted.append(convert(items[:SLICE_LENGTH]))
            del items[:SLICE_LENGTH]
            if len(converted) % SLICES_PER_COLLECTION == 0:
                # Python counts new objects less those that are freed.  Here that is next to none, so that sooner or
                # later it would traverse all at once.
                gc.collect(1)
            await asyncio.sleep(0)
    return converted
