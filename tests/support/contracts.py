"""Run a contract's tests inside a test, without pytest: thousands of them in a few seconds."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from taskd.storage import TaskStore
from taskd.testing import AuthContract, StoreContract
from taskd.testing.auth.requests import guarded_by
from tests.support.catalogue.backends import Keys

__all__ = ["Impatient", "auth_failures", "store_failures"]

Case = Callable[..., Any]
# What a test needs, by the names of its parameters.
Fixtures = Mapping[str, object]

OPTIONAL = ("reopen", "outage", "revoke")


class Impatient(StoreContract):
    """The contract for stores that respond at once, if at all."""

    timeout_s = 0.5


def store_failures(
    make: Callable[[], TaskStore], contract: type[StoreContract] = StoreContract, *, at_most: int | None = None
) -> list[str]:
    """
    Return the tests in *contract* that a store fails, with their messages, in the order in which pytest runs them.

    Args:
        make: Creates a new store for each test.
        contract: The tests.
        at_most: After how many failures to stop.
    """

    def fixtures() -> Fixtures:
        store = make()
        return {"store": store, "owner": uuid.uuid4().hex, "anyio_backend": "asyncio", **_optional(store)}

    return _failures(contract, fixtures, at_most)


def auth_failures(make: Callable[[], Keys], *, at_most: int | None = None) -> list[str]:
    """Return the tests in `AuthContract` that a backend fails, like `store_failures`."""

    def fixtures() -> Fixtures:
        backend = make()
        client, credentials = guarded_by(backend), backend.credentials
        return {"backend": backend, "client": client, "credentials": credentials, **_optional(backend)}

    return _failures(AuthContract, fixtures, at_most)


def _optional(subject: object) -> Fixtures:
    return {name: getattr(subject, name) for name in OPTIONAL if hasattr(subject, name)}


def _failures(contract: type[Any], fixtures: Callable[[], Fixtures], at_most: int | None) -> list[str]:
    # Kept until the event loop has ended the tasks that some stores have started.
    given: list[Fixtures] = []
    with asyncio.Runner() as runner:

        def messages() -> Iterator[str]:
            for name, case in _cases(contract):
                given.append(fixtures())
                if (message := _message(runner, case, given[-1])) is not None:
                    yield f"{name}: {message}"

        return list(itertools.islice(messages(), at_most))


def _message(runner: asyncio.Runner, case: Case, given: Fixtures) -> str | None:
    """Run a test; return its message if it fails, and None if it passes or is skipped, as for lack of a fixture."""
    wanted = [each.name for each in inspect.signature(case).parameters.values() if each.default is each.empty]
    if not given.keys() >= {*wanted}:
        return None
    try:
        result = case(**{name: given[name] for name in wanted})
        if inspect.iscoroutine(result):
            runner.run(result)
    except AssertionError as error:
        return str(error)
    except pytest.skip.Exception:
        pass
    return None


def _cases(contract: type[Any]) -> Iterator[tuple[str, Case]]:
    """Yield each test with its name, once for each set of parameters."""
    for name in dict.fromkeys(name for each in reversed(contract.__mro__) for name in vars(each)):
        if name.startswith("test_"):
            test = getattr(contract, name)
            marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
            for values in itertools.product(*[mark.args[1] for mark in marks]):
                given = {mark.args[0]: value for mark, value in zip(marks, values, strict=True)}
                yield name, partial(test, contract(), **given)
