"""`taskd migrate`, and the schema that it creates."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex

import taskd_sql.schema
from taskd.queries import TaskPage, TaskQuery
from taskd.storage import PreconditionFailed, StoreUnavailable
from taskd.tasks import NewTask, TaskChanges
from taskd.testing import running_server
from taskd_sql import schema
from taskd_sql.engine.database import Limits
from taskd_sql.migrations import connection, runner
from taskd_sql.plugin import taskd_storage
from taskd_sql.statements import FOLDED_AT_ONCE
from taskd_sql.store import SQLTaskStore
from taskd_sql.url import PostgresURL, parse
from tests.conftest import SECRET, token_for
from tests.sql.test_pool import life
from tests.support.commands import invoke, run_python
from tests.support.databases import VERSION, Place, PostgresPlace, SQLitePlace
from tests.support.doctor import examined
from tests.support.migrating import DONE, PASSWORD, STEPS, UP_TO_DATE, complaint, migrate
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres import SCHEMA, free_port
from tests.support.processes import SERVE, child_environ
from tests.support.serving import connected, serving, until_waiting

HEAD = schema.REVISIONS[-1]
LATER = f"{int(HEAD[:4]) + 1:04}_serves_{HEAD[:4]}"
LATER_REVISION = '''
"""A later one."""
import sqlalchemy as sa
from alembic import op

revision = "{later}"
down_revision = "{head}"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("later", sa.Text()))
    {then}
'''
# As the oldest taskd would write it, with the columns of revision 0001.
A_TASK = """
INSERT INTO tasks
    (user_id, id, title, description, status, priority, due_at, created_at, updated_at, completed_at)
VALUES (
    'alice', '01a202b8f11b754fa9d24d7b6419c012', 't', NULL, 'pending', 'low', NULL,
    '2030-01-01T00:00:00.000000+00:00', '2030-01-01T00:00:00.000000+00:00', NULL
)
"""
ANOTHER_TASK = A_TASK.replace("419c012", "419c013")
MANY = 2 * FOLDED_AT_ONCE + 1
NOTE_WHO_CHANGES = """
    CREATE TABLE who (name text);
    CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO who VALUES (current_setting('application_name')); END $$;
    CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note();
"""
DROP_TRIGGERS = {
    PostgresPlace: "".join(
        f"DROP FUNCTION tasks_{name} CASCADE;" for name in ("raise_version", "note_deletion", "note_truncation")
    ),
    SQLitePlace: "".join(f"DROP TRIGGER tasks_{name};" for name in ("inserted", "updated", "deleted", "moved")),
}
DIALECTS: dict[type[Place], Callable[[], Dialect]] = {
    PostgresPlace: postgresql.dialect,
    SQLitePlace: sqlite.dialect,
}


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Turn taskd into a later version with one more revision, and yield the file of that revision."""
    folder = tmp_path / "later"
    with resources.as_file(resources.files("taskd_sql.migrations")) as original:
        shutil.copytree(original, folder, ignore=shutil.ignore_patterns("__pycache__"))
    configure = runner._config

    def configure_later(**options: Any) -> Config:
        config = configure(**options)
        config.set_main_option("script_location", str(folder))
        return config

    file = folder / "versions" / "later.py"
    file.write_text(later_revision())
    with monkeypatch.context() as patches:
        patches.setattr(runner, "_config", configure_later)
        patches.setattr(taskd_sql.schema, "REVISIONS", (*schema.REVISIONS, LATER))
        yield file


def later_revision(then: str = "") -> str:
    return LATER_REVISION.format(later=LATER, head=HEAD, then=then)


