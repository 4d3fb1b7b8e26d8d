"""Metrics of several processes: whichever is asked tells of all, and of those that have ended."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from taskd import build_app
from taskd.telemetry import Distribution, Kind, Measurement
from taskd.testing import RunningServer, lifespan, running_server
from taskd_metrics.sharing import Sharing
from tests.conftest import client_of
from tests.metrics import TOKEN
from tests.support.processes import child_environ
from tests.support.scrapes import Samples, samples_in, scraped

pytestmark = pytest.mark.anyio

LIVEZ = 'taskd_http_requests_total{method="GET",route="/livez",status="200"}'
STARTED = "Application startup complete"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def numbers(count: int, gauge: int, age: int) -> list[Measurement]:
    """Return the numbers of a process."""
    sizes = Distribution((1, 2))
    sizes.add(2, count)
    return [
        Measurement("count", "A counter.", count, Kind.COUNTER),
        Measurement("gauge", "A gauge.", gauge, labels={"pool": "all"}),
        Measurement("age", "An age.", age, Kind.MAXIMUM),
        Measurement("sizes", "Sizes.", sizes),
    ]


def values(measurements: list[Measurement]) -> dict[str, object]:
    """Return the values of *measurements* by their names, and of a distribution, its counts."""
    return {
        each.name: each.value.counts if isinstance(each.value, Distribution) else each.value for each in measurements
    }


class TestSharing:
    """How the numbers of several processes become one."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "taskd-metrics"

    @pytest.fixture
    def one(self, folder: Path) -> Iterator[Sharing]:
        made = Sharing(folder)
        made.join()
        yield made
        if folder.exists():
            made.leave([])

    @pytest.fixture
    def other(self, folder: Path) -> Sharing:
        made = Sharing(folder)
        made.join()
        made.write(numbers(10, 20, 30))
        return made

    @pytest.mark.usefixtures("other")
    def test_the_numbers_of_all_are_added_up(self, one: Sharing) -> None:
        """Except for those of which the highest counts."""
        assert {"count": 11, "gauge": 22, "age": 30, "sizes": [0, 11, 0]} == values(one.everything(numbers(1, 2, 3)))

    def test_only_the_counters_of_a_process_outlive_it(self, one: Sharing, other: Sharing) -> None:
        """Its gauges are gone at once, however it has ended."""
        other.leave(numbers(15, 25, 35))

        for _ in range(2):
            assert {"count": 16, "gauge": 2, "age": 3, "sizes": [0, 16, 0]} == values(one.everything(numbers(1, 2, 3)))

    def test_the_files_of_ended_processes_do_not_pile_up(self, folder: Path, one: Sharing) -> None:
        """What remains of all of them is one file, beside that of the one that lives."""
        for _ in range(5):
            each = Sharing(folder)
            each.join()
            each.leave(numbers(1, 1, 1))
        one.everything([])

        assert 5 == values(one.everything([]))["count"]
        assert 2 == len(list(folder.glob("*.numbers")))

    def test_the_last_one_removes_the_folder(self, folder: Path, one: Sharing, other: Sharing) -> None:
        """Nothing is left behind by a server that has stopped."""
        other.leave([])
        one.leave([])

        assert not folder.exists()

    def test_counters_of_an_earlier_server_do_not_count(self, folder: Path, one: Sharing) -> None:
        """After a crash of all processes, they begin anew, as those of any server do."""
        one.write(numbers(1, 1, 1))
        assert one._lock is not None
        os.close(one._lock)
        one._lock = None

        after = Sharing(folder)
        after.join()
        assert {"count": 2, "gauge": 2, "age": 2, "sizes": [0, 2, 0]} == values(after.everything(numbers(2, 2, 2)))

    def test_another_users_folder_is_refused(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its owner could make up the numbers."""
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

        with pytest.raises(PermissionError, match="belongs to another user"):
            Sharing(folder).join()

    def test_a_link_is_not_followed(self, folder: Path, tmp_path: Path) -> None:
        """In a folder where everybody may write, somebody else could let taskd delete its own files."""
        precious = tmp_path / "precious"
        precious.mkdir(mode=0o700)
        (precious / "taskd.db").touch()
        folder.symlink_to(precious)

        with pytest.raises(NotADirectoryError, match="not a folder, or a link"):
            Sharing(folder).join()
        assert ["taskd.db"] == [path.name for path in precious.iterdir()]

    def test_a_folder_where_others_may_write_is_refused(self, folder: Path) -> None:
        """They could make up the numbers, too; and only files of this plugin are ever deleted."""
        folder.mkdir()
        (folder / "taskd.db").touch()
        folder.chmod(0o770)
        with pytest.raises(PermissionError, match="other users may write to it"):
            Sharing(folder).join()

        folder.chmod(0o700)
        Sharing(folder).join()
        assert (folder / "taskd.db").exists()


@contextlib.asynccontextmanager
async def process(environ: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Serve with an application of its own, as another process would, and yield a client of it."""
    app = build_app(environ)
    async with lifespan(app), client_of(app) as client:
        yield client


async def test_processes_that_others_start_share_a_folder(environ: dict[str, str], tmp_path: Path) -> None:
    """One that has stopped leaves its counters behind, and nothing else."""
    given = {**environ, "TASKD_METRICS_FOLDER": str(tmp_path)}
    async with process(given) as first:
        async with process(given) as second:
            await first.get("/livez")
            await second.get("/livez")
        found = await scraped(first, TOKEN)

    assert (2, 1) == (found[LIVEZ], found["taskd_processes"])


def test_any_worker_tells_of_all_of_them(environ: dict[str, str]) -> None:
    """A worker that is killed and replaced takes its gauges along, but not its counters."""
    serve = ("-m", "taskd", "serve", "--port", "0", "--workers", "2")
    with running_server(child_environ(environ), serve) as server, _client_of(server) as client:
        for _ in range(2):
            server.read_until(STARTED)
        for _ in range(20):
            client.get("/livez")
        found = _scraped_until(client, 20)
        assert 2 == found["taskd_processes"]

        os.kill(_any_worker(server.process.pid), signal.SIGKILL)
        server.read_until("has ended unexpectedly")
        server.read_until(STARTED)
        found = samples_in(client.get("/metrics", headers=HEADERS).text)
        assert (20, 2) == (found[LIVEZ], found["taskd_processes"])
        said = server.stop()
    assert "Traceback" not in said


def _client_of(server: RunningServer) -> httpx.Client:
    """Return a client each of whose requests has a connection of its own, and so any worker."""
    return httpx.Client(base_url=server.url, timeout=60, limits=httpx.Limits(max_keepalive_connections=0))


def _any_worker(parent: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


def _scraped_until(client: httpx.Client, count: int) -> Samples:
    """Scrape until there are *count* requests to /livez: processes share their numbers once in a second."""
    while True:
        found = samples_in(client.get("/metrics", headers=HEADERS).text)
        if found.get(LIVEZ) == count:
            return found
