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

# Turning this many rows into tasks takes about a quarter of a millisecond; encoding them as JSON takes less.
SLICE_LENGTH = 25
# Traversing the objects made from this many slices takes less than a millisecond.
SLICES_PER_COLLECTION = 20

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def in_slices(convert: Callable[[list[T]], R], items: list[T], length: int | None = None) -> list[R]:
    """
    Call *convert* with each slice of *items*, and return the results in order.

    Items that fit into a single slice, even none, are converted immediately.  Otherwise the event loop runs between
    slices.  However many calls there are, at most one slice is converted in each iteration of the event loop; the calls
    take turns.

    Args:
        convert: Converts one slice.
        items: A list that the caller no longer needs.  It is emptied if it has several slices, because freeing many
            objects at once would also block the event loop.
        length: How many items a slice has; by default 25, which suits tasks and rows.
    """
    length = length or SLICE_LENGTH
    if len(items) <= length:
        return [convert(items)]
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    converted = []
    while items:
        async with turn:
            converted.append(convert(items[:length]))
            del items[:length]
            if len(converted) % SLICES_PER_COLLECTION == 0:
                # Python decides when to collect by the number of new objects less that of freed ones.  Here the
                # difference is close to zero, so sooner or later Python would traverse everything at once.
                gc.collect(1)
            await asyncio.sleep(0)
    return converted