class TestSchema:
    def test_schema_sql_creates_the_same_schema_as_migrating(self, postgres_place: PostgresPlace) -> None:
        """In an empty database, `schema.sql` and `taskd migrate` lead to the same catalog and revision."""
        migrate(postgres_place)
        by_file = PostgresPlace.make(postgres_place.server)
        by_file.server.psql(by_file.name, "-c", SCHEMA.read_text())

        assert by_file.schema() == postgres_place.schema()
        assert [HEAD] == by_file.run(VERSION) == postgres_place.run(VERSION)
        assert UP_TO_DATE == migrate(by_file).strip()

    def test_the_statements_match_the_migrated_schema(self, place: Place) -> None:
        """SQLAlchemy compiles statements with the same tables as the migrations create."""
        by_statements = place
        by_migrating = (
            PostgresPlace.make(place.server)
            if isinstance(place, PostgresPlace)
            else SQLitePlace(Path("by_migrating.db").absolute())
        )
        dialect: Dialect = DIALECTS[type(place)]()
        for table in schema.metadata.sorted_tables:
            by_statements.run(schema.creation_of(table, dialect))
            for index in table.indexes:
                by_statements.run(str(CreateIndex(index).compile(dialect=dialect)))
        migrate(by_migrating)
        by_migrating.run(DROP_TRIGGERS[type(place)])

        assert by_migrating.schema() == by_statements.schema()

    def test_a_server_creates_the_same_file_as_migrating(self, sqlite_place: SQLitePlace, tmp_path: Path) -> None:
        """A new SQLite file needs no migration: it has all columns, constraints and the revision."""
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

    def test_every_revision_is_listed(self) -> None:
        """`REVISIONS`, which the server knows without importing Alembic, matches the history."""
        history = [script.revision for script in runner.scripts().walk_revisions()]

        assert schema.REVISIONS == tuple(reversed(history))


AHEAD = (LATER, "0017_serves_0001")


