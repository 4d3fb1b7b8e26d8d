"""Each fault that hides, refuses or loses tasks is real here, and `taskd doctor` names it, and what to set."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import attrs
import pytest

import taskd_sql.checks.sqlite
from taskd_sql.checks import mounts
from tests.support.databases import PostgresPlace, SQLitePlace
from tests.support.doctor import Report, examined
from tests.support.mounts import mounted
from tests.support.pgbouncer import PgBouncer, pgbouncer
from tests.support.postgres import PostgresServer
from tests.support.requirements import permitted

pytestmark = pytest.mark.usefixtures("_once", "_near")

USER = "ALTER ROLE guest"
ALL_RIGHTS = "GRANT SELECT, INSERT, UPDATE, DELETE ON tasks, owners, idempotency_keys, taskd_version TO guest;"
FAILED, NOTE = "FAILED", "note"


@attrs.frozen
class Fault:
    """
    What somebody has done to a database, and what must be said about it.

    Attributes:
        done: The statements; `{db}` is the name of the database.
        outcomes: The checks that find it, and how they end.
        finding: What the first of them says, among other things.
        remedy: What its remedy names.
        settings: Settings of taskd.
        is_guest: Whether taskd connects as a user that does not own the tables.
        is_alone: Whether no other fault may be in the same database, besides those that a user would run into.
    """

    done: str
    outcomes: dict[str, str]
    finding: str
    remedy: str
    settings: dict[str, str] = attrs.field(factory=dict, kw_only=True)
    is_guest: bool = attrs.field(default=False, kw_only=True)
    is_alone: bool = attrs.field(default=False, kw_only=True)

    def goes_with(self, others: Sequence[Fault]) -> bool:
        """Tell whether this fault and *others* can be told apart in one database."""
        found = {check for other in others for check in other.outcomes}
        can_share = not (self.is_alone or "tasks" in self.outcomes or any(other.is_alone for other in others))
        return can_share and not found & {*self.outcomes, "tasks"} and self.is_guest == others[0].is_guest


def trigger(body: str, when: str = "BEFORE INSERT ON tasks FOR EACH ROW") -> str:
    """Return the statements that add a trigger of somebody else's."""
    function = f"CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
    return f"{function} CREATE TRIGGER theirs {when} EXECUTE FUNCTION theirs();"


