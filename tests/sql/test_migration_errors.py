"""Errors of `taskd migrate`: one line says what is wrong, and nothing is changed."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from sqlalchemy import Connection

from taskd.storage import StoreError
from taskd_sql import sessions
from taskd_sql.migrations import connection, runner
from taskd_sql.url import parse
from tests.support.databases import VERSION, Place, PostgresPlace, holding
from tests.support.doctor import examined
from tests.support.migrating import DONE, PASSWORD, UP_TO_DATE, complaint, migrate
from tests.support.postgres import SCHEMA, PostgresServer, free_port
from tests.support.processes import make_distribution
from tests.support.proxy import FOREIGN_DATA, LOOPBACK, listening, sending, silent
from tests.support.serving import RESPONSE_BOUND_S

THEIRS = "there is a table tasks that is not taskd's"


@pytest.mark.parametrize("options", [(), ("--sql",)], ids=["migrate", "sql"])
class TestErrors:
    def test_a_server_that_is_down(self, options: tuple[str, ...]) -> None:
        """One line says that there was no connection, without the password."""
        line = complaint(*options, DATABASE_URL=f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d")

        assert "ConnectionRefusedError" in line or "OSError" in line

    @pytest.mark.parametrize(
        ("user", "database", "said"),
        [
            ("nobody_known", "postgres", "28000"),
            ("taskd", "nowhere", "there is no such database"),
            ("secured", "postgres", "28"),
        ],
        ids=["user", "database", "password"],
    )
    def test_a_refused_connection(
        self, postgres: PostgresServer, options: tuple[str, ...], user: str, database: str, said: str
    ) -> None:
        """One line says what was refused."""
        host = "localhost" if user == "secured" else "127.0.0.1"
        query = "?sslmode=require" if user == "secured" else ""
        url = f"postgresql://{user}:{PASSWORD}@{host}:{postgres.port}/{database}{query}"

        assert said in complaint(*options, DATABASE_URL=url)

    def test_an_unknown_host(self, options: tuple[str, ...]) -> None:
        """One line says that the host name is unknown."""
        line = complaint(*options, DATABASE_URL=f"postgresql://u:{PASSWORD}@taskd.invalid/d")

        assert "the host name is unknown" == line

    def test_an_untrusted_certificate(self, postgres: PostgresServer, options: tuple[str, ...]) -> None:
        """Nothing is sent to a server that cannot prove its identity."""
        url = f"postgresql://u:{PASSWORD}@localhost:{postgres.port}/postgres?sslmode=verify-full"

        assert "the server's certificate is not valid" in complaint(*options, DATABASE_URL=url)

    @pytest.mark.anyio
    @pytest.mark.parametrize("data", FOREIGN_DATA)
    async def test_a_server_that_is_not_postgresql(self, options: tuple[str, ...], data: bytes) -> None:
        """One line says so, whatever the server sends."""
        async with listening(sending(data)) as port, asyncio.timeout(RESPONSE_BOUND_S):
            url = f"postgresql://u:{PASSWORD}@{LOOPBACK}:{port}/d"
            await asyncio.to_thread(complaint, *options, DATABASE_URL=url)

    def test_a_newer_schema_is_not_changed(self, place: Place, options: tuple[str, ...]) -> None:
        """An older taskd changes nothing that a later one has migrated."""
        migrate(place)
        place.run("UPDATE taskd_version SET version_num = '9999'")
        before = place.schema()

        line = complaint(*options, DATABASE_URL=place.url)

        assert line.startswith("the schema was not changed: it is at revision 9999, ahead of this taskd")
        assert (before, ["9999"]) == (place.schema(), place.run(VERSION))

    def test_a_version_table_with_two_rows(self, place: Place, options: tuple[str, ...]) -> None:
        """A table that somebody has damaged is reported, and no revision is guessed."""
        migrate(place)
        place.run("INSERT INTO taskd_version VALUES ('9999')")

        assert "taskd_version" in complaint(*options, DATABASE_URL=place.url)

    @pytest.mark.usefixtures("_memory")
    def test_a_store_without_a_schema(self, options: tuple[str, ...]) -> None:
        """The plugin is named."""
        line = complaint(*options, TASKD_STORAGE="memory")

        assert "TASKD_STORAGE: the plugin 'memory' has no schema to migrate" == line

    def test_a_wrong_setting(self, options: tuple[str, ...]) -> None:
        """Settings are checked before anything is done."""
        assert complaint(*options, DATABASE_URL=f"mysql://u:{PASSWORD}@h/d").startswith("DATABASE_URL: ")
        assert complaint(*options, TASKD_STORAGE="nobody").startswith("TASKD_STORAGE: ")

    def test_a_file_that_is_not_a_database(self, tmp_path: Path, options: tuple[str, ...]) -> None:
        """It is not changed."""
        file = tmp_path / "notes.txt"
        file.write_text("no database" * 1000)

        assert "SQLITE_NOTADB" in complaint(*options, DATABASE_URL=f"sqlite:///{file}")
        assert "no database" * 1000 == file.read_text()

    def test_a_lock_held_by_another_process(
        self, place: Place, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
    ) -> None:
        """The migration gives up, and can be repeated."""
        migrate(place)
        with holding(place), monkeypatch.context() as impatient:
            impatient.setattr(connection, "LOCK_TIMEOUT_S", 0.1)
            line = complaint(*options, DATABASE_URL=place.url)

        assert "the tables are in use, or another migration is running: try again later" in line
        assert UP_TO_DATE == migrate(place).strip()

    def test_a_role_without_privileges(self, postgres_place: PostgresPlace, options: tuple[str, ...]) -> None:
        """One line names the setting for another role."""
        migrate(postgres_place)
        role = f"role_{postgres_place.name}"
        postgres_place.run(f"CREATE ROLE {role} LOGIN")

        line = complaint(*options, DATABASE_URL=postgres_place.url.replace("taskd@", f"{role}@"))

        assert "42501: this user may not change the schema: set TASKD_MIGRATE_URL to one that may" in line


@pytest.mark.anyio
@pytest.mark.parametrize(("timeout_s", "query"), [(0.2, ""), (600, "?connect_timeout=1")], ids=["own", "parameter"])
async def test_a_silent_server(monkeypatch: pytest.MonkeyPatch, timeout_s: float, query: str) -> None:
    """The connect time-out ends the wait, and the URL's takes precedence."""
    monkeypatch.setattr(sessions, "CONNECT_TIMEOUT_S", timeout_s)
    async with listening(silent) as port, asyncio.timeout(RESPONSE_BOUND_S):
        with pytest.raises(StoreError, match="the database did not respond in time"):
            await runner.upgrade(parse(f"postgresql://u:{PASSWORD}@{LOOPBACK}:{port}/d{query}"))


