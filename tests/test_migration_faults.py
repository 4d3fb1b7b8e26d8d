"""`taskd migrate` where something is in the way: one line says what, and nothing is changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import taskd_sql.migration
from taskd import StoreError
from taskd_sql.dsn import parse
from tests.databases import VERSION, Place, PostgresPlace, holding
from tests.migrating import DONE, PASSWORD, UP_TO_DATE, complaint, migrate
from tests.postgres import PostgresServer, free_port
from tests.processes import make_distribution
from tests.proxy import LOOPBACK, listening, silent
from tests.serving import ANSWER_BOUND_S


@pytest.mark.parametrize("options", [(), ("--sql",)], ids=["migrate", "sql"])
class TestFaults:
    def test_a_server_that_is_down(self, options: tuple[str, ...]) -> None:
        """One line says that there was no connection, and not with which password."""
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

    def test_a_host_that_nobody_knows(self, options: tuple[str, ...]) -> None:
        """One line says that it is the name."""
        line = complaint(*options, DATABASE_URL=f"postgresql://u:{PASSWORD}@taskd.invalid/d")

        assert "the name of the host is not known" == line

    def test_a_certificate_of_others(self, postgres: PostgresServer, options: tuple[str, ...]) -> None:
        """Nothing is sent to a server that cannot prove who it is."""
        url = f"postgresql://u:{PASSWORD}@localhost:{postgres.port}/postgres?sslmode=verify-full"

        assert "the server's certificate is not good" in complaint(*options, DATABASE_URL=url)

    def test_a_newer_schema_is_not_touched(self, place: Place, options: tuple[str, ...]) -> None:
        """An older taskd does nothing to what a later one has made."""
        migrate(place)
        place.run("UPDATE taskd_version SET version_num = '9999'")
        before = place.schema()

        line = complaint(*options, DATABASE_URL=place.url)

        assert line.startswith("the schema is not touched: it is at revision 9999, ahead of this taskd")
        assert (before, ["9999"]) == (place.schema(), place.run(VERSION))

    def test_a_version_table_with_two_rows(self, place: Place, options: tuple[str, ...]) -> None:
        """A table that somebody has spoilt is said, not guessed at."""
        migrate(place)
        place.run("INSERT INTO taskd_version VALUES ('9999')")

        assert "taskd_version" in complaint(*options, DATABASE_URL=place.url)

    @pytest.mark.usefixtures("_memory")
    def test_a_store_without_a_schema(self, options: tuple[str, ...]) -> None:
        """A plugin that has nothing to migrate is named."""
        line = complaint(*options, TASKD_STORAGE="memory")

        assert "TASKD_STORAGE: the plugin 'memory' has no schema to migrate" == line

    def test_a_wrong_setting(self, options: tuple[str, ...]) -> None:
        """Settings are checked before anything is done."""
        assert complaint(*options, DATABASE_URL=f"mysql://u:{PASSWORD}@h/d").startswith("DATABASE_URL: ")
        assert complaint(*options, TASKD_STORAGE="nobody").startswith("TASKD_STORAGE: ")

    def test_a_file_that_is_no_database(self, tmp_path: Path, options: tuple[str, ...]) -> None:
        """A file of something else is left as it is."""
        file = tmp_path / "notes.txt"
        file.write_text("no database" * 1000)

        assert "SQLITE_NOTADB" in complaint(*options, DATABASE_URL=f"sqlite:///{file}")
        assert "no database" * 1000 == file.read_text()

    def test_a_lock_that_is_held(self, place: Place, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]) -> None:
        """Whoever waits for others in vain gives up, and can be started again."""
        migrate(place)
        with holding(place), monkeypatch.context() as impatient:
            impatient.setattr(taskd_sql.migration, "LOCK_TIMEOUT_S", 0.1)
            line = complaint(*options, DATABASE_URL=place.url)

        assert "others use the tables, or migrate them, and did not come to an end: try again later" in line
        assert UP_TO_DATE == migrate(place).strip()

    def test_a_role_that_may_read_nothing(self, postgres_place: PostgresPlace, options: tuple[str, ...]) -> None:
        """A role without rights is told which setting names another."""
        migrate(postgres_place)
        role = f"role_{postgres_place.name}"
        postgres_place.run(f"CREATE ROLE {role} LOGIN")

        line = complaint(*options, DATABASE_URL=postgres_place.url.replace("taskd@", f"{role}@"))

        assert "42501: this user may not change the schema: set TASKD_MIGRATE_URL to one that may" in line


@pytest.mark.anyio
@pytest.mark.parametrize(("timeout_s", "query"), [(0.2, ""), (600, "?connect_timeout=1")], ids=["own", "parameter"])
async def test_a_server_that_is_silent(monkeypatch: pytest.MonkeyPatch, timeout_s: float, query: str) -> None:
    """It is not waited for without end; the URL's own time comes before ours."""
    monkeypatch.setattr(taskd_sql.migration, "CONNECT_TIMEOUT_S", timeout_s)
    async with listening(silent) as port, asyncio.timeout(ANSWER_BOUND_S):
        with pytest.raises(StoreError, match="the database did not answer in time"):
            await taskd_sql.migration.upgrade(parse(f"postgresql://u:{PASSWORD}@{LOOPBACK}:{port}/d{query}"))


@pytest.fixture
def _memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the example's store, which has no schema."""
    make_distribution(tmp_path / "site", "memory", "from acme_taskd.memory import taskd_storage")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "examples" / "acme")


class TestForeignTables:
    def test_tables_of_these_names_are_kept(self, place: Place) -> None:
        """Where somebody else has a table of that name, it is said, and theirs stays as it is."""
        place.run("CREATE TABLE tasks (theirs integer)")
        before = place.schema()

        line = complaint(DATABASE_URL=place.url)

        assert "tables of these names are there already" in line
        assert before == place.schema()

    def test_a_role_that_may_make_nothing(self, postgres_place: PostgresPlace) -> None:
        """A role without the right to make tables is told which setting names another."""
        role = f"role_{postgres_place.name}"
        postgres_place.run(f"CREATE ROLE {role} LOGIN")
        before = postgres_place.schema()

        line = complaint(DATABASE_URL=postgres_place.url.replace("taskd@", f"{role}@"))

        assert "42501: this user may not change the schema: set TASKD_MIGRATE_URL to one that may" in line
        assert before == postgres_place.schema()

    def test_a_file_that_cannot_be_made(self) -> None:
        """A folder in which nothing can be made, not even by root, is no crash."""
        assert "No such file or directory" == complaint(DATABASE_URL="sqlite:////proc/self/fd/tasks.db")

    def test_another_one_s_migrations_are_not_disturbed(self, place: Place) -> None:
        """A frontend may use Alembic too, in the same database."""
        place.run("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        place.run("INSERT INTO alembic_version VALUES ('theirs')")

        assert DONE == migrate(place).strip()
        assert ["theirs"] == place.run("SELECT version_num FROM alembic_version")