TRIGGERED = {"triggers": NOTE, "tasks": FAILED}
FAULTS = {
    # The server and the session.
    "synchronous_commit": Fault(
        "ALTER DATABASE {db} SET synchronous_commit = off",
        {"durability": FAILED},
        "synchronous_commit is off: a crash loses acknowledged writes",
        'ALTER DATABASE "{db}" SET synchronous_commit = on',
    ),
    "synchronous_commit of a role": Fault(
        f"{ALL_RIGHTS} {USER} SET synchronous_commit = off",
        {"durability": FAILED},
        "synchronous_commit is off",
        'ALTER ROLE "guest" SET synchronous_commit = on',
        is_guest=True,
    ),
    "serializable": Fault(
        "ALTER DATABASE {db} SET default_transaction_isolation = serializable",
        {"session": FAILED},
        "default_transaction_isolation is serializable",
        "SET default_transaction_isolation = 'read committed'",
    ),
    "replica": Fault(
        "ALTER DATABASE {db} SET session_replication_role = replica",
        {"session": FAILED},
        "session_replication_role is replica: triggers do not run",
        "SET session_replication_role = 'origin'",
    ),
    "read-only role": Fault(
        f"{ALL_RIGHTS} {USER} SET default_transaction_read_only = on",
        {"writing": FAILED},
        "the database is read-only",
        "RESET default_transaction_read_only",
        is_guest=True,
    ),
    "owned by another user": Fault(
        ALL_RIGHTS, {"migrations": NOTE}, "the tables belong to taskd", "Set TASKD_MIGRATE_URL", is_guest=True
    ),
    "lock_timeout": Fault(
        "ALTER DATABASE {db} SET lock_timeout = '100ms'",
        {"time-outs": NOTE},
        "lock_timeout is 100 ms, and should be 5000",
        "TASKD_SQL_STATEMENT_TIMEOUT",
    ),
    "idle_session_timeout": Fault(
        "ALTER DATABASE {db} SET idle_session_timeout = '10s'",
        {"time-outs": NOTE},
        "idle_session_timeout is 10000 ms, and should be 60000",
        "TASKD_SQL_IDLE_TIMEOUT",
    ),
    "transaction_timeout": Fault(
        "ALTER DATABASE {db} SET transaction_timeout = '1s'",
        {"time-outs": NOTE},
        "transaction_timeout is 1000 ms",
        "SET transaction_timeout = '8000 ms'",
    ),
    "idle_in_transaction_session_timeout": Fault(
        "ALTER DATABASE {db} SET idle_in_transaction_session_timeout = '1s'",
        {"time-outs": NOTE},
        "idle_in_transaction_session_timeout is 1000 ms",
        "SET idle_in_transaction_session_timeout",
    ),
    "milliseconds": Fault(
        "SELECT",
        {"time-outs": NOTE},
        "TASKD_SQL_STATEMENT_TIMEOUT is 500 seconds",
        "in seconds, not in milliseconds",
        settings={"TASKD_SQL_STATEMENT_TIMEOUT": "500"},
    ),
    "pool too large": Fault(
        "SELECT",
        {"connections": FAILED},
        "each process opens up to 1000",
        "Set TASKD_SQL_POOL_SIZE",
        settings={"TASKD_SQL_POOL_SIZE": "1000"},
    ),
    "pool too large for two": Fault(
        "SELECT",
        {"connections": NOTE},
        "a second process would be refused some",
        "max_connections",
        settings={"TASKD_SQL_POOL_SIZE": "150"},
    ),
    "connection limit of a role": Fault(
        f"{ALL_RIGHTS} {USER} CONNECTION LIMIT 5",
        {"connections": FAILED},
        "the server allows 5, and each process opens up to 10",
        "CONNECTION LIMIT",
        is_guest=True,
    ),
    "standby": Fault(
        "CREATE SCHEMA pretended;"
        " CREATE FUNCTION pretended.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT true';"
        " ALTER DATABASE {db} SET search_path = pretended, pg_catalog, public",
        {"writing": FAILED},
        "this server is a standby",
        "Set the host in DATABASE_URL to that of the primary",
        is_alone=True,
    ),
    "migrations elsewhere": Fault(
        "SELECT",
        {"migrations": FAILED},
        "TASKD_MIGRATE_URL leads to another database",
        "Correct TASKD_MIGRATE_URL",
        settings={"TASKD_MIGRATE_URL": "{other}"},
    ),
    "migrations nowhere": Fault(
        "SELECT",
        {"migrations": NOTE},
        "TASKD_MIGRATE_URL cannot be used",
        "database in TASKD_MIGRATE_URL",
        settings={"TASKD_MIGRATE_URL": "{nowhere}"},
    ),
    # The tables.
    "unlogged": Fault(
        "ALTER TABLE tasks SET UNLOGGED", {"tables": FAILED}, "tasks is unlogged: a crash empties it", "SET LOGGED"
    ),
    "inherited": Fault(
        "CREATE TABLE more () INHERITS (tasks)",
        {"tables": FAILED},
        "more inherits from tasks",
        "ALTER TABLE more NO INHERIT tasks",
    ),
    "view": Fault(
        "ALTER TABLE tasks RENAME TO hidden; CREATE VIEW tasks AS SELECT * FROM hidden WHERE status <> 'completed'",
        {"tables": FAILED, "keys": FAILED, "triggers": FAILED},
        "tasks is not a table",
        "search_path",
        is_alone=True,
    ),
    "two schemas": Fault(
        "CREATE SCHEMA app; ALTER TABLE owners SET SCHEMA app; ALTER DATABASE {db} SET search_path = public, app",
        {"tables": FAILED},
        "different schemas",
        "search_path",
        is_alone=True,
    ),
    "other tables": Fault(
        "CREATE SCHEMA app; CREATE TABLE app.taskd_version AS TABLE taskd_version",
        {"tables": NOTE},
        "there are others in app, whose tasks are not shown",
        "search_path",
    ),
    "narrow column": Fault(
        "ALTER TABLE tasks ALTER title TYPE varchar(50)",
        {"columns": FAILED},
        "tasks.title is character varying(50)",
        "ALTER TABLE tasks ALTER title TYPE text",
    ),
    "collation": Fault(
        'ALTER TABLE idempotency_keys ALTER key TYPE text COLLATE "POSIX"',
        {"columns": FAILED},
        "idempotency_keys.key is text, collation POSIX",
        'TYPE text COLLATE "C"',
    ),
    "required column": Fault(
        "ALTER TABLE tasks ALTER description SET NOT NULL",
        {"columns": FAILED},
        "tasks.description is required",
        "DROP NOT NULL",
    ),
    "column of others": Fault(
        "ALTER TABLE tasks ADD team text NOT NULL",
        {"columns": FAILED},
        "tasks.team, which taskd does not fill, is required",
        "DROP team",
    ),
    "missing column": Fault(
        "ALTER TABLE owners DROP is_folded", {"columns": FAILED}, "owners.is_folded is missing", "schema.sql"
    ),
    "no key": Fault(
        "ALTER TABLE owners DROP CONSTRAINT owners_pkey",
        {"keys": FAILED},
        "owners has no primary key",
        "ADD PRIMARY KEY (user_id)",
    ),
    "invalid key": Fault(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'tasks_pkey'::regclass",
        {"keys": FAILED},
        "the key of tasks is not valid",
        "REINDEX INDEX tasks_pkey",
    ),
    "no index": Fault(
        "DROP INDEX idempotency_keys_age", {"keys": NOTE}, "idempotency_keys_age is missing", "CREATE INDEX"
    ),
    # What hides or refuses rows.
    "row security": Fault(
        f"{ALL_RIGHTS} ALTER TABLE tasks ENABLE ROW LEVEL SECURITY",
        {"row security": FAILED},
        "policies may hide or refuse rows of tasks",
        'ALTER ROLE "guest" BYPASSRLS',
        is_guest=True,
    ),
    "row security of some": Fault(
        f"{ALL_RIGHTS} ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;"
        " CREATE POLICY own ON tasks USING (user_id LIKE 'a%')",
        {"row security": FAILED},
        "policies may hide or refuse rows of tasks",
        "DISABLE ROW LEVEL SECURITY",
        is_guest=True,
    ),
    "row security of all": Fault(
        f"{ALL_RIGHTS} ALTER TABLE tasks ENABLE ROW LEVEL SECURITY; CREATE POLICY everyone ON tasks USING (true)",
        {"row security": NOTE},
        "allow everything",
        "DISABLE ROW LEVEL SECURITY",
        is_guest=True,
    ),
    "no right to delete": Fault(
        f"{ALL_RIGHTS} REVOKE DELETE ON idempotency_keys FROM guest",
        {"writing": FAILED},
        "no right to DELETE on idempotency_keys",
        "GRANT SELECT, INSERT, UPDATE, DELETE",
        is_guest=True,
    ),
    "disabled trigger": Fault(
        "ALTER TABLE tasks DISABLE TRIGGER tasks_updated",
        {"triggers": FAILED},
        "missing or disabled: tasks_updated",
        "ENABLE TRIGGER tasks_updated",
    ),
    "dropped trigger": Fault(
        "DROP TRIGGER tasks_truncated ON tasks", {"triggers": FAILED}, "tasks_truncated", "schema.sql"
    ),
    "harmless trigger": Fault(trigger("RETURN NEW;"), {"triggers": NOTE}, "trigger theirs on tasks", "Drop"),
    "refusing trigger": Fault(trigger("RETURN NULL;"), TRIGGERED, "creating a task", "triggers, rules"),
    "raising trigger": Fault(
        trigger("RAISE EXCEPTION 'hunter2';"), TRIGGERED, "creating a task: RaiseError", "triggers, rules"
    ),
    "changing trigger": Fault(
        trigger("NEW.title := upper(NEW.description); RETURN NEW;"),
        TRIGGERED,
        "the same Idempotency-Key: the result is not what was written",
        "triggers, rules",
    ),
    "deleting trigger": Fault(
        trigger("DELETE FROM tasks WHERE id = NEW.id; RETURN NULL;", "AFTER INSERT ON tasks FOR EACH ROW"),
        TRIGGERED,
        "the same Idempotency-Key",
        "triggers, rules",
    ),
    "rule": Fault(
        "CREATE RULE keep AS ON DELETE TO tasks DO INSTEAD NOTHING",
        {"triggers": NOTE, "tasks": FAILED},
        "deleting the task",
        "triggers, rules",
    ),
    "check": Fault("ALTER TABLE tasks ADD CHECK (length(title) < 100)", TRIGGERED, "creating a task: ", "constraints"),
    "foreign key": Fault(
        'CREATE TABLE people (id text COLLATE "C" PRIMARY KEY);'
        " ALTER TABLE owners ADD FOREIGN KEY (user_id) REFERENCES people",
        TRIGGERED,
        "creating a task: ForeignKeyViolationError 23503",
        "constraints",
    ),
    "unique index": Fault(
        "CREATE UNIQUE INDEX only_once ON tasks (title)", {"triggers": NOTE}, "unique index only_once on tasks", "Drop"
    ),
}