class TestCompatibility:
    @pytest.mark.anyio
    @pytest.mark.parametrize("revision", AHEAD)
    async def test_an_older_server_keeps_running(
        self, place: Place, user_id: str, tasks_url: str, revision: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It stays ready and works while the database is migrated to a revision that serves it."""
        await runner.upgrade(parse(place.url))
        async with serving(place.url, user_id) as client:
            before = await client.get("/readyz")
            # In a thread, so that running statements can end: otherwise the table stays locked.
            await asyncio.to_thread(place.run, "ALTER TABLE tasks ADD COLUMN later text")
            await asyncio.to_thread(place.run, f"UPDATE taskd_version SET version_num = '{revision}'")  # noqa: S608
            after = await client.get("/readyz")
            outcomes = await life(client, tasks_url, "t")

        assert [200, 200] == [before.status_code, after.status_code]
        assert (201, 200, 200, 200, 204) == outcomes
        assert [] == caplog.records

    def test_an_older_taskd_can_start(self, place: Place) -> None:
        """A container that migrates before it serves can be restarted: there is nothing to do, and no error."""
        migrate(place)
        place.run(f"UPDATE taskd_version SET version_num = '{AHEAD[0]}'")  # noqa: S608
        before = place.schema()

        assert UP_TO_DATE == migrate(place).strip()
        assert [f"-- {UP_TO_DATE}"] == migrate(place, "--sql").splitlines()
        assert (before, [AHEAD[0]]) == (place.schema(), place.run(VERSION))
        report = examined(place.url)
        assert (0, f"revision {AHEAD[0]}, ahead of this taskd, but compatible with it") == (
            report.exit_code,
            report.findings["schema"],
        )

    @pytest.mark.parametrize(
        ("known", "revision", "fits"),
        [
            (("0001",), "0001", True),
            (("0001",), "0002", False),
            (("0001",), "0002_serves_0001", True),
            (("0001",), "0003_serves_0002", False),
            (("0001",), "0001_serves_0001", False),
            (("0001",), "0002_serves_1", False),
            (("0001",), "0002_serves_0001 and 0003", False),
            (("0001",), "somebody's", False),
            (("0001",), None, False),
            (("0001", "0002_serves_0001"), "0001", False),
            (("0001", "0002_serves_0001"), "0004_serves_0001", True),
            (("0001", "0002_serves_0001"), "0004_serves_0002", True),
            (("0001", "0002_serves_0001"), "0004_serves_0003", False),
            (("0001", "0002_serves_0001"), "0002", False),
        ],
    )
    def test_a_revision_says_which_taskd_it_serves(
        self, monkeypatch: pytest.MonkeyPatch, known: tuple[str, ...], revision: str | None, *, fits: bool
    ) -> None:
        """It serves the taskd that needs it, and those that need a revision as late as the one that it names."""
        monkeypatch.setattr(schema, "REVISIONS", known)

        assert fits == (schema.version_error(revision) is None)

    def test_the_names_of_revisions_are_valid(self) -> None:
        """They are numbered without gaps, and none claims to serve a later one."""
        names = [schema._NAME.fullmatch(revision) for revision in schema.REVISIONS]

        assert all(names)
        numbers = [name["number"] for name in names if name]
        assert [f"{number:04}" for number in range(1, len(numbers) + 1)] == numbers
        assert all(name["oldest"] < name["number"] for name in names if name and name["oldest"])


@pytest.fixture
def old_place(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A database that the oldest taskd has migrated, with one task."""

    def upgrade_to_0001(connection: Connection) -> None:
        config = runner._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")

    with monkeypatch.context() as patches:
        patches.setattr(runner, "_upgrade", upgrade_to_0001)
        migrate(place)
    place.run(A_TASK)
    return place


def many_tasks(place: Place) -> str:
    """Return the statement with which an older server creates tasks with other titles, until there are `MANY`."""
    number = "substr(printf('%012d', n), -12)" if isinstance(place, SQLitePlace) else "lpad(n::text, 12, '0')"
    new_id = f"'01a202b8f11b754fa9d2' || {number}"
    as_id = new_id if isinstance(place, SQLitePlace) else f"({new_id})::uuid"
    return (
        f"WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY})"  # noqa: S608
        " INSERT INTO tasks (user_id, id, title, status, priority, created_at, updated_at)"
        f" SELECT user_id, {as_id}, 'ΤΊΤΛΟΣ', status, priority, created_at, updated_at FROM tasks, numbers"
    )


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[SQLTaskStore]:
    store = taskd_storage({"DATABASE_URL": place.url})
    yield store
    await store.close()


class TestTags:
    """Revision 0002 adds the tags."""

    @pytest.mark.anyio
    async def test_tasks_of_older_servers_have_no_tags(self, old_place: Place) -> None:
        """Neither those from before the migration, nor those that an older server creates after it."""
        await runner.upgrade(parse(old_place.url))
        old_place.run(ANOTHER_TASK)

        async with opened(old_place) as store:
            assert [("t", ()), ("t", ())] == [(task.title, task.tags) for task in (await store.list("alice")).tasks]

    def test_the_table_is_not_rewritten(self, postgres_place: PostgresPlace) -> None:
        """However many tasks there are, PostgreSQL only changes its catalog."""
        script = migrate(postgres_place, "--sql")
        before, _, after = script.partition("-- Running upgrade 0001 -> 0002_serves_0001")
        postgres_place.run(f"{before}; COMMIT")
        file = postgres_place.run("SELECT pg_relation_filenode('tasks')")

        postgres_place.run(f"BEGIN; {after}")

        assert [HEAD] == postgres_place.run(VERSION)
        assert file == postgres_place.run("SELECT pg_relation_filenode('tasks')")


@pytest.mark.anyio
class TestVersions:
    """Revision 0003 adds versions, and columns for searching; older servers continue to write."""

    @pytest.fixture
    async def migrated(self, old_place: Place) -> Place:
        await runner.upgrade(parse(old_place.url))
        return old_place

    @pytest.mark.parametrize(
        "statement",
        [
            ANOTHER_TASK,
            "UPDATE tasks SET title = 'u' WHERE user_id = 'alice'",
            "UPDATE tasks SET status = 'completed', completed_at = updated_at WHERE user_id = 'alice'",
            "DELETE FROM tasks WHERE user_id = 'alice'",
        ],
        ids=["create", "update", "toggle", "delete"],
    )
    async def test_an_older_server_s_writes_raise_the_version(self, migrated: Place, statement: str) -> None:
        """Clients notice them, because the list and the task have new tags."""
        async with opened(migrated) as store:
            bob = await store.create("bob", NewTask(title="t"))
            before = await store.list("alice")
            migrated.run(statement)
            after = await store.list("alice")

            assert await store.seq("alice") == after.seq > before.seq
            assert all(task.version == after.seq for task in after.tasks if task not in before.tasks)
            assert before.tasks != after.tasks
            assert ([bob], bob.version) == ((await store.list("bob")).tasks, await store.seq("bob"))

    async def test_moving_tasks_by_hand_changes_the_lists_of_both_users(self, migrated: Place) -> None:
        """Whoever gives a user a new id can do so in SQL, as before."""
        async with opened(migrated) as store:
            [before] = (await store.list("alice")).tasks
            await store.create("bob", NewTask(title="t"))
            counted = [await store.seq(owner) for owner in ("alice", "bob")]
            migrated.run("UPDATE tasks SET user_id = 'bob' WHERE user_id = 'alice'")
            pages = [await store.list(owner) for owner in ("alice", "bob")]

            assert all(page.seq > seq for page, seq in zip(pages, counted, strict=True))
            assert ([], pages[1].seq) == (pages[0].tasks, (await store.get("bob", before.id)).version)

    @pytest.mark.parametrize("place", ["postgresql"], indirect=True)
    async def test_truncating_the_table_changes_every_list(self, migrated: Place) -> None:
        """Nobody is told that the list that they have is still up to date."""
        async with opened(migrated) as store:
            for owner in ("alice", "bob"):
                await store.create(owner, NewTask(title="t"))
            before = [await store.seq(owner) for owner in ("alice", "bob")]
            migrated.run("TRUNCATE tasks")
            after = [await store.seq(owner) for owner in ("alice", "bob")]

            assert all(new > old for old, new in zip(before, after, strict=True))

    async def test_a_condition_fails_after_an_older_server_s_write(self, migrated: Place) -> None:
        """That server's change is not overwritten by mistake."""
        async with opened(migrated) as store:
            [task] = (await store.list("alice")).tasks
            migrated.run("UPDATE tasks SET title = 'theirs' WHERE user_id = 'alice'")

            with pytest.raises(PreconditionFailed):
                await store.update("alice", task.id, TaskChanges(title="ours"), version=task.version)
            assert "theirs" == (await store.get("alice", task.id)).title

    async def test_an_older_server_s_writes_are_found(self, migrated: Place) -> None:
        """They are found before and after a search, whichever text they change."""
        query = TaskQuery(search="STRASSE")
        async with opened(migrated) as store:
            assert [] == (await store.list("alice", query)).tasks
            for change in ("title = 'Straße'", "title = 't', description = 'In der straße'"):
                migrated.run(f"UPDATE tasks SET {change}")  # noqa: S608
                assert 1 == len((await store.list("alice", query)).tasks)
            [task] = (await store.list("alice")).tasks
            await store.update("alice", task.id, TaskChanges(title="u"))
            assert 1 == len((await store.list("alice", query)).tasks)
            migrated.run("UPDATE tasks SET description = NULL WHERE user_id = 'alice'")
            assert [] == (await store.list("alice", query)).tasks

    async def test_preparing_a_search_changes_no_version(self, migrated: Place) -> None:
        """This holds even if only one text is missing, because a newer server has already changed the other."""
        migrated.run("UPDATE tasks SET description = 'In der Straße'")
        async with opened(migrated) as store:
            [task] = (await store.list("alice")).tasks
            changed = await store.update("alice", task.id, TaskChanges(title="u"))

            assert [changed] == (await store.list("alice", TaskQuery(search="STRASSE"))).tasks
            assert changed == await store.get("alice", task.id)

    async def test_many_tasks_are_found_by_the_first_search(self, migrated: Place) -> None:
        """All tasks that an older server has written are prepared for it, and keep their versions."""
        migrated.run(many_tasks(migrated))
        async with opened(migrated) as store:
            before = await store.list("alice")
            found = await store.list("alice", TaskQuery(search="τίτλος", count=True))

            assert MANY - 1 == len(found.tasks) == found.total
            assert before == await store.list("alice")

    async def test_preparing_concurrent_searches_changes_no_version(self, migrated: Place) -> None:
        """This holds even if two servers find the same texts missing at once."""
        async with opened(migrated) as store, opened(migrated) as other:

            async def searched(query: TaskQuery) -> list[TaskPage]:
                return await asyncio.gather(*[each.list("alice", query) for each in (store, other) for _ in range(4)])

            # Open the connections, so that the searches start together.
            [before, *_] = await searched(TaskQuery())
            found = await searched(TaskQuery(search="T"))

            assert [before.tasks] * 8 == [page.tasks for page in found]
            assert before == await store.list("alice")

    async def test_writes_of_both_versions_do_not_deadlock(self, postgres_place: PostgresPlace) -> None:
        """They lock the same rows in the same order."""
        await runner.upgrade(parse(postgres_place.url))
        async with opened(postgres_place) as store:
            task = await store.create("alice", NewTask(title="t"))

            async def write_as_before() -> None:
                older = await asyncpg.connect(postgres_place.url)
                for number in range(200):
                    await older.execute("UPDATE tasks SET title = $1 WHERE id = $2", str(number), task.id)
                await older.close()

            async def write() -> None:
                for _ in range(200):
                    await store.toggle("alice", task.id)

            await asyncio.gather(*[write_as_before() for _ in range(4)], *[write() for _ in range(4)])

            assert 8 * 200 < await store.seq("alice") == (await store.get("alice", task.id)).version
        assert ["0"] == postgres_place.run("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")

    async def test_preparing_a_search_goes_on_where_it_stopped(self, migrated: Place) -> None:
        """If there are too many tasks for one request, it fails in time, and a later one succeeds."""
        migrated.run(many_tasks(migrated))
        query = TaskQuery(search="τίτλος", count=True)
        async with opened(migrated) as store:
            store.database.limits = Limits(folding_s=0)
            for _ in range(0, MANY, FOLDED_AT_ONCE):
                with pytest.raises(StoreUnavailable, match="still being prepared for searching"):
                    await store.list("alice", query)

            assert MANY - 1 == (await store.list("alice", query)).total

    async def test_two_servers_can_prepare_the_same_search(
        self, migrated: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither repeats what the other has prepared: no version changes, and both find the task."""
        migrated.run("UPDATE tasks SET description = 'In der Straße'")
        query = TaskQuery(search="STRASSE")
        async with opened(migrated) as store, opened(migrated) as other:
            before = await store.list("alice")
            found = []
            write_many = store.database.write_many

            async def overtaken(*args: Any, **options: Any) -> None:
                monkeypatch.setattr(store.database, "write_many", write_many)
                found.append(await other.list("alice", query))
                await write_many(*args, **options)

            monkeypatch.setattr(store.database, "write_many", overtaken)
            found.append(await store.list("alice", query))

            assert [before, before] == found
            assert before == await store.list("alice")

    async def test_an_older_server_s_writes_during_the_first_search_are_found(
        self, migrated: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A task that matches before and after the change is not missed."""
        migrated.run("UPDATE tasks SET title = 'Straße'")
        async with opened(migrated) as store:
            changes = ["UPDATE tasks SET priority = 'high'", "UPDATE tasks SET priority = 'low'"]
            fetch = store.database.fetch

            async def overtaken(*args: Any, **options: Any) -> Any:
                rows = await fetch(*args, **options)
                if not rows and changes:
                    # There is nothing left to prepare.
                    migrated.run(changes.pop())
                return rows

            monkeypatch.setattr(store.database, "fetch", overtaken)
            page = await store.list("alice", TaskQuery(search="STRASSE"))

            assert (await store.list("alice")).tasks == page.tasks
            assert [] == changes

    async def test_only_the_first_search_is_prepared(self, migrated: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second search is one statement, even if nothing was written since, or there are no tasks."""
        query = TaskQuery(search="t")
        async with opened(migrated) as store:
            for owner in ("alice", "bob"):
                await store.list(owner, query)
            calls = []
            for name in ("fetch", "write", "write_many"):

                async def counted(*args: Any, name: str = name, **options: Any) -> Any:
                    calls.append(name)
                    return await getattr(type(store.database), name)(store.database, *args, **options)

                monkeypatch.setattr(store.database, name, counted)
            found = [len((await store.list(owner, query)).tasks) for owner in ("alice", "bob")]

            assert ([1, 0], ["fetch", "fetch"]) == (found, calls)

    @pytest.mark.parametrize(
        ("rights", "statements"),
        [
            ("SELECT, INSERT, UPDATE, DELETE", "DELETE FROM tasks; DELETE FROM idempotency_keys"),
            ("INSERT", ANOTHER_TASK),
            ("UPDATE", "UPDATE tasks SET title = 'u'"),
            ("DELETE", "DELETE FROM tasks"),
            ("TRUNCATE", "TRUNCATE tasks"),
            ("SELECT", "SELECT FROM tasks, owners, idempotency_keys"),
        ],
        ids=["everything", "create", "update", "delete", "truncate", "read"],
    )
    async def test_the_rights_of_roles_still_suffice(
        self, postgres_place: PostgresPlace, rights: str, statements: str
    ) -> None:
        """The migration grants what is needed for the new tables, also to those who may do only one thing."""
        role = f'"{postgres_place.name}\'s"'
        script = await asyncio.to_thread(migrate, postgres_place, "--sql")
        before, marker, after = script.partition("-- Running upgrade 0002_serves_0001 -> 0003_serves_0001")
        assert marker
        postgres_place.run(f"{before}; COMMIT; CREATE ROLE {role}; GRANT {rights} ON tasks TO {role}; {A_TASK}")
        postgres_place.run(f"BEGIN; {after}")

        postgres_place.run(f"SET ROLE {role}; {statements}")


class TestMigrate:
    def test_an_empty_database_is_migrated(self, place: Place) -> None:
        """It prints the revisions that it applied; the second time, there is nothing to do."""
        assert DONE == migrate(place).strip()
        before = place.schema()

        assert UP_TO_DATE == migrate(place).strip()
        assert (before, [HEAD]) == (place.schema(), place.run(VERSION))

    def test_a_later_revision_keeps_the_tasks(self, place: Place, later: Path) -> None:
        """A database with tasks gets the new revision, and only that one is printed."""
        hidden = later.rename(later.with_suffix(".hidden"))
        migrate(place)
        place.run(A_TASK)
        hidden.rename(later)

        assert f"{LATER}: A later one." == migrate(place).strip()
        assert ["t"] == place.run("SELECT title FROM tasks WHERE later IS NULL")
        assert [LATER] == place.run(VERSION)

    @pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "older"])
    def test_a_failed_migration_changes_nothing(self, place: Place, later: Path, *, is_empty: bool) -> None:
        """All revisions are applied in one transaction, so that a failed migration can be repeated."""
        if not is_empty:
            hidden = later.rename(later.with_suffix(".hidden"))
            migrate(place)
            hidden.rename(later)
        later.write_text(later_revision("op.drop_table('nowhere')"))
        before = place.schema()

        complaint(DATABASE_URL=place.url)

        assert before == place.schema()
        later.write_text(later_revision())
        assert migrate(place).endswith(f"{LATER}: A later one.\n")

    def test_concurrent_upgrades_apply_revisions_once(self, place: Place) -> None:
        """Of twelve concurrent upgrades, one applies the revisions, and the others find nothing to do."""
        address = parse(place.url)

        async def all_at_once() -> list[list[str]]:
            return [list(steps) for steps in await asyncio.gather(*[runner.upgrade(address) for _ in range(12)])]

        done = asyncio.run(all_at_once())

        assert [[]] * 11 + [STEPS] == sorted(done)
        assert [HEAD] == place.run(VERSION)

    def test_two_processes_can_migrate_at_once(self, place: Place) -> None:
        """Two deployments that start together need no coordination."""
        with ThreadPoolExecutor() as threads:
            begun = [
                threads.submit(run_python, "-m", "taskd", "migrate", settings={"DATABASE_URL": place.url})
                for _ in range(2)
            ]
            ended = [each.result() for each in begun]

        assert [(0, ""), (0, "")] == [(each.returncode, each.stderr) for each in ended]
        assert [DONE, UP_TO_DATE] == sorted(each.stdout.strip() for each in ended)

    # SQLite does not wait for others in some states of a new file; only some repetitions reach them.
    @pytest.mark.parametrize("_", range(12))
    def test_servers_and_migrations_can_start_together(self, sqlite_place: SQLitePlace, _: int) -> None:
        """Whichever creates the tables of a new file, the others find them."""

        async def together() -> None:
            stores = [taskd_storage({"DATABASE_URL": sqlite_place.url}) for _ in range(4)]
            upgrades = [runner.upgrade(parse(sqlite_place.url)) for _ in range(4)]
            await asyncio.gather(*upgrades, *[store.ping() for store in stores])
            await asyncio.gather(*[store.close() for store in stores])

        asyncio.run(together())

        assert [HEAD] == sqlite_place.run(VERSION)

    def test_serving_is_not_disturbed(self, place: Place, user_id: str) -> None:
        """A server becomes ready when its database is migrated, and later migrations refuse no request."""
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
                responses = [client.post(f"/api/{user_id}/tasks", json={"title": "t"}) for _ in range(40)]
            made = client.get(f"/api/{user_id}/tasks").json()
            server.stop()

        assert [[]] * 2 == [each.result() for each in migrating]
        assert ([201] * 40, 40) == ([response.status_code for response in responses], len(made))

    def test_it_works_through_a_pooler(self, pooler: PgBouncer, postgres_place: PostgresPlace) -> None:
        """A PgBouncer in transaction mode is no obstacle, however often it is used."""
        url = pooler.url(postgres_place.name)
        ended = [
            invoke("migrate", settings={"DATABASE_URL": url, "TASKD_SQL_POOLER": "yes"}).output.strip()
            for _ in range(6)
        ]

        assert [DONE] + [UP_TO_DATE] * 5 == ended

    def test_concurrent_upgrades_through_a_pooler(self, pooler: PgBouncer, postgres_place: PostgresPlace) -> None:
        """The lock between them belongs to the transaction, not to the pooler's connection."""
        address = parse(pooler.url(postgres_place.name))

        async def all_at_once() -> list[int]:
            return [len(steps) for steps in await asyncio.gather(*[runner.upgrade(address) for _ in range(8)])]

        assert [0] * 7 + [len(STEPS)] == sorted(asyncio.run(all_at_once()))

    @pytest.mark.anyio
    @pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
    async def test_the_user_s_time_outs_do_not_end_its_waiting(
        self, postgres_place: PostgresPlace, setting: str
    ) -> None:
        """Another migration may take longer than the database allows for other work."""
        postgres_place.run(f"ALTER DATABASE {postgres_place.name} SET {setting} = '500ms'")
        async with connected(postgres_place.url) as other:
            await other.execute("SET statement_timeout = 0")
            async with other.transaction():
                await other.execute(f"SELECT pg_advisory_xact_lock({connection.ADVISORY_LOCK})")
                migrating = asyncio.create_task(runner.upgrade(parse(postgres_place.url)))
                await until_waiting(other, 1)
                await other.execute("SELECT pg_sleep(0.7)")

        assert STEPS == await migrating

    def test_the_user_s_time_outs_do_not_end_its_work(
        self, postgres_place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A migration may compute for longer than the database lets transactions be idle."""
        postgres_place.run(f"ALTER DATABASE {postgres_place.name} SET idle_in_transaction_session_timeout = '500ms'")
        upgrade = runner._upgrade

        def upgrade_slowly(connection: Connection) -> None:
            postgres_place.server.psql("postgres", "-c", "SELECT pg_sleep(0.7)")
            upgrade(connection)

        monkeypatch.setattr(runner, "_upgrade", upgrade_slowly)

        assert DONE == migrate(postgres_place).strip()

    @pytest.mark.parametrize(("query", "expected"), [("", "taskd"), ("?application_name=mine", "mine")])
    def test_the_server_knows_the_application(self, postgres_place: PostgresPlace, query: str, expected: str) -> None:
        """The name is the URL's, if it has one."""
        postgres_place.run(NOTE_WHO_CHANGES)

        assert STEPS == migrate_in_thread(postgres_place.url + query)
        assert [expected] == postgres_place.run("SELECT DISTINCT name FROM who")

    def test_another_url_can_be_set(self, postgres_place: PostgresPlace) -> None:
        """With TASKD_MIGRATE_URL, `taskd migrate` does not connect to DATABASE_URL."""
        elsewhere = f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d"

        result = invoke("migrate", settings={"DATABASE_URL": elsewhere, "TASKD_MIGRATE_URL": postgres_place.url})

        assert (0, DONE) == (result.exit_code, result.output.strip())
        assert [HEAD] == postgres_place.run(VERSION)

    def test_both_urls_must_be_of_the_same_kind(self) -> None:
        """A file and a server cannot be the same database."""
        result = invoke("migrate", settings={"TASKD_MIGRATE_URL": f"postgresql://u:{PASSWORD}@h/d"})

        assert 1 == result.exit_code
        assert result.output.startswith(
            "taskd: TASKD_MIGRATE_URL: must lead to the same database as DATABASE_URL (plugin "
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
    def test_neon_s_pooler_is_bypassed(self, settings: dict[str, str], expected: str) -> None:
        """The direct host is the pooler's without its suffix, unless another URL is set."""
        url = "postgresql://u:p@ep-cool-1-pooler.eu-central-1.aws.neon.tech/d?sslmode=require&channel_binding=require"
        address = taskd_storage({"DATABASE_URL": url, **settings}).migration_url

        assert isinstance(address, PostgresURL)
        assert expected == address.host

    def test_a_wrong_url_stops_the_start(self) -> None:
        """A server does not start with a TASKD_MIGRATE_URL that would fail later."""
        url = f"mysql://u:{PASSWORD}@h/d"
        settings = {"BETTER_AUTH_SECRET": SECRET, "TASKD_MIGRATE_URL": url}

        ended = run_python(*SERVE, settings=settings)

        assert (1, "") == (ended.returncode, ended.stdout)
        [line] = ended.stderr.splitlines()
        assert line.startswith("taskd: TASKD_MIGRATE_URL: must be postgresql://")
        assert PASSWORD not in line


def migrate_in_thread(url: str) -> list[str]:
    """Upgrade without the command line, which cannot run in several threads of a process."""
    return list(asyncio.run(runner.upgrade(parse(url))))


class TestScript:
    def test_it_does_the_same_as_migrating(self, place: Place) -> None:
        """Running the output of `--sql` with the database's own program has the same result as `taskd migrate`."""
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
        """It creates no table and no file."""
        folder_before = sorted(tmp_path.iterdir())
        migrate(place, "--sql")
        assert folder_before == sorted(tmp_path.iterdir())
        empty = place.schema()

        migrate(place, "--sql")

        assert empty == place.schema()

    def test_only_missing_revisions_are_printed(self, place: Place, later: Path) -> None:
        """The script upgrades a database that already has a schema."""
        hidden = later.rename(later.with_suffix(".hidden"))
        migrate(place)
        hidden.rename(later)

        shown = migrate(place, "--sql")
        place.run(shown)

        assert ("CREATE TABLE" in shown, "ALTER TABLE tasks ADD COLUMN later" in shown) == (False, True)
        assert UP_TO_DATE == migrate(place).strip()

    def test_an_up_to_date_schema_prints_a_comment(self, place: Place) -> None:
        """There is nothing to do, and the output is still valid SQL."""
        migrate(place)
        before = place.schema()
        shown = migrate(place, "--sql")
        place.run(f"{shown}\nSELECT 1;")

        assert ["-- The schema is up to date."] == shown.splitlines()
        assert before == place.schema()
