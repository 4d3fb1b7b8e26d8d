"""Every call to a plugin has a time limit, and the log names plugins that take too long."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

from taskd.bounded_store import BoundedStore
from taskd.queries import TaskQuery
from taskd.storage import EVERYTHING, StoreUnavailable, TaskStore
from taskd.testing import lifespan, running_server
from taskd.time_limit import TimedOut, TimeLimit, Timeouts
from tests.conftest import SECRET, client_of
from tests.support.applications import build, get
from tests.support.processes import child_environ, make_distribution
from tests.support.third_parties import SLEEPS, SWALLOWS, Site, routes_source, slow_store

pytestmark = pytest.mark.anyio

NAME = "plugin 'slow' of acme 1.0"
TASK = "/api/alice/tasks/01a202b8-f11b-754f-a9d2-4d7b6419c012"
CALLS = {
    "list": ("GET", "/api/alice/tasks", None),
    "create": ("POST", "/api/alice/tasks", {"title": "t"}),
    "get": ("GET", TASK, None),
    "update": ("PUT", TASK, {"title": "t"}),
    "toggle": ("PATCH", f"{TASK}/complete", {}),
    "delete": ("DELETE", TASK, None),
    "ping": ("GET", "/readyz", None),
}
# No plugin gets any time.
IMPATIENT = Timeouts(call_s=0.05, close_s=0.05)
HOLDS_ON = SWALLOWS.replace("except asyncio.CancelledError", "except BaseException")


async def response_of(method: str) -> httpx.Response:
    """Return the response to a request for which the selected store's *method* is called."""
    app = build(IMPATIENT, TASKD_STORAGE="slow")
    verb, path, body = CALLS[method]
    async with lifespan(app), client_of(app, "alice") as client:
        return await client.request(verb, path, json=body)


def test_the_limits_are_those_that_are_documented() -> None:
    """A client waits for at most ten seconds, and a server that stops for at most two."""
    assert (10, 2) == (Timeouts().call_s, Timeouts().close_s)


