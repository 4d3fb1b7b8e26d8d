"""SQLite under stress: shared files, full or read-only disks, and files that disappear."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from taskd.testing import running_server
from tests.conftest import SECRET, token_for
from tests.support.commands import invoke, run_python
from tests.support.doctor import examined
from tests.support.mounts import Disk, mounted
from tests.support.processes import SERVE, child_environ
from tests.support.serving import assert_unavailable
from tests.support.serving import serving as serving_over

pytestmark = pytest.mark.anyio

LONG = "x" * 9000
# Statements that wait for a lock give up soon.
IMPATIENT = {"TASKD_SQL_STATEMENT_TIMEOUT": "0.2"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the file."""
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture
def file(folder: Path) -> Path:
    """The file, which does not exist yet."""
    return folder / "tasks.db"


@pytest.fixture
def disk(folder: Path) -> Iterator[Disk]:
    """A small disk that holds the file."""
    with mounted(folder, "1m") as made:
        yield made


def settings_of(file: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"sqlite:///{file}", "BETTER_AUTH_SECRET": SECRET, **IMPATIENT}


def serving(file: Path, user_id: str) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    return serving_over(f"sqlite:///{file}", user_id, **IMPATIENT)


@attrs.define
class Witness:
    """
    A client that records what was acknowledged, and accepts only successes and 503s with `Retry-After`.

    Attributes:
        tasks: The tasks that must exist, by id.
    """

    client: httpx.AsyncClient
    url: str
    tasks: dict[str, Any] = attrs.field(init=False, factory=dict)

    async def create(self, description: str = LONG) -> bool:
        response = await self.client.post(self.url, json={"title": "t", "description": description})
        return self._remember(response)

    async def toggle(self, task_id: str) -> bool:
        return self._remember(await self.client.patch(f"{self.url}/{task_id}/complete"))

    async def update(self, task_id: str) -> bool:
        response = await self.client.put(f"{self.url}/{task_id}", json={"description": LONG.upper()})
        return self._remember(response)

    async def delete(self, task_id: str) -> bool:
        response = await self.client.delete(f"{self.url}/{task_id}")
        if _is_done(response):
            del self.tasks[task_id]
        return response.is_success

    async def fill(self) -> None:
        """Create tasks until the disk is full."""
        while await self.create():
            assert len(self.tasks) < 1000

    async def compare(self) -> None:
        """Check that everything that was acknowledged exists, and nothing else."""
        response = await self.client.get(self.url)
        assert _is_done(response), response.text
        assert self.tasks == {task["id"]: task for task in response.json()}

    def _remember(self, response: httpx.Response) -> bool:
        if _is_done(response):
            self.tasks[response.json()["id"]] = response.json()
        return response.is_success


def _is_done(response: httpx.Response) -> bool:
    """Tell an acknowledgement from a proper 503, and accept nothing else."""
    assert response.is_success or (response.status_code == 503 and 1 <= int(response.headers["Retry-After"]) <= 60), (
        response.text
    )
    return response.is_success