@pytest.mark.parametrize("moment", ["before the work", "in the work", "before the commit"])
def test_a_server_that_freezes(
    postgres_place: PostgresPlace,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """Whenever that happens, one line says so after a time-out; when the server is back, migrating works again."""
    name = "_revision" if moment == "before the work" else "_upgrade"
    original = getattr(runner, name)
    frozen: list[int] = []

    def freezing(connection: Connection) -> str | None:
        done = original(connection) if moment == "before the commit" else None
        frozen.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
        os.kill(frozen[0], signal.SIGSTOP)
        return done if moment == "before the commit" else original(connection)

    with monkeypatch.context() as patches:
        patches.setattr(runner, name, freezing)
        for limit in ("RESPONSE_TIMEOUT_S", "WORK_TIMEOUT_S"):
            # Longer than the migration takes on a busy machine.
            patches.setattr(sessions, limit, 4)
            patches.setattr(connection, limit, 4)
        try:
            line = complaint(DATABASE_URL=postgres_place.url)
        finally:
            os.kill(frozen[0], signal.SIGCONT)

    assert line.startswith("the database stopped responding: ")
    assert migrate(postgres_place).strip() in (DONE, UP_TO_DATE)


@pytest.fixture
def _memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the example's store, which has no schema."""
    make_distribution(tmp_path / "site", "memory", "from acme_taskd.memory import taskd_storage")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples" / "acme")


class TestForeignTables:
    def test_tables_of_others_are_kept(self, place: Place) -> None:
        """If somebody else has a table of that name, it is not changed; one line says what to do."""
        place.run("CREATE TABLE tasks (theirs integer)")
        before = place.schema()

        lines = [complaint(*options, DATABASE_URL=place.url) for options in ((), ("--sql",))]
        report = examined(place.url)

        assert [THEIRS] * 3 == [*[line.split(". ")[0].split(": ")[1] for line in lines], report.findings["schema"]]
        assert all(line.endswith(report.remedies["schema"]) for line in lines)
        assert report.remedies["schema"].startswith("Give taskd a database of its own")
        assert before == place.schema()

    @pytest.mark.parametrize(
        ("change", "finding", "remedy"),
        [
            (
                "DROP TABLE taskd_version",
                "there is a table tasks, but taskd_version",
                "Create taskd_version as in schema.sql",
            ),
            (
                "DELETE FROM taskd_version",
                "there is a table tasks, but taskd_version",
                "Create taskd_version as in schema.sql",
            ),
            # This includes a table of the first revision.
            (
                "DELETE FROM taskd_version; ALTER TABLE tasks DROP COLUMN tags;",
                "there is a table tasks, but taskd_version",
                "Create taskd_version as in schema.sql",
            ),
            ("DROP TABLE tasks", "taskd_version has a revision, but", "Restore a backup; or, "),
            ("ALTER TABLE tasks RENAME COLUMN title TO name", THEIRS, "Give taskd a database of its own"),
        ],
    )
    def test_doctor_gives_the_same_advice(self, place: Place, change: str, finding: str, remedy: str) -> None:
        """What migrating cannot fix is reported in the same words by both commands."""
        migrate(place)
        place.run(change)
        before = place.schema()

        line = complaint(DATABASE_URL=place.url)
        report = examined(place.url)

        assert ["schema"] == report.failed()
        assert report.findings["schema"].startswith(finding)
        assert report.remedies["schema"].startswith(remedy)
        assert f"the schema was not changed: {report.findings['schema']}. {report.remedies['schema']}" == line
        assert before == place.schema()

    def test_a_lost_revision_can_be_restored(self, place: Place) -> None:
        """The statements of `schema.sql` that the advice names restore it."""
        migrate(place)
        place.run("DROP TABLE taskd_version")
        for statement in SCHEMA.read_text().split(";"):
            if "taskd_version" in statement:
                place.run(statement)

        assert UP_TO_DATE == migrate(place).strip()
        assert 0 == examined(place.url).exit_code

    def test_a_role_that_cannot_create_tables(self, postgres_place: PostgresPlace) -> None:
        """One line names the setting for another role."""
        role = f"role_{postgres_place.name}"
        postgres_place.run(f"CREATE ROLE {role} LOGIN")
        before = postgres_place.schema()

        line = complaint(DATABASE_URL=postgres_place.url.replace("taskd@", f"{role}@"))

        assert "42501: this user may not change the schema: set TASKD_MIGRATE_URL to one that may" in line
        assert before == postgres_place.schema()

    def test_a_file_that_cannot_be_created(self) -> None:
        """A folder in which not even root can create a file causes no traceback."""
        assert "No such file or directory" == complaint(DATABASE_URL="sqlite:////proc/self/fd/tasks.db")

    def test_other_migrations_are_not_disturbed(self, place: Place) -> None:
        """A frontend may use Alembic, too, in the same database."""
        place.run("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        place.run("INSERT INTO alembic_version VALUES ('theirs')")

        assert DONE == migrate(place).strip()
        assert ["theirs"] == place.run("SELECT version_num FROM alembic_version")
