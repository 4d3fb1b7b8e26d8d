"""`taskd backup` and `taskd restore`."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shlex
import signal
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskd_sql import backups
from tests.data.conftest import Run, fill
from tests.support.databases import PostgresPlace, SQLitePlace
from tests.support.documentation import blocks
from tests.support.migrating import migrate


@pytest.fixture
def filled_file(sqlite_place: SQLitePlace) -> SQLitePlace:
    """A file with tasks."""
    fill(sqlite_place)
    return sqlite_place


@contextlib.contextmanager
def writing(place: SQLitePlace) -> Iterator[None]:
    """Write all the time, each time a task and then another one, in one transaction."""
    stop, begun = threading.Event(), threading.Event()
    insert = (
        "INSERT INTO tasks (user_id, id, title, status, priority, created_at, updated_at, version)"
        " SELECT 'writer', lower(hex(randomblob(16))), ?, status, priority, created_at, updated_at, 1"
        " FROM tasks WHERE user_id = 'alice' AND status = 'pending'"
    )

    def write() -> None:
        with contextlib.closing(sqlite3.connect(place.file, timeout=60)) as connection:
            number = 0
            while not stop.is_set():
                with connection:
                    connection.execute(insert, [f"{number} first"])
                    connection.execute(insert, [f"{number} second"])
                number += 1
                begun.set()

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def no_larger_files_than(size: int) -> Iterator[None]:
    """Let this process write no files of more than *size* bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestBackup:
    def test_a_backup_is_restored_elsewhere(self, filled_file: SQLitePlace, tmp_path: Path, run: Run) -> None:
        """A backup is one private file with everything, and is restored with counters that no client has seen."""
        elsewhere = SQLitePlace(tmp_path / "elsewhere.db")
        before = run(filled_file, "export").output

        made = run(filled_file, "backup", "copy.db")
        restored = run(elsewhere, "restore", "copy.db")

        contents = "tasks: 4; users with tasks: 2; revision of the schema: 0003_serves_0001\n"
        assert (0, f"Wrote copy.db.\n{contents}") == (made.exit_code, made.output)
        assert (0, f"Restored copy.db.\n{contents}") == (restored.exit_code, restored.output)
        assert 0o600 == stat.S_IMODE(Path("copy.db").stat().st_mode)
        assert [] == [*Path().glob("copy.db?*"), *Path().glob(".copy.db*")]
        after = run(elsewhere, "export").output
        assert before == after.replace('"seq":100000', '"seq":')
        assert {"1000003", "1000004"} >= {*elsewhere.run("SELECT seq FROM owners WHERE user_id <> 'bob'")}

    def test_nothing_is_overwritten(self, filled_file: SQLitePlace, run: Run) -> None:
        """An existing file stays as it is, and so does a database."""
        Path("copy.db").write_text("mine")
        refused = run(filled_file, "backup", "copy.db")
        run(filled_file, "backup", "other.db")
        over = run(filled_file, "restore", "other.db")

        assert (1, "mine") == (refused.exit_code, Path("copy.db").read_text())
        assert "taskd: copy.db exists, and nothing is overwritten" in refused.output
        assert (1, f"taskd: {filled_file.file} exists: stop all servers, and move it away\n") == (
            over.exit_code,
            over.output,
        )

    def test_file_systems_without_links_will_do(
        self, filled_file: SQLitePlace, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Backups and restored files then get their names by being renamed."""

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        elsewhere = SQLitePlace(tmp_path / "elsewhere.db")
        results = [run(filled_file, "backup", "copy.db"), run(elsewhere, "restore", "copy.db")]

        assert [0, 0] == [each.exit_code for each in results], results
        assert [Path("copy.db")] == [*Path().glob("*copy.db*")]
        assert [elsewhere.file] == [*tmp_path.glob("*elsewhere*")]

    def test_a_copy_that_is_terminated_leaves_nothing_behind(
        self, filled_file: SQLitePlace, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody would look for half a copy of all tasks, neither of a backup nor of what is restored."""
        elsewhere = SQLitePlace(tmp_path / "elsewhere.db")
        run(filled_file, "backup", "copy.db")
        verified = backups._verified

        def interrupt(connection: sqlite3.Connection) -> str:
            assert [*Path().glob(".other.db.*"), *tmp_path.glob(".elsewhere.db.*")]
            os.kill(os.getpid(), signal.SIGTERM)
            return verified(connection)

        monkeypatch.setattr(backups, "_verified", interrupt)
        results = [run(filled_file, "backup", "other.db"), run(elsewhere, "restore", "copy.db")]

        assert [128 + signal.SIGTERM] * 2 == [each.exit_code for each in results]
        assert [] == [*Path().glob("*other.db*"), *tmp_path.glob(".elsewhere*")]
        assert signal.SIG_DFL is signal.getsignal(signal.SIGTERM)

    def test_a_restored_file_is_on_the_disk(
        self, filled_file: SQLitePlace, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its name is, too: the file and its folder are synced, as those of a backup are."""
        elsewhere, synced = SQLitePlace(tmp_path / "elsewhere.db"), []
        run(filled_file, "backup", "copy.db")
        sync = os.fsync

        def note(descriptor: int) -> None:
            synced.append(os.fstat(descriptor).st_ino)
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", note)
        run(elsewhere, "restore", "copy.db")

        assert [elsewhere.file.stat().st_ino, tmp_path.stat().st_ino] == synced

    def test_a_backup_is_of_one_moment(self, filled_file: SQLitePlace, run: Run) -> None:
        """While somebody writes all the time, it is made, and has no half of a transaction."""
        with writing(filled_file):
            made = run(filled_file, "backup", "copy.db")

        assert 0 == made.exit_code, made.output
        titles = SQLitePlace(Path("copy.db")).run("SELECT title FROM tasks WHERE user_id = 'writer'")
        numbers = {title.split()[0] for title in titles}
        assert numbers
        assert {f"{number} {which}" for number in numbers for which in ("first", "second")} == {*titles}

    def test_what_is_in_the_journal_is_in_the_backup(self, filled_file: SQLitePlace, run: Run) -> None:
        """Unlike a copy of the file, a backup has what a running server has only written to its journal."""
        with contextlib.closing(sqlite3.connect(filled_file.file, isolation_level=None)) as connection:
            connection.execute("UPDATE tasks SET title = 'in the journal' WHERE user_id = 'alice'")
            assert b"in the journal" not in filled_file.file.read_bytes()
            run(filled_file, "backup", "copy.db")

        assert b"in the journal" in Path("copy.db").read_bytes()

    def test_a_damaged_file_is_not_restored(self, filled_file: SQLitePlace, tmp_path: Path, run: Run) -> None:
        """It is verified before anything takes its place."""
        elsewhere = SQLitePlace(tmp_path / "elsewhere.db")
        run(filled_file, "backup", "copy.db")
        with Path("copy.db").open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 4096)
        Path("notes.txt").write_text("no database" * 1000)

        for name in ("copy.db", "notes.txt"):
            result = run(elsewhere, "restore", name)

            [line] = result.output.splitlines()
            assert (1, True) == (result.exit_code, line.startswith("taskd: the copy ")), line
        assert [] == [*tmp_path.glob("*elsewhere*")]

    def test_a_full_disk(self, filled_file: SQLitePlace, tmp_path: Path, run: Run) -> None:
        """A copy that cannot be completed leaves nothing behind, not even a journal of SQLite's."""
        elsewhere = SQLitePlace(tmp_path / "elsewhere.db")
        run(filled_file, "backup", "copy.db")
        with no_larger_files_than(8192):
            made = run(filled_file, "backup", "second.db")
            restored = run(elsewhere, "restore", "copy.db")

        for result in (made, restored):
            assert (1, True) == (result.exit_code, result.output.startswith("taskd: the copy failed: SQLITE_"))
        assert [] == [*Path().glob("*second*"), *tmp_path.glob("*elsewhere*")]

    def test_the_guide_s_commands_for_postgresql(self, postgres_place: PostgresPlace, run: Run) -> None:
        """What they restore has the same tasks, all of the schema, and counters that no client has seen."""
        migrate(postgres_place)
        fill(postgres_place)
        elsewhere = PostgresPlace.make(postgres_place.server)
        dump = postgres_place.server.data.parent / f"{postgres_place.name}.dump"
        place: PostgresPlace = postgres_place
        for line in "".join(blocks("docs/guides/data.md", "sh")).splitlines():
            program, *arguments = shlex.split(line.replace("$DATABASE_URL", place.url))
            if program != "taskd":
                files = [each.replace("taskd.dump", str(dump)) for each in arguments]
                place.server.run(program, *files)
            # The next commands are for the new database.
            place = elsewhere

        before, after = run(postgres_place, "export").output, run(elsewhere, "export").output
        assert before == after.replace('"seq":100000', '"seq":')
        made = [[line for line in each.schema() if line.startswith("CREATE ")] for each in (postgres_place, elsewhere)]
        assert made[0] == made[1]

    @pytest.mark.parametrize("command", ["backup", "restore"])
    def test_postgresql_has_tools_of_its_own(self, postgres_place: PostgresPlace, run: Run, command: str) -> None:
        """One line names them, and the guide, and no file is left."""
        if command == "restore":
            Path("file").touch()

        result = run(postgres_place, command, "file")

        [line] = result.output.splitlines()
        assert 1 == result.exit_code
        assert "pg_dump" in line or "pg_restore" in line
        assert "docs/guides/data.md" in line
        assert (command == "restore") == Path("file").exists()
