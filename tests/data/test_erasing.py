"""`taskd erase` and `taskd stats`."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import aiosqlite
import pytest
from click.testing import CliRunner

from taskd.cli.main import main
from taskd_sql import sessions
from tests.data.conftest import Run, fill
from tests.support.databases import Place, SQLitePlace
from tests.support.third_parties import STORE, Site


def stored(place: SQLitePlace) -> bytes:
    """Return what is in the file and in those beside it."""
    return b"".join(path.read_bytes() for path in place.file.parent.glob(f"{place.file.name}*"))


class TestErase:
    def test_it_asks_and_says_what_is_gone(self, filled: Place, run: Run) -> None:
        """Without a yes, nothing happens; with one, everything of that user is deleted and counted."""
        before = run(filled, "export").output
        answers = [
            CliRunner().invoke(main, ["erase", "alice"], input=answer, env={"DATABASE_URL": filled.url})
            for answer in ("", "n\n", "y\n")
        ]

        assert [1, 1, 0] == [answer.exit_code for answer in answers]
        assert all("Erase the user 'alice', who has 2 tasks, from " in answer.output for answer in answers)
        said = "Erased 2 tasks, 1 idempotency key and the counter of changes of the user 'alice'."
        assert said in answers[-1].output
        assert "Not erased: backups and exports made before, logs" in answers[-1].output
        for table in ("tasks", "owners", "idempotency_keys"):
            assert {"zo\xeb"} == {*filled.run(f"SELECT user_id FROM {table}")} - {"bob"}  # noqa: S608
        assert before != run(filled, "export").output
        again = run(filled, "erase", "alice", "--yes")
        assert (1, True) == (again.exit_code, "there is nothing of the user 'alice' in " in again.output)

    def test_the_texts_are_gone_from_the_file(self, sqlite_place: SQLitePlace, run: Run) -> None:
        """SQLite would only mark them as deleted; they are overwritten, in the journal, too."""
        fill(sqlite_place)
        assert b"Secret plans" in stored(sqlite_place)
        for user in ("alice", "zo\xeb"):
            assert 0 == run(sqlite_place, "erase", user, "--yes").exit_code

        assert b"secret plans" not in stored(sqlite_place).lower()

    def test_texts_that_stay_in_the_journal_are_reported(
        self, sqlite_place: SQLitePlace, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """While somebody reads the file, its journal cannot be emptied; when that is over, the command does it."""
        fill(sqlite_place)
        monkeypatch.setattr(sessions, "LOCK_TIMEOUT_S", 0.1)
        with contextlib.closing(sqlite3.connect(sqlite_place.file, isolation_level=None)) as reading:
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM tasks").fetchone()
            results = [run(sqlite_place, "erase", user, "--yes") for user in ("alice", "zo\xeb")]
            assert b"secret plans" in stored(sqlite_place).lower()
        again = run(sqlite_place, "erase", "alice", "--yes")

        assert [0, 0, 1] == [each.exit_code for each in (*results, again)]
        assert 2 == sum("still in the journal" in line for line in caplog.messages), caplog.messages
        assert b"secret plans" not in stored(sqlite_place).lower()

    def test_the_journal_cannot_be_emptied(
        self, sqlite_place: SQLitePlace, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """If there is no room for what is in the journal, one line says that the texts are still there."""
        fill(sqlite_place)

        async def execute(*_: object) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(aiosqlite.Connection, "execute_fetchall", execute)
            result = run(sqlite_place, "erase", "alice", "--yes")

        said = "the tasks are deleted, but their texts are still in the journal of the file (SQLITE_FULL): make room"
        assert (1, f"taskd: {said}, and try again\n") == (result.exit_code, result.output)
        assert [] == sqlite_place.run("SELECT id FROM tasks WHERE user_id = 'alice'")

    def test_a_user_who_cannot_exist(self, sqlite_place: SQLitePlace, run: Run) -> None:
        """It is a wrong argument."""
        assert [2, 2] == [run(sqlite_place, "erase", user).exit_code for user in ("..", "x" * 256)]


class TestStats:
    def test_it_counts(self, filled: Place, run: Run) -> None:
        """It shows users, tasks by status, keys, the size and the largest users, but no text."""
        shown = json.loads(run(filled, "stats", "--json").output)
        table = run(filled, "stats").output

        assert shown.pop("bytes") > 8192
        assert {
            "users": 3,
            "tasks": 4,
            "tasks_by_status": {"pending": 2, "in_progress": 0, "completed": 2},
            "idempotency_keys": 2,
            "largest_users": [{"user": "alice", "tasks": 2}, {"user": "zo\xeb", "tasks": 2}],
        } == shown
        assert ["pending", "2"] in [line.split() for line in table.splitlines()]
        assert "Secret" not in table


@pytest.mark.parametrize(
    ("command", "lack"),
    [
        (["export"], "cannot export, import, count or erase tasks"),
        (["stats"], "cannot export, import, count or erase tasks"),
        (["erase", "alice", "--yes"], "cannot export, import, count or erase tasks"),
        (["backup", "copy"], "makes no backups: try taskd export"),
    ],
    ids=lambda value: value[0],
)
def test_a_store_that_has_no_such_methods(site: Site, command: list[str], lack: str) -> None:
    """One line names the plugin, and no file is made."""
    site.install("plain", STORE)

    result = CliRunner().invoke(main, command, env={"TASKD_STORAGE": "plain"})

    assert (1, f"taskd: TASKD_STORAGE: the plugin 'plain' {lack}\n") == (result.exit_code, result.output)