def in_batches(faults: Iterable[Fault]) -> list[list[Fault]]:
    """Distribute *faults* over as few databases as possible: running the command for each would take long."""
    batches: list[list[Fault]] = []
    for fault in faults:
        fitting = next((batch for batch in batches if fault.goes_with(batch)), None)
        if fitting is None:
            batches.append([fault])
        else:
            fitting.append(fault)
    return batches


@attrs.frozen
class Databases:
    """Databases with faults, and what was said about each."""

    server: PostgresServer
    other: str
    batches: list[list[Fault]] = attrs.field(factory=lambda: in_batches(FAULTS.values()))
    _reports: dict[int, tuple[str, Report]] = attrs.field(factory=dict)

    def examined(self, fault: Fault) -> tuple[list[Fault], str, Report]:
        """Return the faults of the database that has *fault*, its name, and the report."""
        number = next(number for number, batch in enumerate(self.batches) if fault in batch)
        if number not in self._reports:
            self._reports[number] = self._examine(self.batches[number])
        return self.batches[number], *self._reports[number]

    def _examine(self, faults: list[Fault]) -> tuple[str, Report]:
        name, is_guest = f"faulty_{uuid.uuid4().hex}", faults[0].is_guest
        url = self.server.create_database(name)
        if is_guest:
            self.server.psql("postgres", "-c", "CREATE ROLE guest LOGIN")
        try:
            scripts = [("-c", fault.done.replace("{db}", name)) for fault in faults]
            self.server.psql(name, *chain.from_iterable(scripts))
            settings = {key: value for fault in faults for key, value in fault.settings.items()}
            given = {key: value.format(other=self.other, nowhere=f"{url}_nowhere") for key, value in settings.items()}
            return name, examined(url.replace("taskd@", "guest@") if is_guest else url, **given)
        finally:
            if is_guest:
                self.server.psql(name, "-c", "DROP OWNED BY guest", "-c", "DROP ROLE guest")


