"""Make each failure of a contract's test name the promise that is broken."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

__all__ = ["promises"]

T = TypeVar("T")

Test = Callable[..., Any]


def promises(tests: type[T]) -> type[T]:
    """Decorate a class of tests: whatever makes one fail, the message begins with its docstring, the promise."""
    for name, test in [*vars(tests).items()]:
        if name.startswith("test_"):
            setattr(tests, name, _explained(test))
    return tests


def _explained(test: Test) -> Test:
    promise = " ".join((test.__doc__ or "").split("\n\n")[0].split())

    if not inspect.iscoroutinefunction(test):

        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            try:
                return test(*args, **kwargs)
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  any error breaks the promise
                raise _broken(promise, error) from _cause(error)

        return run

    @functools.wraps(test)
    async def run_async(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            return await test(*args, **kwargs)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  any error breaks the promise
            raise _broken(promise, error) from _cause(error)

    return run_async


def _broken(promise: str, error: BaseException) -> AssertionError:
    """Return the error to raise in the place of *error*."""
    if isinstance(error, AssertionError):
        # Keeps its traceback.
        error.args = (f"Broken promise: {promise}\n{error}",)
        return error
    reason = str(error) if isinstance(error, pytest.fail.Exception) else f"{type(error).__name__}: {error}"
    return AssertionError(f"Broken promise: {promise}\n{reason}")


def _cause(error: BaseException) -> BaseException | None:
    """Return what pytest should show as the cause of the failure."""
    return error.__cause__ if isinstance(error, AssertionError) else error
