"""Stopping the application closes the auth backend, and does not wait for code that never ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from taskd.closing import bounded
from taskd.testing import lifespan
from taskd.time_limit import TimedOut, Timeouts
from taskd_sql.store import SQLTaskStore
from tests.support.applications import build
from tests.support.doctor import examined
from tests.support.third_parties import Site, auth_source

pytestmark = pytest.mark.anyio

CLOSED = """
closed = []
"""


def closing(site: Site, *statements: str, is_async: bool = True) -> str:
    """Install an auth plugin whose `close` runs *statements*; return its module's name."""
    body = "".join(f"\n        {statement}" for statement in ("closed.append(self)", *statements))
    function = f"    {'async ' if is_async else ''}def close(self):{body}\n\n"
    source = auth_source("return None").replace("    async def", f"{function}    async def", 1)
    return site.install("custom", CLOSED + source)


def closed(module: str) -> int:
    """Return how often the backend of the plugin in *module* was closed."""
    return len(__import__(module).closed)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_backend_is_closed_when_the_application_stops(
    site: Site, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    """It is closed once, not earlier, and nothing is logged."""
    module = closing(site, is_async=is_async)
    app = build(TASKD_AUTH="custom")
    async with lifespan(app):
        assert 0 == closed(module)

    assert 1 == closed(module)
    assert "custom" not in caplog.text


@pytest.mark.parametrize(
    ("statement", "is_async", "line"),
    [
        ("await asyncio.Event().wait()", True, "did not close in 0.05 s and was abandoned"),
        ("import threading; threading.Event().wait()", False, "did not close in 0.05 s and was abandoned"),
        ("raise RuntimeError", True, "failed to close"),
        ("raise RuntimeError", False, "failed to close"),
        ("sys.exit(5)", True, "failed to close"),
        ("sys.exit(5)", False, "failed to close"),
        ("task = asyncio.ensure_future(asyncio.sleep(9)); task.cancel(); await task", True, "failed to close"),
    ],
)
async def test_a_backend_that_does_not_close_does_not_delay_the_stop(
    site: Site,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    is_async: bool,
    line: str,
) -> None:
    """The log names it, and the storage is closed anyway."""
    # Only a call that never ends may reach it.
    timeouts = Timeouts(close_s=0.05 if "abandoned" in line else 60)
    calls: list[str] = []

    # The store has opened nothing, so closing it takes no time.
    async def ping(_: SQLTaskStore) -> None:
        pass

    async def close(_: SQLTaskStore) -> None:
        calls.append("close")

    monkeypatch.setattr(SQLTaskStore, "ping", ping)
    monkeypatch.setattr(SQLTaskStore, "close", close)
    module = closing(site, statement, is_async=is_async)
    app = build(timeouts, TASKD_AUTH="custom")
    async with lifespan(app):
        pass

    assert (1, ["close"]) == (closed(module), calls)
    assert [f"plugin 'custom' of acme 1.0 {line}"] == [
        record.getMessage() for record in caplog.records if record.name == "taskd.closing"
    ]


def test_the_doctor_closes_what_it_created(site: Site) -> None:
    """It does so whatever it has checked; if closing fails, the report is not affected."""
    module = closing(site, "raise RuntimeError('hunter2')")
    report = examined("sqlite:///tasks.db", TASKD_AUTH="custom")

    assert 1 == closed(module)
    assert "hunter2" not in report.text


async def test_results_and_errors_are_passed_on() -> None:
    """Whether the function is async or not, nothing is added and nothing is lost."""

    async def response() -> int:
        return 5

    async def fail() -> None:
        raise LookupError

    def returning(call: Callable[[], Any]) -> Callable[[], Any]:
        """A function that is not async, but returns an awaitable."""
        return lambda: call()  # noqa: PLW0108

    assert [5, 5, 5] == [await bounded(call, 9) for call in (response, lambda: 5, returning(response))]
    for call in (fail, lambda: {"a": 1}["key"], returning(fail)):
        with pytest.raises(LookupError):
            await bounded(call, 9)


async def test_a_call_that_does_not_end_is_cancelled_and_abandoned() -> None:
    """It is abandoned even if it ignores the cancellation at first."""
    is_cancelled, may_end = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            is_cancelled.set()
            await may_end.wait()

    with pytest.raises(TimedOut):
        await bounded(stubborn, 0.01)
    await is_cancelled.wait()
    may_end.set()


async def test_the_caller_may_be_cancelled() -> None:
    """The call is cancelled, too, and the cancellation propagates."""
    is_begun, is_cancelled = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        try:
            is_begun.set()
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()

    waiting = asyncio.create_task(bounded(endless, 9))
    await is_begun.wait()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    await is_cancelled.wait()