class TestStorage:
    @pytest.mark.parametrize("method", CALLS)
    @pytest.mark.parametrize("statement", [SLEEPS, SWALLOWS], ids=["sleeps", "swallows"])
    async def test_a_call_that_does_not_end_leads_to_a_503(
        self, site: Site, caplog: pytest.LogCaptureFixture, method: str, statement: str
    ) -> None:
        """Whichever method it is, and however it handles cancellation, the log names the plugin."""
        site.install("slow", slow_store(method, statement=statement))

        response = await response_of(method)

        assert (503, True) == (response.status_code, response.headers["Retry-After"].isdecimal())
        assert f"The storage is unavailable: {NAME} did not respond to {method} in" in caplog.text

    @pytest.mark.parametrize(
        ("method", "fault"), [("ping", "did not respond to ping in"), ("close", "did not close in")]
    )
    async def test_a_wrapper_may_be_to_blame(
        self, site: Site, caplog: pytest.LogCaptureFixture, method: str, fault: str
    ) -> None:
        """If a call does not end, the log names the wrappers, too."""
        source = f"""
class Hanging(taskd.storage.StoreWrapper):
    async def {method}(self):
        await asyncio.Event().wait()

@hookimpl
def taskd_wrap_store(store):
    return Hanging(store)
"""
        site.install("slow", source)
        app = build(IMPATIENT, TASKD_STORE_WRAPPERS="slow")

        async with lifespan(app):
            await get(app, "/readyz")

        assert f" or a wrapper of it (slow) {fault}" in caplog.text

    @pytest.mark.parametrize("statement", [SLEEPS, SWALLOWS], ids=["sleeps", "swallows"])
    async def test_a_store_that_does_not_close_is_abandoned(
        self, site: Site, caplog: pytest.LogCaptureFixture, statement: str
    ) -> None:
        """The server stops anyway, and the log says so."""
        site.install("slow", slow_store("close", statement=statement))

        assert 200 == (await response_of("list")).status_code
        assert f"{NAME} did not close in" in caplog.text

    @pytest.mark.parametrize("statement", ["raise RuntimeError('out of order')", "raise SystemExit"])
    async def test_a_store_that_fails_to_close_is_named(
        self, site: Site, caplog: pytest.LogCaptureFixture, statement: str
    ) -> None:
        """The server stops anyway."""
        site.install("slow", slow_store("close", statement=statement))

        assert 200 == (await response_of("list")).status_code
        assert f"{NAME} failed to close" in caplog.text

    async def test_a_store_cannot_end_the_server(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """`sys.exit` in a method is treated like any other error."""
        site.install("slow", slow_store("list", statement="raise SystemExit('good bye')"))
        app = build(TASKD_STORAGE="slow")
        async with lifespan(app), client_of(app, "alice") as client:
            assert 500 == (await client.get("/api/alice/tasks")).status_code
            assert 200 == (await client.get("/readyz")).status_code
        assert f"{NAME} tried to exit in list" in caplog.text

    async def test_an_endpoint_cannot_end_the_server(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """`sys.exit` in an endpoint is treated like any other error."""
        source = "async def leave(request): raise SystemExit('good bye')\n" + routes_source("Route('/leave', leave)")
        site.install("leaving", source)
        async with client_of(build(), "alice") as client:
            assert 500 == (await client.get("/leave")).status_code
        assert "tried to exit" in caplog.text

    async def test_the_store_s_other_attributes_are_available(self, site: Site) -> None:
        """Routes of the same distribution may use more of its store than `TaskStore` defines."""
        source = slow_store() + "Slow.motto = 'festina lente'\n"
        routes = "@hookimpl\ndef taskd_routes(store):\n    return [Route('/motto', taskd.routes.public(lambda request: "
        site.install("slow", source + routes + "PlainTextResponse(store.motto)))]\n")
        async with client_of(build(TASKD_STORAGE="slow")) as client:
            assert "festina lente" == (await client.get("/motto")).text


class Store(TaskStore):
    """A store whose `list` and `ping` do what the test says."""

    seq = get = create = update = toggle = delete = None  # type: ignore[assignment]

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.work = work

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> Any:  # noqa: ARG002
        return await self.work()

    async def ping(self) -> None:
        await self.work()


class TestCancellation:
    """A cancellation reaches the task that it is meant for."""

    @pytest.mark.parametrize("swallows", [False, True])
    async def test_the_caller_can_cancel_a_call(self, swallows: bool) -> None:
        """If a request is cancelled, it ends at the latest when its time is up."""
        begun = asyncio.Event()

        async def wait() -> None:
            while True:
                try:
                    begun.set()
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if not swallows:
                        raise

        store = BoundedStore(Store(wait), NAME, IMPATIENT)
        call = asyncio.create_task(store.ping())
        await begun.wait()
        call.cancel()
        await asyncio.wait([call])

        assert call.cancelled()

    async def test_a_time_out_of_the_caller_works_as_usual(self) -> None:
        """`asyncio.timeout` around a call works as around any other."""
        store = BoundedStore(Store(asyncio.Event().wait), NAME, IMPATIENT)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await store.ping()
        with pytest.raises(StoreUnavailable, match="did not respond to ping"):
            await store.ping()
        await asyncio.sleep(0)

    async def test_a_time_out_inside_the_store_is_not_a_cancellation(self) -> None:
        """A store that retries after its own time-out is not abandoned."""

        async def try_twice() -> str:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            await asyncio.sleep(3 * cleanup_s)
            return "answered"

        cleanup_s = 0.05
        assert "answered" == await TimeLimit(60, cleanup_s).wait(try_twice())

    async def test_a_store_may_handle_errors(self) -> None:
        """If something that it awaits fails, the store may try again."""

        async def try_twice() -> str:
            for error in (LookupError(), OSError()):
                waited_for = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_soon(waited_for.set_exception, error)
                with pytest.raises(type(error)):
                    await waited_for
            return "answered"

        assert "answered" == await TimeLimit(60).wait(try_twice())

    @pytest.mark.parametrize("error", [LookupError("mine"), None], ids=["fails", "returns"])
    async def test_a_store_may_handle_its_cancellation(self, error: Exception | None) -> None:
        """Its result stands, and the task that called it remains usable."""

        async def clean_up() -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                if error is not None:
                    raise error from None
            return "answered"

        result: Any
        try:
            result = await TimeLimit(0.05).wait(clean_up())
        except LookupError as raised:
            result = raised

        assert (error or "answered") == result
        task = asyncio.current_task()
        assert task is not None
        assert 0 == task.cancelling()

    @pytest.mark.parametrize("ends", [True, False], ids=["ends", "swallows"])
    async def test_a_task_of_the_store_is_not_waited_for_either(self, ends: bool) -> None:
        """It is cancelled with the call, and abandoned if it continues."""
        may_end = asyncio.Event()

        async def work() -> None:
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    if ends:
                        raise

        work_under_way = asyncio.create_task(work())

        async def await_work() -> None:
            await work_under_way

        with pytest.raises(TimedOut):
            await TimeLimit(0.05).wait(await_work())
        assert ends == work_under_way.cancelled()
        may_end.set()
        await asyncio.wait([work_under_way])

    async def test_the_result_of_a_task_of_the_store_is_returned(self) -> None:
        """This works as if the event loop had waited for the task."""

        async def work() -> str:
            await asyncio.sleep(0)
            return "answered"

        async def await_work() -> str:
            return await asyncio.create_task(work())

        assert "answered" == await TimeLimit(60).wait(await_work())

    async def test_each_call_has_its_own_time_limit(self) -> None:
        """A call that starts later ends later, and quick calls are not delayed."""
        gate = asyncio.Event()
        store = BoundedStore(Store(gate.wait), NAME, Timeouts(call_s=0.2))
        first = asyncio.create_task(store.ping())
        await asyncio.sleep(0.1)
        second = asyncio.create_task(store.ping())
        await asyncio.wait([first])
        assert not second.done()
        gate.set()

        await second
        with pytest.raises(StoreUnavailable):
            await first

    def test_a_store_serves_several_loops(self) -> None:
        """The time limit of a call is measured by its own loop."""
        store = BoundedStore(Store(lambda: asyncio.Event().wait()), NAME, IMPATIENT)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                asyncio.run(store.ping())


class TestStop:
    """SIGTERM stops a real server even if a plugin does not end."""

    @staticmethod
    def end_of(folder: Path, source: str, *, grace_s: int = 10, end_timeout_s: float = 10) -> tuple[int, str]:
        """Run and stop a server with the store in *source*, with a limit of a second; return its status and output."""
        child = make_distribution(folder, "slow", source)
        script = f"""
from taskd.application import Application
from taskd.plugins import Plugins
from taskd.server.signals import exit_after
from taskd.server.sockets import Listener
from taskd.server.uvicorn import Server, config
from taskd.settings import read_environ
from taskd.time_limit import Timeouts

app = Application.of(Plugins.load(read_environ(), Timeouts(call_s=1)))
listener = Listener.open("127.0.0.1", 0)
server = Server(
    config(app, {grace_s}), lambda: print("running on", listener.url, flush=True), end_timeout_s={end_timeout_s}
)
server.run(listener.sockets)
exit_after(server.stopped_by)
"""
        settings = {**child, "TASKD_STORAGE": "slow", "BETTER_AUTH_SECRET": SECRET}
        with running_server(child_environ(settings), ("-c", script)) as server:
            output = server.stop()
        return server.process.returncode, output

    def test_a_store_that_ignores_cancellation_does_not_delay_the_stop(self, tmp_path: Path) -> None:
        """A running ping and a close that does not end are abandoned, and the log names them."""
        source = slow_store("ping", "close", statement=SWALLOWS)
        status, output = self.end_of(tmp_path, source)

        assert -signal.SIGTERM == status
        assert "plugin 'slow' of slow 1.0 did not close in 2 s" in output

    def test_a_plugin_that_never_ends_is_killed(self, tmp_path: Path) -> None:
        """A plugin's own task, which nobody awaits, ends with the process, and the log names it."""
        source = slow_store("close", statement=HOLDS_ON)
        source = source.replace("return None", "self.own = asyncio.create_task(Slow.close(self))")
        status, output = self.end_of(tmp_path, source, grace_s=0, end_timeout_s=0)

        assert -signal.SIGKILL == status
        assert "killing the process; still running: " in output
        assert "Slow.close" in output
