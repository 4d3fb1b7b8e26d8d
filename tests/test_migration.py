"""`taskd migrate`, and the schema that it makes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.config import Config
from sqlalchemy import Connection, Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

import taskd_sql.migration
import taskd_sql.schema
from taskd.testing import running_server
from taskd_sql import migration, schema
from taskd_sql.dsn import PostgresAddress, parse
from taskd_sql.plugin import taskd_storage
from tests.commands import invoke, run_python
from tests.conftest import SECRET, token_for
from tests.databases import VERSION, Place, PostgresPlace, SQLitePlace
from tests.migrating import DONE, PASSWORD, UP_TO_DATE, complaint, migrate
from tests.pgbouncer import PgBouncer
from tests.postgres import SCHEMA, free_port
from tests.processes import SERVE, child_environ
from tests.serving import connected, until_waiting

HEAD = schema.REVISIONS[-1]
LATER_REVISION = '''
"""A later one."""
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("later", sa.Text()))
    {then}
'''
A_TASK = """
INSERT INTO tasks VALUES (
    'alice', '01a202b8f11b754fa9d24d7b6419c012', 't', NULL, 'pending', 'low', NULL,
    '2030-01-01T00:00:00.000000+00:00', '2030-01-01T00:00:00.000000+00:00', NULL
)
"""
NOTE_WHO_CHANGES = """
    CREATE TABLE who (name text);
    CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO who VALUES (current_setting('application_name')); END $$;
    CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note();
"""
DIALECTS: dict[type[Place], Callable[[], Dialect]] = {
    PostgresPlace: postgresql.dialect,
    SQLitePlace: sqlite.dialect,
}


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make taskd a later one, whose history has a second revision; give the file with that."""
    folder = tmp_path / "later"
    with resources.as_file(resources.files("taskd_sql.migrations")) as original:
        shutil.copytree(original, folder, ignore=shutil.ignore_patterns("__pycache__"))
    configure = migration._config

    def configure_later(**options: Any) -> Config:
        config = configure(**options)
        config.set_main_option("script_location", str(folder))
        return config

    file = folder / "versions" / "r0002_later.py"
    file.write_text(LATER_REVISION.format(then=""))
    with monkeypatch.context() as patches:
        patches.setattr(taskd_sql.migration, "_config", configure_later)
        patches.setattr(taskd_sql.schema, "REVISIONS", ("0001", "0002"))
        yield file


class TestSchema:
    def test_schema_sql_makes_what_migrating_makes(self, postgres_place: PostgresPlace) -> None:
        """`schema.sql` and `taskd migrate` leave equal catalogs and the same revision in an empty database."""
        migrate(postgres_place)
        by_file = PostgresPlace.make(postgres_place.server)
        by_file.server.psql(by_file.name, "-c", SCHEMA.read_text())

        assert by_file.schema() == postgres_place.schema()
        assert [HEAD] == by_file.run(VERSION) == postgres_place.run(VERSION)
        assert UP_TO_DATE == migrate(by_file).strip()

    def test_the_statements_know_what_migrating_makes(self, place: Place) -> None:
        """The tables that SQLAlchemy would make, with which statements are compiled, are those of the migrations."""
        by_statements = place
        by_migrating = (
            PostgresPlace.make(place.server)
            if isinstance(place, PostgresPlace)
            else SQLitePlace(Path("by_migrating.db").absolute())
        )
        dialect: Dialect = DIALECTS[type(place)]()
        for table in schema.metadata.sorted_tables:
            by_statements.run(str(CreateTable(table).compile(dialect=dialect)))
        migrate(by_migrating)

        assert by_migrating.schema() == by_statements.schema()

    def test_a_file_that_the_server_makes_is_the_one_that_migrating_makes(
        self, sqlite_place: SQLitePlace, tmp_path: Path
    ) -> None:
        """A fresh SQLite file needs no migration, and has every column, constraint and version that it would give."""
        by_server = SQLitePlace(tmp_path / "by_server.db")
        migrate(sqlite_place)

        async def serve_once() -> None:
            store = taskd_storage({"DATABASE_URL": by_server.url})
            await store.ping()
            await store.close()

        asyncio.run(serve_once())

        assert sqlite_place.schema() == by_server.schema()
        assert [HEAD] == by_server.run(VERSION) == sqlite_place.run(VERSION)
        assert UP_TO_DATE == migrate(by_server).strip()

    def test_every_revision_is_known(self) -> None:
        """The revisions that the server knows without Alembic are those of the history, in its order."""
        history = [script.revision for script in migration.scripts().walk_revisions()]

        assert schema.REVISIONS == tuple(reversed(history))


