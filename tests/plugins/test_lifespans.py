"""What plugins run as long as the server does: when it starts and stops, and what happens if it fails."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from taskd import PluginError
from taskd.testing import lifespan, running_server
from taskd.time_limit import Timeouts
from tests.support.applications import build, get
from tests.support.commands import run_python
from tests.support.doctor import STRONG_SECRET
from tests.support.processes import child_environ, make_distribution
from tests.support.serving import until
from tests.support.third_parties import Site, routes_source

pytestmark = pytest.mark.anyio

# Shows what is running, and in which task it was started and stopped.
RUNNING = """
import contextlib

events = []

@contextlib.asynccontextmanager
async def running(store):
    task = asyncio.current_task()
    events.append("started")
    try:
        yield
    finally:
        await asyncio.sleep(0)
        events.append("stopped" if task is asyncio.current_task() else "stopped elsewhere")

@hookimpl
def taskd_lifespan(store):
    return running(store)

@taskd.routes.public
async def show(request):
    return PlainTextResponse(" ".join(events))
""" + routes_source("Route('/events', show)")


def source_of(entering: str = "pass", leaving: str = "pass") -> str:
    """Return the source of a plugin whose lifespan runs these statements."""
    return f"""
import asyncio
import contextlib
import taskd

@contextlib.asynccontextmanager
async def running():
    {entering}
    yield
    {leaving}

@taskd.hookimpl
def taskd_lifespan():
    return running()
"""


async def test_it_runs_as_long_as_the_server_does(site: Site) -> None:
    """It has started before the first request, and is stopped in the task that started it."""
    module = site.install("running", RUNNING)
    app = build()

    async with lifespan(app):
        response = await get(app, "/events")

    assert "started" == response.text
    assert ["started", "stopped"] == sys.modules[module].events


@pytest.mark.parametrize(
    ("entering", "reason"),
    [
        ("raise OSError('no such service')", "failed to start: OSError: no such service"),
        ("raise SystemExit(3)", "failed to start: SystemExit: 3"),
        ("raise asyncio.CancelledError('its own')", "failed to start: CancelledError: its own"),
        (
            "raise BaseExceptionGroup('two', [SystemExit()])",
            "failed to start: BaseExceptionGroup: two .1 sub-exception.",
        ),
        ("await asyncio.Event().wait()", "was not ready after 1 s"),
    ],
)
async def test_the_server_does_not_start_without_it(site: Site, entering: str, reason: str) -> None:
    """The message names the plugin, and those that had started are stopped again."""
    module = site.install("a-running", RUNNING)
    site.install("failing", source_of(entering), distribution="zenith")
    app = build(Timeouts(enter_s=1))

    with pytest.raises(PluginError, match=f"^plugin 'failing' of zenith 1.0 {reason}; or set TASKD_DISABLED_PLUGINS="):
        async with lifespan(app):
            pytest.fail("the application has started")

    assert ["started", "stopped"] == sys.modules[module].events


def test_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    """There is no traceback, and the exit status is not 0."""
    plugin = make_distribution(tmp_path / "site", "failing", source_of("raise OSError('no such service')"))
    settings = {**plugin, "BETTER_AUTH_SECRET": STRONG_SECRET, "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db"}

    ended = run_python("-m", "taskd", "serve", "--port", "0", settings=settings)

    assert 0 != ended.returncode
    assert "plugin 'failing' of failing 1.0 failed to start: OSError: no such service" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("leaving", "reason"),
    [
        ("raise OSError('gone')", "failed to stop"),
        ("raise asyncio.CancelledError", "failed to stop"),
        ("await asyncio.Event().wait()", "did not stop in 1 s and was abandoned"),
    ],
)
async def test_a_failure_to_stop_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture, leaving: str, reason: str
) -> None:
    """It does not keep the others from stopping."""
    module = site.install("a-running", RUNNING)
    site.install("failing", source_of(leaving=leaving), distribution="zenith")

    async with lifespan(build(Timeouts(close_s=1))):
        await asyncio.sleep(0)

    assert f"plugin 'failing' of zenith 1.0 {reason}" in caplog.text
    assert ["started", "stopped"] == sys.modules[module].events


async def test_a_plugin_that_blocks_the_start_is_named(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be waiting for something without letting anything else run, and so is not interrupted."""
    entering = "wait = __import__('threading').Event().wait; [wait(0.01) for _ in iter(lambda: named(), True)]"
    module = site.install("blocking", f"{source_of(entering)}\nnamed = None\n")
    app = build(Timeouts(start_s=0.01))
    monkeypatch.setattr(
        sys.modules[module], "named", lambda: "blocking' of acme 1.0 has been starting for 0 s" in caplog.text
    )

    async with lifespan(app):
        assert sys.modules[module].named()


FAILING_LATER = """
import asyncio
import contextlib
import pathlib
import taskd

async def work():
    while not pathlib.Path("fail").exists():
        await asyncio.sleep(0.01)
    raise OSError("the worker failed")

@contextlib.asynccontextmanager
async def running():
    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        yield

@taskd.hookimpl
def taskd_lifespan():
    return running()
"""


def test_a_server_whose_plugin_fails_later_stops(tmp_path: Path) -> None:
    """It would serve without what it needs, so it ends as after SIGTERM, and says why."""
    plugin = make_distribution(tmp_path / "site", "failing", FAILING_LATER)
    settings = {**plugin, "BETTER_AUTH_SECRET": STRONG_SECRET, "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db"}
    with running_server(child_environ(settings), cwd=tmp_path) as server:
        (tmp_path / "fail").touch()
        said = server.read_until("What a plugin runs beside the requests has ended, so the server stops")
        server.process.wait(30)

    assert "OSError: the worker failed" in said


async def test_a_start_that_is_cancelled_leaves_what_was_entered(site: Site) -> None:
    """Each lifespan is left in the task that entered it."""
    module = site.install("a-running", RUNNING)
    site.install("slow", source_of("await asyncio.Event().wait()"), distribution="zenith")
    starting = asyncio.create_task(build()._lifespans.__aenter__())
    await until(lambda: sys.modules[module].events)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert ["started", "stopped"] == sys.modules[module].events
