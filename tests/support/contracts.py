"""Run a contract's tests inside a test, without pytest: thousands of them in a few seconds."""

from __future__ import annotations

import inspect
import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import pytest

from taskd.storage import StoreError, TaskStore
from taskd.testing import StoreContract

__all__ = ["failures"]

Case = Callable[..., Coroutine[Any, Any, None]]


async def failures(make: Callable[[], TaskStore]) -> AsyncIterator[str]:
    """
    Yield the names of the tests in `StoreContract` that a store fails.

    Only what a plugin author would see as a failed test counts; other errors are raised.

    Args:
        make: Creates a new store for each test.
    """
    for name, case in _cases():
        arguments: dict[str, object] = {"store": make(), "owner": uuid.uuid4().hex}
        wanted = inspect.signature(case).parameters
        try:
            await case(**{argument: value for argument, value in arguments.items() if argument in wanted})
        except (AssertionError, pytest.fail.Exception, StoreError):
            yield name


def _cases() -> Iterator[tuple[str, Case]]:
    """Yield each test with its name, once for each set of parameters."""
    tests = [each for each in inspect.getmembers(StoreContract) if each[0].startswith("test_")]
    for name, test in tests:
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        for values in itertools.product(*[mark.args[1] for mark in marks]):
            given = {mark.args[0]: value for mark, value in zip(marks, values, strict=True)}
            yield name, partial(test, StoreContract(), **given)