class TestMigrate:
    def test_an_empty_database_is_brought_up_to_date(self, place: Place) -> None:
        """It says which revisions it applied, and the second time that there is nothing to do."""
        assert DONE == migrate(place).strip()
        before = place.schema()

        assert UP_TO_DATE == migrate(place).strip()
        assert (before, [HEAD]) == (place.schema(), place.run(VERSION))

    def test_a_later_revision_keeps_the_tasks(self, place: Place, later: Path) -> None:
        """A database with tasks gets what is new, and only that is said."""
        hidden = later.rename(later.with_suffix(".hidden"))
        migrate(place)
        place.run(A_TASK)
        hidden.rename(later)

        assert "0002: A later one." == migrate(place).strip()
        assert ["t"] == place.run("SELECT title FROM tasks WHERE later IS NULL")
        assert ["0002"] == place.run(VERSION)

    @pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "older"])
    def test_one_that_fails_half_way_changes_nothing(self, place: Place, later: Path, *, is_empty: bool) -> None:
        """All revisions are applied in one transaction: what failed can be tried again."""
        if not is_empty:
            hidden = later.rename(later.with_suffix(".hidden"))
            migrate(place)
            hidden.rename(later)
        later.write_text(LATER_REVISION.format(then="op.drop_table('nowhere')"))
        before = place.schema()

        complaint(DATABASE_URL=place.url)

        assert before == place.schema()
        later.write_text(LATER_REVISION.format(then=""))
        assert migrate(place).endswith("0002: A later one.\n")

    def test_many_at_once_do_it_once(self, place: Place) -> None:
        """Of twelve that upgrade at the same time one does it, and the others find it done."""
        address = parse(place.url)

        async def all_at_once() -> list[list[str]]:
            return [list(steps) for steps in await asyncio.gather(*[migration.upgrade(address) for _ in range(12)])]

        done = asyncio.run(all_at_once())

        assert [[]] * 11 + [[DONE]] == sorted(done)
        assert [HEAD] == place.run(VERSION)

    def test_two_processes_at_once_both_end_well(self, place: Place) -> None:
        """Two deployments that start together need not know of each other."""
        with ThreadPoolExecutor() as threads:
            begun = [
                threads.submit(run_python, "-m", "taskd", "migrate", settings={"DATABASE_URL": place.url})
                for _ in range(2)
            ]
            ended = [each.result() for each in begun]

        assert [(0, ""), (0, "")] == [(each.returncode, each.stderr) for each in ended]
        assert [DONE, UP_TO_DATE] == sorted(each.stdout.strip() for each in ended)

    # SQLite does not wait for others in every state of a new file: only some of these meet such a one.
    @pytest.mark.parametrize("_", range(12))
    def test_servers_and_migrations_that_start_together_agree(self, sqlite_place: SQLitePlace, _: int) -> None:
        """Whichever makes the tables of a new file, the others find them."""

        async def together() -> None:
            stores = [taskd_storage({"DATABASE_URL": sqlite_place.url}) for _ in range(4)]
            upgrades = [migration.upgrade(parse(sqlite_place.url)) for _ in range(4)]
            await asyncio.gather(*upgrades, *[store.ping() for store in stores])
            await asyncio.gather(*[store.close() for store in stores])

        asyncio.run(together())

        assert [HEAD] == sqlite_place.run(VERSION)

    def test_serving_is_not_disturbed(self, place: Place, user_id: str) -> None:
        """A server begins to serve when its database has been migrated, and later migrations refuse nobody."""
        settings = {"DATABASE_URL": place.url, "BETTER_AUTH_SECRET": SECRET}
        headers = {"Authorization": f"Bearer {token_for(user_id)}"}
        place.run("SELECT 1")
        with (
            running_server(child_environ(settings), SERVE) as server,
            httpx.Client(base_url=server.url, headers=headers) as client,
        ):
            is_postgres = isinstance(place, PostgresPlace)
            assert (503 if is_postgres else 200) == client.get("/readyz").status_code
            assert (DONE if is_postgres else UP_TO_DATE) == migrate(place).strip()
            assert 200 == client.get("/readyz").status_code

            with ThreadPoolExecutor() as threads:
                migrating = [threads.submit(migrate_in_thread, place.url) for _ in range(2)]
                answers = [client.post(f"/api/{user_id}/tasks", json={"title": "t"}) for _ in range(40)]
            made = client.get(f"/api/{user_id}/tasks").json()
            server.stop()

        assert [[]] * 2 == [each.result() for each in migrating]
        assert ([201] * 40, 40) == ([answer.status_code for answer in answers], len(made))

    def test_it_goes_through_a_pooler(self, pooler: PgBouncer, postgres_place: PostgresPlace) -> None:
        """A PgBouncer that pools by transactions is no obstacle, however often it is passed."""
        url = pooler.url(postgres_place.name)
        ended = [
            invoke("migrate", settings={"DATABASE_URL": url, "TASKD_SQL_POOLER": "yes"}).output.strip()
            for _ in range(6)
        ]

        assert [DONE] + [UP_TO_DATE] * 5 == ended

    def test_two_at_once_go_through_a_pooler(self, pooler: PgBouncer, postgres_place: PostgresPlace) -> None:
        """The lock that keeps them apart belongs to the transaction, not to the pooler's connection."""
        address = parse(pooler.url(postgres_place.name))

        async def all_at_once() -> list[int]:
            return [len(steps) for steps in await asyncio.gather(*[migration.upgrade(address) for _ in range(8)])]

        assert [0] * 7 + [1] == sorted(asyncio.run(all_at_once()))

    @pytest.mark.anyio
    @pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
    async def test_the_user_s_own_time_outs_do_not_end_its_waiting(
        self, postgres_place: PostgresPlace, setting: str
    ) -> None:
        """Another migration may take longer than what the database allows other work."""
        postgres_place.run(f"ALTER DATABASE {postgres_place.name} SET {setting} = '500ms'")
        async with connected(postgres_place.url) as other:
            await other.execute("SET statement_timeout = 0")
            async with other.transaction():
                await other.execute(f"SELECT pg_advisory_xact_lock({migration._ADVISORY_LOCK})")
                migrating = asyncio.create_task(migration.upgrade(parse(postgres_place.url)))
                await until_waiting(other, 1)
                await other.execute("SELECT pg_sleep(0.7)")

        assert [DONE] == await migrating

    def test_the_user_s_own_time_outs_do_not_end_its_work(
        self, postgres_place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A migration that computes for longer than a transaction may be idle is not ended."""
        postgres_place.run(f"ALTER DATABASE {postgres_place.name} SET idle_in_transaction_session_timeout = '500ms'")
        upgrade = migration._upgrade

        def upgrade_slowly(connection: Connection) -> None:
            postgres_place.server.psql("postgres", "-c", "SELECT pg_sleep(0.7)")
            upgrade(connection)

        monkeypatch.setattr(migration, "_upgrade", upgrade_slowly)

        assert DONE == migrate(postgres_place).strip()

    @pytest.mark.parametrize(("query", "expected"), [("", "taskd"), ("?application_name=mine", "mine")])
    def test_the_server_knows_who_migrates(self, postgres_place: PostgresPlace, query: str, expected: str) -> None:
        """The name is the URL's, where it has one."""
        postgres_place.run(NOTE_WHO_CHANGES)

        assert [DONE] == migrate_in_thread(postgres_place.url + query)
        assert [expected] == postgres_place.run("SELECT DISTINCT name FROM who")

    def test_another_url_is_used_instead(self, postgres_place: PostgresPlace) -> None:
        """With TASKD_MIGRATE_URL, nothing is done by way of DATABASE_URL."""
        elsewhere = f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d"

        result = invoke("migrate", settings={"DATABASE_URL": elsewhere, "TASKD_MIGRATE_URL": postgres_place.url})

        assert (0, DONE) == (result.exit_code, result.output.strip())
        assert [HEAD] == postgres_place.run(VERSION)

    def test_another_url_is_of_the_same_kind(self) -> None:
        """A file in one of the two, and a server in the other, cannot be the same database."""
        result = invoke("migrate", settings={"TASKD_MIGRATE_URL": f"postgresql://u:{PASSWORD}@h/d"})

        assert (1, "taskd: TASKD_MIGRATE_URL: must be of the same database as DATABASE_URL") == (
            result.exit_code,
            result.output.strip(),
        )

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, "ep-cool-1.eu-central-1.aws.neon.tech"),
            ({"TASKD_MIGRATE_URL": ""}, "ep-cool-1.eu-central-1.aws.neon.tech"),
            ({"TASKD_MIGRATE_URL": "postgresql://u:p@ep-a-pooler.neon.tech/d"}, "ep-a-pooler.neon.tech"),
        ],
        ids=["derived", "empty", "given"],
    )
    def test_neon_s_pooler_is_passed_by(self, settings: dict[str, str], expected: str) -> None:
        """The direct host is the pooler's without its suffix, unless another is given."""
        url = "postgresql://u:p@ep-cool-1-pooler.eu-central-1.aws.neon.tech/d?sslmode=require&channel_binding=require"
        address = taskd_storage({"DATABASE_URL": url, **settings}).migration_address

        assert isinstance(address, PostgresAddress)
        assert expected == address.host

    def test_a_wrong_url_stops_the_start(self) -> None:
        """A server is not started with a TASKD_MIGRATE_URL that would fail when it is needed."""
        url = f"mysql://u:{PASSWORD}@h/d"
        settings = {"BETTER_AUTH_SECRET": SECRET, "TASKD_MIGRATE_URL": url}

        ended = run_python(*SERVE, settings=settings)

        assert (1, "") == (ended.returncode, ended.stdout)
        [line] = ended.stderr.splitlines()
        assert line.startswith("taskd: TASKD_MIGRATE_URL: must be postgresql://")
        assert PASSWORD not in line


