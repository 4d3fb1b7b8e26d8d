"""SQLite under pressure: others at the same file, disks that are full or read-only, files that go away."""

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
from tests.commands import invoke
from tests.conftest import SECRET, token_for
from tests.mounts import Disk, mounted
from tests.processes import SERVE, child_environ
from tests.serving import assert_unavailable
from tests.serving import serving as serving_over

pytestmark = pytest.mark.anyio

LONG = "x" * 9000
# A statement that waits for others in vain gives up soon.
IMPATIENT = {"TASKD_SQL_STATEMENT_TIMEOUT": "0.5"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the file is."""
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture
def file(folder: Path) -> Path:
    """The file, which is not there yet."""
    return folder / "tasks.db"


@pytest.fixture
def disk(folder: Path) -> Iterator[Disk]:
    """A small disk, where the file is."""
    with mounted(folder, "1m") as made:
        yield made


def settings_of(file: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"sqlite:///{file}", "BETTER_AUTH_SECRET": SECRET, **IMPATIENT}


def serving(file: Path, user_id: str) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    return serving_over(f"sqlite:///{file}", user_id, **IMPATIENT)


@attrs.define
class Witness:
    """
    A client who remembers what was acknowledged, and takes no answer but a success and a 503 that says when to return.

    Attributes:
        tasks: What must be there, by id.
    """

    client: httpx.AsyncClient
    url: str
    tasks: dict[str, Any] = attrs.field(init=False, factory=dict)

    async def create(self, description: str = LONG) -> bool:
        answer = await self.client.post(self.url, json={"title": "t", "description": description})
        return self._remember(answer)

    async def toggle(self, task_id: str) -> bool:
        return self._remember(await self.client.patch(f"{self.url}/{task_id}/complete"))

    async def update(self, task_id: str) -> bool:
        answer = await self.client.put(f"{self.url}/{task_id}", json={"description": LONG.upper()})
        return self._remember(answer)

    async def delete(self, task_id: str) -> bool:
        answer = await self.client.delete(f"{self.url}/{task_id}")
        if _is_done(answer):
            del self.tasks[task_id]
        return answer.is_success

    async def fill(self) -> None:
        """Create tasks until there is no room."""
        while await self.create():
            assert len(self.tasks) < 1000

    async def compare(self) -> None:
        """See that all that was acknowledged is there, and nothing else."""
        answer = await self.client.get(self.url)
        assert _is_done(answer), answer.text
        assert self.tasks == {task["id"]: task for task in answer.json()}

    def _remember(self, answer: httpx.Response) -> bool:
        if _is_done(answer):
            self.tasks[answer.json()["id"]] = answer.json()
        return answer.is_success


def _is_done(answer: httpx.Response) -> bool:
    """Tell an acknowledgement from a proper 503; there may be nothing else."""
    assert answer.is_success or (answer.status_code == 503 and 1 <= int(answer.headers["Retry-After"]) <= 60), (
        answer.text
    )
    return answer.is_success


def integrity(file: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return [row[0] for row in connection.execute("PRAGMA integrity_check")]


@contextlib.contextmanager
def locked(file: Path, lock: str) -> Iterator[None]:
    """Hold a lock of an SQLite file, without ever writing to it."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(f"BEGIN {lock}")
        yield
        connection.execute("ROLLBACK")


class TestMounts:
    @pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
    def test_a_disk_that_cannot_be_had_is_missed_in_ci_only(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
    ) -> None:
        """Where all tests have to be run, none is skipped in silence."""
        monkeypatch.setenv("CI", ci)
        with pytest.raises(outcome, match="no file system can be mounted"):
            mounted(folder, "no size").__enter__()


class TestDiskFull:
    async def test_it_is_a_503_until_there_is_room(self, disk: Disk, file: Path, user_id: str, tasks_url: str) -> None:
        """What was acknowledged stays, whatever is tried on the full disk, and with room all works again."""
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
    async def test_it_may_be_so_at_the_start(
        self, disk: Disk, file: Path, user_id: str, tasks_url: str, free: int
    ) -> None:
        """A start with any room too little is a 503 until there is enough, and leaves no half of a schema."""
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

    async def test_a_start_after_it_finds_everything(
        self, disk: Disk, file: Path, user_id: str, tasks_url: str
    ) -> None:
        """A server that is stopped and started on a full disk has lost nothing."""
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
    def test_a_migration_says_it_in_one_line(self, disk: Disk, file: Path, free: int) -> None:
        """`taskd migrate` fails as a whole, and works when there is room."""
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
        """A file that cannot be written serves as soon as it can, without a restart, and with all its tasks."""
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

    def test_a_migration_says_it_in_one_line(self, disk: Disk, folder: Path, file: Path) -> None:
        """`taskd migrate` tells what the system said."""
        with disk.read_only(folder):
            refused = invoke("migrate", settings=settings_of(file))

        assert (1, "taskd: Read-only file system\n") == (refused.exit_code, refused.output)


class TestLocked:
    @pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
    async def test_writing_is_a_503_until_it_is_free(self, file: Path, user_id: str, tasks_url: str, lock: str) -> None:
        """While another process holds the file tasks can be read, and what was refused is not written later."""
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

    async def test_reading_goes_on_while_a_write_waits(self, file: Path, user_id: str, tasks_url: str) -> None:
        """A write that waits for another process's lock holds up nobody who reads, and is done when it is free."""
        async with serving_over(f"sqlite:///{file}", user_id) as client:
            witness = Witness(client, tasks_url)
            assert await witness.create()
            with locked(file, "IMMEDIATE"):
                creating = asyncio.create_task(client.post(tasks_url, json={"title": "t"}))
                for _ in range(20):
                    await witness.compare()

                assert not creating.done()
            assert 201 == (await creating).status_code

    async def test_it_may_be_so_at_the_start(self, file: Path, user_id: str, tasks_url: str) -> None:
        """A new file that another process holds is a 503 until that lets go."""
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
# Ways in which a file is no longer what its name leads to; those that can be undone come with how.
GONE: dict[str, tuple[Change, Change | None]] = {
    "deleted": (Path.unlink, None),
    "moved": (lambda file: file.rename(f"{file}.away"), lambda file: Path(f"{file}.away").rename(file)),
    "folder moved": (_move_folder, _return_folder),
    # An empty folder gives way to the one that comes.
    "folder replaced": (_replace_folder, _return_folder),
    "folder replaced by a file": (_hide_folder, _uncover_folder),
    "replaced": (_replace, None),
    "journal deleted": (lambda file: file.with_name(f"{file.name}-wal").unlink(), None),
    "index of the journal deleted": (lambda file: file.with_name(f"{file.name}-shm").unlink(), None),
}


class TestGone:
    @pytest.mark.parametrize(("change", "undo"), GONE.values(), ids=GONE)
    async def test_nothing_is_acknowledged_that_the_next_start_would_not_find(
        self,
        file: Path,
        user_id: str,
        tasks_url: str,
        change: Change,
        undo: Change | None,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A file that goes away under the server is a 503, said in the log once, and serves again when put back."""
        async with serving(file, user_id) as client:
            witness = Witness(client, tasks_url)
            assert await witness.create()
            change(file)
            await assert_unavailable(client, tasks_url)
            [line] = [record.getMessage() for record in caplog.records]

            assert line.startswith("SQLite file tasks.db does not serve: it was moved or replaced while in use")
            if undo is not None:
                undo(file)
                await witness.compare()
                assert await witness.create()
                assert ["ok"] == integrity(file)


class TestProcesses:
    def test_two_servers_share_a_file(self, file: Path, user_id: str, tasks_url: str) -> None:
        """Two processes that make and use one file lose nothing that either acknowledged, even when one is killed."""
        environ = child_environ({**settings_of(file), "TASKD_SQL_STATEMENT_TIMEOUT": "5"})
        with ThreadPoolExecutor(8) as threads, contextlib.ExitStack() as servers:
            # They start at once.
            starting = [threads.submit(servers.enter_context, running_server(environ, SERVE)) for _ in range(2)]
            killed, kept = [each.result() for each in starting]

            headers = {"Authorization": f"Bearer {token_for(user_id)}"}
            clients = [
                servers.enter_context(httpx.Client(base_url=server.url, headers=headers)) for server in (killed, kept)
            ]

            def create(number: int) -> str | None:
                with contextlib.suppress(httpx.TransportError):
                    answer = clients[number % 2].post(tasks_url, json={"title": "t"})
                    return str(answer.json()["id"]) if _is_done(answer) else None
                return None

            creating = [threads.submit(create, number) for number in range(80)]
            creating[40].result()
            killed.kill()
            acknowledged = {made for each in creating if (made := each.result())}
            answer = clients[1].get(tasks_url)
            kept.stop()

        assert acknowledged <= {task["id"] for task in answer.json()}
        assert 40 <= len(acknowledged) <= 80
        assert ["ok"] == integrity(file)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids="{:03o}".format)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set what new files are not allowed."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
class TestMode:
    async def test_others_may_not_read_what_the_server_makes(self, file: Path, user_id: str, tasks_url: str) -> None:
        """Whatever the umask, the file and those beside it are for owner and group at most."""
        async with serving(file, user_id) as client:
            assert await Witness(client, tasks_url).create()
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}

        assert {"tasks.db", "tasks.db-shm", "tasks.db-wal"} == set(modes)
        assert [] == [name for name, mode in modes.items() if mode & ~0o640]

    def test_others_may_not_read_what_a_migration_makes(self, file: Path) -> None:
        """Whatever the umask, the file is for owner and group at most."""
        assert 0 == invoke("migrate", settings=settings_of(file)).exit_code
        assert 0 == stat.S_IMODE(file.stat().st_mode) & ~0o640

    async def test_the_mode_of_a_file_that_is_there_is_kept(self, file: Path, user_id: str, tasks_url: str) -> None:
        """Whoever made the file has decided who may read it."""
        file.touch()
        file.chmod(0o600)
        async with serving(file, user_id) as client:
            assert await Witness(client, tasks_url).create()
            modes = {stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}

        assert {0o600} == modes
