"""Keep Python's garbage collector from traversing objects that are not garbage."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["collect_rarely", "not_collecting"]

# See `gc.set_threshold`; Python's defaults are 700, 10 and 10.
THRESHOLDS = (5_000, 0, 20_000)


@contextlib.contextmanager
def not_collecting() -> Iterator[None]:
    """Collect no garbage in the block, which imports modules: nearly all objects that it creates are kept."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def collect_rarely() -> None:
    """
    Collect garbage less often, and leave out objects that have been loaded by now.

    A full collection traverses all objects, and each waiting request has a hundred: with a thousand requests waiting,
    collections take a third of the processor time, and block all other requests while they run.  Nearly all objects are
    freed without them.

    What is garbage by now stays in memory: finding it would delay the first response.
    """
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