@pytest.fixture(scope="module")
def databases(postgres: PostgresServer, migrated: PostgresPlace) -> Databases:
    return Databases(postgres, migrated.url)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_postgresql_is_named(databases: Databases, fault: Fault) -> None:
    """The checks that find it say what to change; no others fail."""
    faults, name, report = databases.examined(fault)

    expected = {check: outcome for each in faults for check, outcome in each.outcomes.items()}
    expected |= {"migrations": NOTE} if fault.is_guest else {}
    expected |= {"tasks": "-"} if FAILED in expected.values() and "tasks" not in expected else {}
    wrong = {check: outcome for check, outcome in report.outcomes.items() if outcome != "ok"}
    assert expected == wrong, report.text
    last = list(fault.outcomes)[-1 if fault.outcomes == TRIGGERED else 0]
    assert fault.finding in report.findings[last]
    assert fault.remedy.replace("{db}", name) in report.remedies[last]
    assert "hunter2" not in report.text


def test_a_server_that_does_not_sync_fails(migrated: PostgresPlace) -> None:
    """The tests' own server does not wait for the disk, which only a strict run notices."""
    report = examined(migrated.url, "--strict")

    assert ["durability"] == report.failed()
    assert report.findings["durability"].startswith("fsync is off")
    assert "fsync = on in postgresql.conf" in report.remedies["durability"]


