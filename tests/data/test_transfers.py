"""`taskd export` and `taskd import`, from one database to the other and back."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from taskd.cli.main import main
from taskd_sql import sessions
from taskd_sql.sessions import Session
from tests.data.conftest import Run
from tests.support.databases import Place, PostgresPlace, SQLitePlace, holding
from tests.support.migrating import migrate
from tests.support.pgbouncer import PgBouncer

LINES: list[dict[str, Any]] = [
    {"kind": "export", "format": 1},
    {"kind": "user", "id": "alice", "seq": 5},
    {
        "kind": "task",
        "id": "019ab7d4-5c00-7b2a-9d3e-4f5061728394",
        "title": "Secret plans",
        "description": None,
        "status": "completed",
        "priority": "medium",
        "due_at": "2026-11-25T12:00:00.000001+01:00",
        "tags": ["a"],
        "created_at": "2026-11-25T00:00:00Z",
        "updated_at": "2026-11-25T00:00:00Z",
        "completed_at": "2026-11-25T00:00:00Z",
        "version": 3,
    },
    {"kind": "key", "key": "k", "fingerprint": "AP8=", "task_id": "019ab7d4-5c00-7b2a-9d3e-4f5061728394",
     "created_at": "2026-11-25T00:00:00Z"},
    {"kind": "end", "tasks": 1, "keys": 1},
    {"kind": "done", "users": 1},
]  # fmt: skip
TASK, DONE = 2, 5


def written(lines: list[Any], file: Path) -> str:
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return str(file)


class TestRoundTrips:
    def test_everything_survives_two_moves(self, filled: Place, others: list[Place], run: Run) -> None:
        """From either database to either one, the export of the copy is that of the original, byte for byte."""
        original = run(filled, "export")

        assert 0 == original.exit_code, original.output
        assert "Secret plans" in original.output
        for other in others:
            Path("all.ndjson").write_text(original.output)
            imported = run(other, "import", "all.ndjson")

            assert "Imported 3 users with 4 tasks.\n" == imported.output
            assert original.output == run(other, "export").output

    def test_an_import_can_be_repeated(self, filled: Place, others: list[Place], run: Run) -> None:
        """Users who were imported before an interruption are compared, not imported twice."""
        run(filled, "export", "all.ndjson")
        interrupted = Path("all.ndjson").read_text().split("\n")[:-5]
        for other in others:
            first = run(other, "import", written([*interrupted], Path("part.ndjson")))
            again = run(other, "import", "all.ndjson")

            assert 1 == first.exit_code
            assert first.output.splitlines()[-1].endswith(" is missing: the file ends before the export does")
            assert "Imported 1 user with 2 tasks. 2 users had the same tasks already.\n" == again.output
            assert 0 == again.exit_code

    def test_one_user(self, filled: Place, run: Run) -> None:
        """An export can be of one user; an unknown one is an error, and leaves no file."""
        ids = [line["id"] for line in map(json.loads, run(filled, "export", "--user", "zo\xeb").output.split("\n")[:-1])
               if line["kind"] == "user"]  # fmt: skip
        unknown = run(filled, "export", "--user", "nobody", "nobody.ndjson")

        assert ["zo\xeb"] == ids
        assert (1, "taskd: there is nothing of the user 'nobody'\n") == (unknown.exit_code, unknown.output)
        assert [] == [*Path().glob("*nobody*")]

    def test_a_file_is_private_and_never_replaced(self, filled: Place, run: Run) -> None:
        """Only this user can read an export."""
        first, second = [run(filled, "export", "all.ndjson") for _ in range(2)]

        assert (0, "Exported 3 users with 4 tasks to all.ndjson.\n") == (first.exit_code, first.output)
        assert 0o600 == stat.S_IMODE(Path("all.ndjson").stat().st_mode)
        assert (1, True) == (second.exit_code, "nothing is overwritten" in second.output)

    def test_a_file_that_does_not_exist_is_not_made(self, sqlite_place: SQLitePlace, run: Run) -> None:
        """In the wrong folder, there is nothing to export, and there is no new database."""
        for command in (["export"], ["stats"], ["erase", "alice", "--yes"], ["backup", "copy.db"]):
            result = run(sqlite_place, *command)

            assert (1, f"taskd: there is no file {sqlite_place.file}: check DATABASE_URL\n") == (
                result.exit_code,
                result.output,
            )
        assert [] == [*Path().iterdir()]

    def test_tasks_from_before_versions(self, place: Place, others: list[Place], run: Run) -> None:
        """A task with the version 0 keeps it, and its owner gets a counter."""
        migrate(place)
        task = {**LINES[TASK], "version": 0}
        file = written([*LINES[:TASK], task, *LINES[TASK + 1 :]], Path("old.ndjson"))
        for other in (place, *others):
            assert 0 == run(other, "import", file).exit_code
            assert ["0"] == other.run("SELECT version FROM tasks")


class TestServers:
    def test_through_a_pooler(self, postgres_place: PostgresPlace, pooler: PgBouncer) -> None:
        """Each transaction stays on one connection, and no prepared statement is left over."""
        migrate(postgres_place)
        environ = {"DATABASE_URL": pooler.url(postgres_place.name), "TASKD_SQL_POOLER": "yes"}
        file = written(LINES, Path("all.ndjson"))

        imported, exported, counted, erased = [
            CliRunner().invoke(main, command, env=environ)
            for command in (["import", file], ["export"], ["stats"], ["erase", "alice", "--yes"])
        ]

        assert [0] * 4 == [result.exit_code for result in (imported, exported, counted, erased)]
        assert "Secret plans" in exported.output
        assert [] == postgres_place.run("SELECT id FROM tasks")

    def test_a_frozen_server(self, postgres_place: PostgresPlace, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """The command gives up after a time-out, and says so."""
        migrate(postgres_place)
        monkeypatch.setattr(sessions, "WORK_TIMEOUT_S", 1)
        original = Session.run
        frozen: list[int] = []

        async def freezing(session: Session, *arguments: Any) -> Any:
            result = await original(session, text("SELECT pg_backend_pid()"))
            frozen.append(result.scalar_one())
            os.kill(frozen[0], signal.SIGSTOP)
            return await original(session, *arguments)

        monkeypatch.setattr(Session, "run", freezing)
        try:
            result = run(postgres_place, "erase", "alice", "--yes")
        finally:
            os.kill(frozen[0], signal.SIGCONT)

        assert (1, "taskd: the database stopped responding: is it frozen or overloaded?\n") == (
            result.exit_code,
            result.output,
        )

    def test_a_row_that_somebody_holds(self, filled: Place, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """Erasing waits for a while, and then changes nothing."""
        monkeypatch.setattr(sessions, "LOCK_TIMEOUT_S", 0.2)
        monkeypatch.setattr(sessions, "_POSTGRES_LIMITS", ("SET LOCAL lock_timeout = '200ms'",))
        before = run(filled, "export").output
        # What a write of alice's needs.
        with holding(filled, "BEGIN IMMEDIATE", "UPDATE owners SET seq = seq WHERE user_id = 'alice'"):
            result = run(filled, "erase", "alice", "--yes")

        assert 1 == result.exit_code
        [line] = result.output.splitlines()
        assert line.endswith(": try again later")
        assert before == run(filled, "export").output


class TestConflicts:
    @pytest.fixture
    def known(self, filled: Place, run: Run) -> Place:
        """A database where a user has changed a task since the export `all.ndjson`."""
        run(filled, "export", "all.ndjson")
        filled.run("UPDATE tasks SET title = 'changed' WHERE user_id = 'alice' AND title = 'other'")
        return filled

    def test_other_tasks_are_not_touched(self, known: Place, run: Run) -> None:
        """The import stops at that user, and says what can be done."""
        before = run(known, "export").output

        result = run(known, "import", "all.ndjson")

        assert 1 == result.exit_code
        assert (
            "taskd: line 2 begins the user 'alice', who has other tasks already: add --skip to keep them, or --replace"
            == result.output.splitlines()[-1]
        )
        assert before == run(known, "export").output

    def test_they_can_be_kept(self, known: Place, run: Run) -> None:
        """With --skip, the import goes on with the next user."""
        before = run(known, "export").output

        result = run(known, "import", "--skip", "all.ndjson")

        same, kept = "2 users had the same tasks already.", "1 user had other tasks, and kept them."
        assert (0, f"Imported 0 users with 0 tasks. {same} {kept}\n") == (result.exit_code, result.output)
        assert before == run(known, "export").output

    def test_they_can_be_replaced(self, known: Place, run: Run) -> None:
        """With --replace, that user has the tasks of the file again, with versions that nobody has seen."""
        seq = int(known.run("SELECT seq FROM owners WHERE user_id = 'alice'")[0])

        result = run(known, "import", "--replace", "all.ndjson")

        assert "Imported 1 user with 2 tasks. 1 user had other tasks, which were replaced." in result.output
        assert ["Secret plans", "other"] == sorted(known.run("SELECT title FROM tasks WHERE user_id = 'alice'"))
        assert seq < int(known.run("SELECT min(version) FROM tasks WHERE user_id = 'alice'")[0])


# What to put in the place of a line, and what is said about it.
MISTAKES: dict[str, tuple[int, Any, str]] = {
    "no export": (0, "Secret", "line 1 is not valid JSON in UTF-8"),
    "another file": (0, {"kind": "user", "id": "alice", "seq": 1}, "line 1 is not the first line of an export"),
    "a later format": (0, {"kind": "export", "format": 2}, "line 1 has format 2, but this version of taskd knows 1"),
    "a list": (TASK, [], "line 3 is not a JSON object"),
    "no kind": (TASK, {"title": "Secret"}, "line 3 must have a kind: export, user, task, key, end, done"),
    "a key that is a list": (TASK, {"kind": []}, "line 3 must have a kind"),
    "no title": (TASK, {"kind": "task", "id": LINES[TASK]["id"]}, "line 3 has no title"),
    "a wrong title": (TASK, {**LINES[TASK], "title": " "}, "line 3 title must be a text of 1 to 200 characters"),
    "a surrogate": (TASK, {**LINES[TASK], "title": "Secret \ud800"}, "line 3 is not valid JSON in UTF-8"),
    "a wrong status": (TASK, {**LINES[TASK], "status": "Secret"}, "line 3 status must be one of pending, in_progress"),
    "open, but completed": (TASK, {**LINES[TASK], "status": "pending"}, "line 3 completed_at must be a time exactly"),
    "repeated tags": (TASK, {**LINES[TASK], "tags": ["Secret", "Secret"]}, "line 3 tags must be different"),
    "a version too high": (TASK, {**LINES[TASK], "version": 6}, "line 3 has a version that is higher"),
    "a time too late": (TASK, {**LINES[TASK], "due_at": "9999-12-31T23:59:59-01:00"}, "line 3 a time must be in"),
    "a later field": (TASK, {**LINES[TASK], "colour": "Secret"}, "line 3 has the field colour, which this version"),
    "a strange field": (TASK, {**LINES[TASK], "Secret plans": 1}, "line 3 has a field, which this version"),
    "no user": (1, {"kind": "user", "id": "", "seq": 1}, "line 2 id must be a text of 1 to 255 characters"),
    "a seq that leaves no room": (1, {**LINES[1], "seq": 2**53}, "line 2 seq must be a whole number from 0 to"),
    "a user that no path has": (1, {"kind": "user", "id": "..", "seq": 1}, "line 2 id must be a text of 1 to 255"),
    "a wrong count": (4, {"kind": "end", "tasks": 2, "keys": 1}, "line 5 counts 2 tasks and 1 keys, but"),
    "a wrong key": (3, {**LINES[3], "key": "Secret\n"}, "line 4 key must be a text of 1 to 255 visible"),
    "the same task twice": (3, LINES[TASK], "line 4 has an id that does not come after that of the previous task"),
    "a user too early": (3, LINES[1], "line 4 comes before the end of the user"),
    "a wrong number of users": (DONE, {"kind": "done", "users": 2}, "line 6 counts 2 users, but there are 1"),
    "the same user twice": (DONE, LINES[1], "line 6 begins a user who does not come after the previous one"),
    "a task without a user": (DONE, LINES[TASK], "line 6 must begin another user, or be the end of the export"),
    "a long line": (TASK, "9" * 300_000, "line 3 is longer than 262144 bytes"),
}  # fmt: skip
# Those that come after the user.
LATE = {"a wrong number of users", "the same user twice", "a task without a user"}


class TestMistakes:
    @pytest.fixture(scope="class")
    @classmethod
    def database(cls, tmp_path_factory: pytest.TempPathFactory) -> SQLitePlace:
        return SQLitePlace(tmp_path_factory.mktemp("mistakes") / "tasks.db")

    @pytest.fixture(autouse=True)
    def _emptied(self, database: SQLitePlace) -> Iterator[None]:
        yield
        database.run("DELETE FROM tasks; DELETE FROM owners; DELETE FROM idempotency_keys")

    @pytest.mark.parametrize("name", MISTAKES)
    def test_a_wrong_line_is_named_and_not_quoted(self, database: SQLitePlace, run: Run, name: str) -> None:
        """The error says which line it is and what is wrong with it, and nothing of the user is imported."""
        position, instead, message = MISTAKES[name]
        file = written([*LINES[:position], instead, *LINES[position + 1 :]], Path("wrong.ndjson"))

        result = run(database, "import", file)

        last = result.output.splitlines()[-1]
        assert (1, True) == (result.exit_code, last.startswith(f"taskd: {message}")), result.output
        assert "Secret" not in result.output
        assert (name in LATE) == bool(database.run("SELECT id FROM tasks"))

    def test_stdin(self, database: SQLitePlace) -> None:
        """The file may be a pipe."""
        lines = "".join(f"{json.dumps(line)}\n" for line in LINES)
        result = CliRunner().invoke(main, ["import", "-"], input=lines, env={"DATABASE_URL": database.url})

        assert (0, "Imported 1 user with 1 task.\n") == (result.exit_code, result.output)
        with closing(sqlite3.connect(database.file)) as connection:
            assert [("2026-11-25T11:00:00.000001+00:00",)] == connection.execute("SELECT due_at FROM tasks").fetchall()


@pytest.mark.parametrize("command", [["export"], ["stats"], ["erase", "alice", "--yes"]], ids=lambda each: each[0])
def test_a_database_without_tables(postgres_place: PostgresPlace, run: Run, command: list[str]) -> None:
    """One line says what to do."""
    result = run(postgres_place, *command)

    assert (1, True) == (result.exit_code, result.output.endswith(": run taskd migrate\n"))