def integrity(file: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return [row[0] for row in connection.execute("PRAGMA integrity_check")]


@contextlib.contextmanager
def locked(file: Path, lock: str) -> Iterator[None]:
    """Hold a lock on an SQLite file without writing to it."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(f"BEGIN {lock}")
        yield
        connection.execute("ROLLBACK")


class TestMounts:
    @pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
    def test_ci_does_not_skip_tests_that_mount(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
    ) -> None:
        """If all tests must run, none is silently skipped."""
        monkeypatch.setenv("CI", ci)
        with pytest.raises(outcome, match="no file system can be mounted"):
            mounted(folder, "no size").__enter__()


class TestDiskFull:
    async def test_it_is_a_503_until_there_is_space(self, disk: Disk, file: Path, user_id: str, tasks_url: str) -> None:
        """Acknowledged tasks survive whatever is tried on the full disk; with space, everything works again."""
        disk.fill(600_000)
        async with serving(file, user_id) as client:
            witness = Witness(client, tasks_url)
            await witness.fill()
            await witness.compare()
            first, second, *others = witness.tasks
            await witness.update(first)
            await witness.toggle(second)
            refused = [await witness.delete(task_id) for task_id in others[:5]]
            await asyncio.gather(*[witness.create() for _ in range(20)])
            await witness.compare()
            disk.filler.unlink()

            assert [True] * 5 == [await witness.create() for _ in range(5)]
            assert [True] * 5 == [done or await witness.delete(id_) for done, id_ in zip(refused, others, strict=False)]
            await witness.compare()
            assert 200 == (await client.get("/readyz")).status_code

        assert ["ok"] == integrity(file)

    @pytest.mark.parametrize("free", [0, 4096, 16384, 24576, 32768, 49152, 65536, 81920])
    async def test_it_may_be_full_at_the_start(
        self, disk: Disk, file: Path, user_id: str, tasks_url: str, free: int
    ) -> None:
        """With any amount of space, the start either succeeds or leads to a 503, and leaves no partial schema."""
        disk.fill(free)
        async with serving(file, user_id) as client:
            witness = Witness(client, tasks_url)
            await witness.fill()
            assert (await client.get("/readyz")).status_code in (200, 503)
            disk.filler.unlink()

            assert await witness.create()
            assert 200 == (await client.get("/readyz")).status_code
            await witness.compare()

        assert ["ok"] == integrity(file)

    async def test_a_restart_finds_everything(self, disk: Disk, file: Path, user_id: str, tasks_url: str) -> None:
        """A server that is stopped and started on a full disk loses nothing."""
        disk.fill(600_000)
        async with serving(file, user_id) as client:
            before = Witness(client, tasks_url)
            await before.fill()
        async with serving(file, user_id) as client:
            after = Witness(client, tasks_url)
            after.tasks = before.tasks
            await after.compare()
            disk.filler.unlink()
            assert await after.create()

    @pytest.mark.parametrize("free", [0, 8192])
    def test_a_migration_fails_with_one_line(self, disk: Disk, file: Path, free: int) -> None:
        """`taskd migrate` changes nothing, and works when there is space."""
        disk.fill(free)
        refused = invoke("migrate", settings=settings_of(file))
        disk.filler.unlink()

        assert (1, "taskd: SQLITE_FULL\n") == (refused.exit_code, refused.output)
        assert 0 == invoke("migrate", settings=settings_of(file)).exit_code


class TestReadOnly:
    @pytest.mark.parametrize("what", ["folder", "file"])
    async def test_it_is_a_503_until_it_can_be_written(
        self, disk: Disk, folder: Path, file: Path, user_id: str, tasks_url: str, what: str
    ) -> None:
        """Once the file can be written, everything works without a restart, and all tasks exist."""
        async with serving(file, user_id) as client:
            before = Witness(client, tasks_url)
            assert await before.create()
        with contextlib.ExitStack() as until_it_can:
            until_it_can.enter_context(disk.read_only({"folder": folder, "file": file}[what]))
            async with serving(file, user_id) as client:
                await assert_unavailable(client, tasks_url)
                until_it_can.close()

                after = Witness(client, tasks_url)
                after.tasks = before.tasks
                await after.compare()
                assert await after.create()

        assert ["ok"] == integrity(file)

    def test_a_migration_reports_the_cause(self, disk: Disk, folder: Path, file: Path) -> None:
        """`taskd migrate` prints the system's error."""
        with disk.read_only(folder):
            refused = invoke("migrate", settings=settings_of(file))

        assert (1, "taskd: Read-only file system\n") == (refused.exit_code, refused.output)


@pytest.fixture(params=["the same disk", "another disk"])
def alone(request: pytest.FixtureRequest, disk: Disk, folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A file that is mounted without its folder."""
    (folder / "volume").mkdir()
    source = folder / "volume" / "a b.db"
    place = folder / "container" if request.param == "the same disk" else tmp_path / "container"
    place.mkdir()
    target = place / "tasks.db"
    source.touch()
    target.touch()
    with disk.mounted_at(target, source):
        yield target


class TestMountedAlone:
    async def test_nothing_is_acknowledged_that_the_container_would_lose(
        self, alone: Path, user_id: str, tasks_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The journal of such a file would be elsewhere, so nothing is written; the log says what to mount."""
        async with serving(alone, user_id) as client:
            await assert_unavailable(client, tasks_url)
            assert 503 == (await client.get("/readyz")).status_code
        [line] = [record.getMessage() for record in caplog.records]

        assert line.startswith("SQLite file tasks.db is unavailable: it is mounted without its folder")
        assert line.endswith("mount the folder")
        assert [alone] == list(alone.parent.iterdir())

    async def test_a_link_to_it_is_followed(self, alone: Path, tmp_path: Path, user_id: str, tasks_url: str) -> None:
        """SQLite keeps the journal beside the file, not beside a link to it."""
        link = tmp_path / "link.db"
        link.symlink_to(alone)
        async with serving(link, user_id) as client:
            await assert_unavailable(client, tasks_url)

    def test_a_migration_creates_no_tables(self, alone: Path) -> None:
        """`taskd migrate` fails with one line."""
        refused = invoke("migrate", settings=settings_of(alone))

        assert (1, 1) == (refused.exit_code, len(refused.output.splitlines()))
        assert refused.output.startswith("taskd: it is mounted without its folder")
        assert b"" == alone.read_bytes()

    def test_doctor_says_what_to_mount(self, alone: Path) -> None:
        """`taskd doctor` fails, and its remedy names the folder."""
        report = examined(f"sqlite:///{alone}")

        assert "folder" in report.failed()
        assert f"Mount the folder {alone.parent} instead of the file." == report.remedies["folder"]

    async def test_a_mounted_folder_works(
        self, disk: Disk, folder: Path, tmp_path: Path, user_id: str, tasks_url: str
    ) -> None:
        """Mounted with its folder, the file and its journal are on the volume."""
        place = tmp_path / "container"
        place.mkdir()
        with disk.mounted_at(place, folder):
            async with serving(place / "tasks.db", user_id) as client:
                assert await Witness(client, tasks_url).create()


class TestLocked:
    @pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
    async def test_writing_is_a_503_while_it_is_locked(
        self, file: Path, user_id: str, tasks_url: str, lock: str
    ) -> None:
        """While another process holds the lock, tasks can be read, and a refused write does not happen later."""
        async with serving(file, user_id) as client:
            witness = Witness(client, tasks_url)
            assert await witness.create()
            [known] = witness.tasks
            with locked(file, lock):
                refused = [await witness.create(), await witness.update(known), await witness.delete(known)]
                await witness.compare()

            assert [False] * 3 == refused
            await witness.compare()
            assert await witness.create()
            await witness.compare()

    async def test_reading_continues_while_a_write_waits(self, file: Path, user_id: str, tasks_url: str) -> None:
        """A write that waits for another process's lock blocks no reader, and is done once the lock is free."""
        async with serving_over(f"sqlite:///{file}", user_id) as client:
            witness = Witness(client, tasks_url)
            assert await witness.create()
            with locked(file, "IMMEDIATE"):
                creating = asyncio.create_task(client.post(tasks_url, json={"title": "t"}))
                for _ in range(20):
                    await witness.compare()

                assert not creating.done()
            assert 201 == (await creating).status_code

    async def test_it_may_be_locked_at_the_start(self, file: Path, user_id: str, tasks_url: str) -> None:
        """A new file that another process has locked leads to a 503 until it is unlocked."""
        with contextlib.ExitStack() as until_free:
            until_free.enter_context(locked(file, "EXCLUSIVE"))
            async with serving(file, user_id) as client:
                await assert_unavailable(client, tasks_url)
                until_free.close()

                assert await Witness(client, tasks_url).create()


def _move_folder(file: Path) -> None:
    file.parent.rename(f"{file.parent}.away")


def _return_folder(file: Path) -> None:
    Path(f"{file.parent}.away").rename(file.parent)


def _replace_folder(file: Path) -> None:
    _move_folder(file)
    file.parent.mkdir()


def _hide_folder(file: Path) -> None:
    _move_folder(file)
    file.parent.touch()


def _uncover_folder(file: Path) -> None:
    file.parent.unlink()
    _return_folder(file)


def _replace(file: Path) -> None:
    other = file.with_name("other")
    other.touch()
    other.replace(file)


Change = Callable[[Path], object]
# Ways in which a file's name stops leading to it, and how to undo them, if possible.
GONE: dict[str, tuple[Change, Change | None]] = {
    "deleted": (Path.unlink, None),
    "moved": (lambda file: file.rename(f"{file}.away"), lambda file: Path(f"{file}.away").rename(file)),
    "folder moved": (_move_folder, _return_folder),
    # Renaming replaces an empty folder.
    "folder replaced": (_replace_folder, _return_folder),
    "folder replaced by a file": (_hide_folder, _uncover_folder),
    "replaced": (_replace, None),
    "journal deleted": (lambda file: file.with_name(f"{file.name}-wal").unlink(), None),
    "index of the journal deleted": (lambda file: file.with_name(f"{file.name}-shm").unlink(), None),
}


class TestGone:
    @pytest.mark.parametrize(("change", "undo"), GONE.values(), ids=GONE)
    async def test_nothing_is_acknowledged_that_a_restart_would_not_find(
        self,
        file: Path,
        user_id: str,
        tasks_url: str,
        change: Change,
        undo: Change | None,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A file that disappears leads to a 503, is logged once, and works again when it is put back."""
        async with serving(file, user_id) as client:
            witness = Witness(client, tasks_url)
            assert await witness.create()
            change(file)
            await assert_unavailable(client, tasks_url)
            [line] = [record.getMessage() for record in caplog.records]

            assert line.startswith("SQLite file tasks.db is unavailable: it was moved or replaced while in use")
            if undo is not None:
                undo(file)
                await witness.compare()
                assert await witness.create()
                assert ["ok"] == integrity(file)


class TestProcesses:
    async def test_opening_a_file_keeps_the_locks_of_the_process(
        self, file: Path, user_id: str, tasks_url: str
    ) -> None:
        """Closing a descriptor of the file would drop them, so only SQLite opens it."""
        async with serving(file, user_id) as client:
            assert await Witness(client, tasks_url).create()
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN IMMEDIATE")
            async with serving(file, user_id) as client:
                await assert_unavailable(client, tasks_url)
            script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
            other = await asyncio.to_thread(run_python, "-c", script, str(file), settings={})

        assert "database is locked" in other.stderr

    def test_two_servers_share_a_file(self, file: Path, user_id: str, tasks_url: str) -> None:
        """Two processes that create and use the same file lose nothing acknowledged, even if one is killed."""
        environ = child_environ({**settings_of(file), "TASKD_SQL_STATEMENT_TIMEOUT": "5"})
        with ThreadPoolExecutor(8) as threads, contextlib.ExitStack() as servers:
            # They start at the same time.
            starting = [threads.submit(servers.enter_context, running_server(environ, SERVE)) for _ in range(2)]
            killed, kept = [each.result() for each in starting]

            headers = {"Authorization": f"Bearer {token_for(user_id)}"}
            clients = [
                servers.enter_context(httpx.Client(base_url=server.url, headers=headers)) for server in (killed, kept)
            ]

            def create(number: int) -> str | None:
                with contextlib.suppress(httpx.TransportError):
                    response = clients[number % 2].post(tasks_url, json={"title": "t"})
                    return str(response.json()["id"]) if _is_done(response) else None
                return None

            creating = [threads.submit(create, number) for number in range(80)]
            creating[40].result()
            killed.kill()
            acknowledged = {made for each in creating if (made := each.result())}
            response = clients[1].get(tasks_url)
            kept.stop()

        assert acknowledged <= {task["id"] for task in response.json()}
        assert 40 <= len(acknowledged) <= 80
        assert ["ok"] == integrity(file)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids="{:03o}".format)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set the umask."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
class TestMode:
    async def test_others_cannot_read_files_of_the_server(self, file: Path, user_id: str, tasks_url: str) -> None:
        """With any umask, only the owner and the group can access the file and those beside it."""
        async with serving(file, user_id) as client:
            assert await Witness(client, tasks_url).create()
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}

        assert {"tasks.db", "tasks.db-shm", "tasks.db-wal"} == set(modes)
        assert [] == [name for name, mode in modes.items() if mode & ~0o640]

    def test_others_cannot_read_files_of_a_migration(self, file: Path) -> None:
        """With any umask, only the owner and the group can access the file."""
        assert 0 == invoke("migrate", settings=settings_of(file)).exit_code
        assert 0 == stat.S_IMODE(file.stat().st_mode) & ~0o640

    async def test_the_mode_of_an_existing_file_is_kept(self, file: Path, user_id: str, tasks_url: str) -> None:
        """The owner of the file has decided who may read it."""
        file.touch()
        file.chmod(0o600)
        async with serving(file, user_id) as client:
            assert await Witness(client, tasks_url).create()
            modes = {stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}

        assert {0o600} == modes