def test_a_server_without_disks_of_its_own_passes(own_migrated: PostgresPlace) -> None:
    """Aurora keeps its log on other machines, whatever fsync is."""
    own_migrated.run("CREATE FUNCTION aurora_version() RETURNS text LANGUAGE sql AS $$ SELECT '17.4' $$")

    assert "ok" == examined(own_migrated.url, "--strict").outcomes["durability"]


class TestPoolers:
    def test_a_pooler_that_is_not_there_is_noted(self, migrated: PostgresPlace) -> None:
        """Without a pooler, prepared statements would be kept."""
        report = examined(migrated.url, TASKD_SQL_POOLER="yes")

        assert (NOTE, []) == (report.outcomes["pooler"], report.failed())
        assert "Set TASKD_SQL_POOLER=no" in report.remedies["pooler"]

    def test_statement_mode_fails(self, postgres: PostgresServer, migrated: PostgresPlace) -> None:
        """Long lists need transactions."""
        with pgbouncer(postgres, pool_mode="statement") as between:
            report = examined(between.url(migrated.name), TASKD_SQL_POOLER="yes")

        assert ["pooler"] == report.failed()
        assert "pool_mode = transaction" in report.remedies["pooler"]

    def test_users_are_served_through_a_pooler(self, preparing_pooler: PgBouncer, migrated: PostgresPlace) -> None:
        """What users do is tried out with a pooler that keeps prepared statements, too."""
        report = examined(preparing_pooler.url(migrated.name), TASKD_SQL_POOLER="yes")

        assert {"ok"} == set(report.outcomes.values())


class TestNoTrace:
    def test_postgresql_is_as_before(self, own_migrated: PostgresPlace) -> None:
        """The tables are empty afterwards, and no sequence was used."""
        dump = ("pg_dump", "--data-only", "--restrict-key=x", own_migrated.url)
        before = own_migrated.server.run(*dump)

        assert 0 == examined(own_migrated.url).exit_code
        assert before == own_migrated.server.run(*dump)
        assert ["0"] == own_migrated.run("SELECT count(*) FROM owners")

    def test_a_missing_file_stays_missing(self, tmp_path: Path) -> None:
        """What users do is tried out with a file beside it, which is deleted."""
        report = examined(f"sqlite:///{tmp_path}/new.db")

        assert ("ok", []) == (report.outcomes["tasks"], list(tmp_path.iterdir()))