def migrate_in_thread(url: str) -> list[str]:
    """Upgrade, which a command line in this process could not do beside another."""
    return list(asyncio.run(migration.upgrade(parse(url))))


class TestScript:
    def test_it_does_what_migrating_does(self, place: Place) -> None:
        """What `--sql` prints, run by the database's own program, leaves what `taskd migrate` would have left."""
        migrated = (
            PostgresPlace.make(place.server)
            if isinstance(place, PostgresPlace)
            else SQLitePlace(Path("migrated.db").absolute())
        )
        migrate(migrated)

        place.run(migrate(place, "--sql"))

        assert migrated.schema() == place.schema()
        assert [HEAD] == place.run(VERSION)
        assert UP_TO_DATE == migrate(place).strip()

    def test_nothing_is_changed(self, place: Place, tmp_path: Path) -> None:
        """Looking makes no table, and no file."""
        folder_before = sorted(tmp_path.iterdir())
        migrate(place, "--sql")
        assert folder_before == sorted(tmp_path.iterdir())
        empty = place.schema()

        migrate(place, "--sql")

        assert empty == place.schema()

    def test_a_later_revision_is_all_that_is_shown(self, place: Place, later: Path) -> None:
        """Of a database that has a schema, only what it lacks is printed, and that works."""
        hidden = later.rename(later.with_suffix(".hidden"))
        migrate(place)
        hidden.rename(later)

        shown = migrate(place, "--sql")
        place.run(shown)

        assert ("CREATE TABLE" in shown, "ALTER TABLE tasks ADD COLUMN later" in shown) == (False, True)
        assert UP_TO_DATE == migrate(place).strip()

    def test_nothing_to_do_is_said_in_sql(self, place: Place) -> None:
        """Where the schema is up to date the script is a comment."""
        migrate(place)
        before = place.schema()
        shown = migrate(place, "--sql")
        place.run(f"{shown}\nSELECT 1;")

        assert ["-- The schema is up to date."] == shown.splitlines()
        assert before == place.schema()
