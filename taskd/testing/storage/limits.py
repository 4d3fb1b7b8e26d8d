"""Limit how long the calls of a contract's tests may take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from taskd.bounded_store import BoundedStore
from taskd.storage import TaskStore
from taskd.time_limit import Timeouts

__all__ = ["TIMEOUT_S", "limited"]

T = TypeVar("T")

Test = Callable[..., Any]

TIMEOUT_S = Timeouts().call_s


def limited(tests: type[T]) -> type[T]:
    """
    Decorate a class of tests: their stores are limited and checked as the server does it.

    So a test of a store that does not respond fails instead of waiting for ever, and so does one of a store that
    returns something of the wrong type.
    """
    for name, test in [*vars(tests).items()]:
        if name.startswith("test_"):
            setattr(tests, name, _limited(test))
    return tests


def _limited(test: Test) -> Test:
    if inspect.iscoroutinefunction(test):

        @functools.wraps(test)
        async def run_async(self: Any, *, store: TaskStore, **kwargs: Any) -> None:
            __tracebackhide__ = True
            await test(self, store=_bounded(store, self), **kwargs)

        return run_async

    @functools.wraps(test)
    def run(self: Any, *, store: TaskStore, **kwargs: Any) -> None:
        __tracebackhide__ = True
        test(self, store=_bounded(store, self), **kwargs)

    return run


def _bounded(store: TaskStore, contract: Any) -> BoundedStore:
    timeout_s: float = getattr(contract, "timeout_s", TIMEOUT_S)
    return BoundedStore(store, "the store", Timeouts(call_s=timeout_s))