SQLITE_FAULTS = {
    "missing trigger": Fault(
        "DROP TRIGGER tasks_updated", {"tables": FAILED, "tasks": "-"}, "missing: tasks_updated", "Restore a backup"
    ),
    "no key": Fault(
        "CREATE TABLE copy AS SELECT * FROM idempotency_keys; DROP TABLE idempotency_keys;"
        " ALTER TABLE copy RENAME TO idempotency_keys;",
        {"tables": FAILED, "tasks": "-"},
        "missing: the primary key of idempotency_keys",
        "Restore a backup",
    ),
    "harmless trigger": Fault(
        "CREATE TRIGGER theirs AFTER INSERT ON tasks BEGIN SELECT 1; END", {"tables": NOTE}, "theirs", "DROP TRIGGER"
    ),
    "unique index": Fault(
        "CREATE UNIQUE INDEX theirs ON tasks (user_id, title)", {"tables": NOTE}, "unique index theirs", "DROP INDEX"
    ),
    "refusing trigger": Fault(
        "CREATE TRIGGER theirs BEFORE DELETE ON tasks BEGIN SELECT RAISE(IGNORE); END",
        {"tables": NOTE, "tasks": FAILED},
        "theirs",
        "DROP TRIGGER",
    ),
    "raising trigger": Fault(
        "CREATE TRIGGER theirs BEFORE INSERT ON tasks BEGIN SELECT RAISE(ABORT, 'hunter2'); END",
        {"tables": NOTE, "tasks": FAILED},
        "theirs",
        "DROP TRIGGER",
    ),
}


class TestSQLite:
    @pytest.mark.parametrize("fault", SQLITE_FAULTS.values(), ids=SQLITE_FAULTS)
    def test_a_fault_in_a_file_is_named(self, served: SQLitePlace, fault: Fault) -> None:
        """The checks that find it say what to do; no others fail."""
        with contextlib.closing(sqlite3.connect(served.file)) as connection:
            connection.executescript(fault.done)
        report = examined(served.url)

        wrong = {check: outcome for check, outcome in report.outcomes.items() if outcome != "ok"}
        assert fault.outcomes == wrong, report.text
        first = next(iter(fault.outcomes))
        assert fault.finding in report.findings[first]
        assert fault.remedy in report.remedies[first]
        assert "hunter2" not in report.text

    def test_a_file_in_memory_fails(self, tmp_path: Path) -> None:
        """A file system in memory loses everything at the next start of the machine."""
        (tmp_path / "disk").mkdir()
        with mounted(tmp_path / "disk", "80m"):
            report = examined(f"sqlite:///{tmp_path}/disk/tasks.db", "--strict")

        assert ["file system"] == report.failed()
        assert "tmpfs is in memory" in report.findings["file system"]
        assert "DATABASE_URL=sqlite:////var/lib" in report.remedies["file system"]

    def test_a_file_in_a_container_is_noted(self, tmp_path: Path) -> None:
        """What is written outside of a volume is lost with the container."""
        for name in ("disk", "merged"):
            (tmp_path / name).mkdir()
        with mounted(tmp_path / "disk", "80m") as disk:
            for name in ("lower", "upper", "work"):
                (disk.folder / name).mkdir()
            layers = f"lowerdir={disk.folder}/lower,upperdir={disk.folder}/upper,workdir={disk.folder}/work"
            merged = str(tmp_path / "merged")
            permitted("no overlay can be mounted", "mount", "-t", "overlay", "-o", layers, "overlay", merged)
            try:
                report = examined(f"sqlite:///{merged}/tasks.db", "--strict")
            finally:
                permitted("it is still in use", "umount", merged)

        assert ([], NOTE) == (report.failed(), report.outcomes["file system"])
        assert "Mount a volume" in report.remedies["file system"]

    @pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
    def test_a_file_on_a_network_fails(self, served: SQLitePlace, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        """SQLite's locks cannot be trusted there."""
        monkeypatch.setattr(mounts, "kind_of", lambda _: kind)
        report = examined(served.url, "--strict")

        assert ["file system"] == report.failed()
        assert "or use PostgreSQL" in report.remedies["file system"]

    def test_a_second_name_fails(self, served: SQLitePlace) -> None:
        """A process that opens the file by another name would not find its journal."""
        os.link(served.file, served.file.with_name("other.db"))
        report = examined(served.url)

        assert ["file"] == report.failed()
        assert f"find -samefile {served.file}" in report.remedies["file"]

    def test_a_journal_of_another_user_fails(self, served: SQLitePlace) -> None:
        """Somebody has used the file as root, perhaps, and taskd's own user cannot write any more."""
        with contextlib.closing(sqlite3.connect(served.file)) as connection:
            connection.execute("SELECT 1 FROM tasks").fetchall()
            journal = f"{served.file}-wal"
            permitted("files cannot be given away", "chown", "65534", journal)
            report = examined(served.url)

        assert ["file"] == report.failed()
        assert f"chown --reference={served.file} {journal}" == report.remedies["file"]

    def test_a_folder_that_the_owner_cannot_write_fails(self, served: SQLitePlace) -> None:
        """Root may do anything, but taskd does not run as root."""
        permitted("files cannot be given away", "chown", "65534:65534", str(served.file))
        report = examined(served.url)

        assert ["file"] == report.failed()
        assert f"chown --reference={served.file} {served.file.parent}" == report.remedies["file"]

    def test_a_journal_that_anyone_can_read_is_noted(self, served: SQLitePlace) -> None:
        """It contains the latest tasks."""
        with contextlib.closing(sqlite3.connect(served.file)) as connection:
            connection.execute("SELECT 1 FROM tasks").fetchall()
            Path(f"{served.file}-wal").chmod(0o644)
            report = examined(served.url)

        assert (NOTE, f"chmod o-rwx {served.file}-wal") == (report.outcomes["file"], report.remedies["file"])

    def test_a_folder_that_anyone_can_write_is_noted(self, served: SQLitePlace) -> None:
        """Anyone could replace the file by another."""
        served.file.parent.chmod(0o777)
        report = examined(served.url)

        assert (NOTE, f"chmod o-w {served.file.parent}") == (report.outcomes["folder"], report.remedies["folder"])

    def test_a_relative_path_is_noted(self, served: SQLitePlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """In another folder, taskd would start with an empty file."""
        monkeypatch.chdir(served.file.parent)
        report = examined("sqlite:///tasks.db")

        assert (NOTE, f"Set DATABASE_URL={served.url}") == (report.outcomes["file"], report.remedies["file"])

    def test_a_large_file_is_checked_for_a_limited_time(
        self, served: SQLitePlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Looking for damage reads the whole file, and ends early if that takes too long."""
        monkeypatch.setattr(taskd_sql.checks.sqlite, "INTEGRITY_S", -1)
        monkeypatch.setattr(taskd_sql.checks.sqlite, "_STEPS", 1)
        report = examined(served.url)

        assert ([], NOTE) == (report.failed(), report.outcomes["integrity"])
        assert f"sqlite3 {served.file} 'PRAGMA quick_check'" == report.remedies["integrity"]

    def test_a_file_that_another_process_is_writing_fails(self, served: SQLitePlace) -> None:
        """Users would be refused as long as the lock is held."""
        with contextlib.closing(sqlite3.connect(served.file, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            report = examined(served.url, TASKD_SQL_STATEMENT_TIMEOUT="0.1")

        assert (["tasks"], "beginning: SQLITE_BUSY") == (report.failed(), report.findings["tasks"])

    def test_milliseconds_are_noted(self, served: SQLitePlace) -> None:
        """A time-out in milliseconds is hardly meant to be one in seconds."""
        report = examined(served.url, TASKD_SQL_ACQUIRE_TIMEOUT="500")

        assert "TASKD_SQL_ACQUIRE_TIMEOUT is 500 seconds" == report.findings["time-outs"]
