"""What `taskd doctor` finds in SQLite files and PostgreSQL servers."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import shutil
import sqlite3
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

import taskd_sql.checks.postgres
import taskd_sql.checks.sqlite
from taskd_sql.schema import REVISIONS
from tests.support.databases import PostgresPlace, SQLitePlace, holding
from tests.support.doctor import PASSWORD, examined
from tests.support.pgbouncer import PgBouncer, pgbouncer
from tests.support.postgres import NEON_POOLER, USER, PostgresServer, free_port
from tests.support.proxy import ServerWithoutTLS, leading_to, listening, listening_like_postgres, silent
from tests.support.serving import RESPONSE_BOUND_S

pytestmark = pytest.mark.usefixtures("_once", "_near")

HEAD = REVISIONS[-1]
# The checks that need a connection, in order.
CONNECTED = [
    *("pooler", "server", "round trip", "clock", "durability", "session", "time-outs", "connections", "migrations"),
    *("schema", "writing", "tables", "columns", "keys", "row security", "triggers", "tasks"),
]
NOT_CHECKED = dict.fromkeys(CONNECTED, "-")
# Wrong schemas, for both kinds of databases.
wrong_schema = pytest.mark.parametrize(
    ("change", "said", "remedy"),
    [
        ("DROP TABLE tasks; DROP TABLE taskd_version;", "it is at revision none, behind", "Run taskd migrate."),
        ("UPDATE taskd_version SET version_num = '9'", "it is at revision 9, ahead of this taskd", "Update taskd."),
        ("INSERT INTO taskd_version VALUES ('9')", f"it is at revision {HEAD} and 9, ahead of", "Update taskd."),
    ],
    ids=["no table", "ahead", "two rows"],
)


class TestSQLite:
    def test_a_healthy_file_passes(self, served: SQLitePlace) -> None:
        """Every check passes, and the exit status is 0."""
        report = examined(served.url)

        assert {"ok"} == set(report.outcomes.values())
        of_file = ["folder", "file system", "file", "integrity", "schema", "tables", "tasks"]
        assert ["frontend", "auth", "secret", "storage", *of_file, "settings"] == list(report.outcomes)
        assert (f"revision {HEAD}", {}) == (report.findings["schema"], report.remedies)

    def test_a_missing_file_passes(self, tmp_path: Path) -> None:
        """The first start creates the file, but the doctor does not."""
        report = examined(f"sqlite:///{tmp_path}/new.db")

        assert (0, "is created at the first start") == (report.exit_code, report.findings["file"].split(" ", 1)[1])
        assert [] == list(tmp_path.iterdir())

    @pytest.mark.parametrize("is_open", [False, True], ids=["stopped", "served"])
    def test_checking_changes_nothing(self, served: SQLitePlace, *, is_open: bool) -> None:
        """No file is created or changed, whether a server has the database open or not."""
        with contextlib.ExitStack() as until_looked:
            if is_open:
                other = until_looked.enter_context(contextlib.closing(sqlite3.connect(served.file)))
                other.execute("SELECT 1 FROM tasks").fetchall()
            before = {file: file.read_bytes() for file in served.file.parent.iterdir() if file.suffix != ".db-shm"}
            names = sorted(served.file.parent.iterdir())
            assert 0 == examined(served.url).exit_code
            after = {file: file.read_bytes() for file in before}

            assert (before, names) == (after, sorted(served.file.parent.iterdir()))

    @wrong_schema
    def test_a_wrong_schema_fails(self, served: SQLitePlace, change: str, said: str, remedy: str) -> None:
        """The report says which revision was found, and which command helps."""
        served.run(change)
        report = examined(served.url)

        assert ["schema"] == report.failed()
        assert report.findings["schema"].startswith(said)
        assert remedy == report.remedies["schema"]

    def test_a_file_that_is_not_a_database_fails(self, served: SQLitePlace) -> None:
        """The report names the file and what to do."""
        served.file.write_bytes(b"no database" * 1000)
        report = examined(served.url)

        assert (["integrity"], "SQLITE_NOTADB") == (report.failed(), report.findings["integrity"])
        assert f"Restore {served.file} from a backup" in report.remedies["integrity"]

    def test_a_damaged_file_fails(self, served: SQLitePlace) -> None:
        """A corrupt page is found before a request reads it."""
        content = bytearray(served.file.read_bytes())
        content[4096:8192] = b"\xff" * 4096
        served.file.write_bytes(content)

        assert ["integrity"] == examined(served.url).failed()

    def test_a_locked_file_fails(self, served: SQLitePlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that another process has locked causes no traceback."""
        monkeypatch.setattr(
            taskd_sql.checks.sqlite, "sqlite3", SimpleNamespace(**{**vars(sqlite3), "connect": _impatient})
        )
        served.run("PRAGMA journal_mode = DELETE")
        with holding(served):
            report = examined(served.url)

        assert (["integrity"], "SQLITE_BUSY") == (report.failed(), report.findings["integrity"])

    def test_a_file_that_anyone_can_read_is_noted(self, served: SQLitePlace) -> None:
        """A mode that is too wide is noted, with the command that narrows it."""
        served.file.chmod(0o644)
        report = examined(served.url)

        assert (0, "note", f"chmod o-rwx {served.file}") == (
            report.exit_code,
            report.outcomes["file"],
            report.remedies["file"],
        )

    def test_an_almost_full_disk_fails(self, served: SQLitePlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """Too little space is reported before it causes an outage."""
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1024**2))
        report = examined(served.url)

        assert (["folder"], "1 MiB are free") == (report.failed(), report.findings["folder"])

    def test_a_read_only_folder_fails(self, served: SQLitePlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """SQLite also writes beside the file, so a writable file alone is not enough."""
        monkeypatch.setattr("os.access", lambda path, _: path == served.file)
        report = examined(served.url)

        assert (["folder"], f"{served.file} cannot be written") == (report.failed(), report.findings["folder"])

    def test_a_link_is_followed(self, served: SQLitePlace, tmp_path: Path) -> None:
        """The file that holds the tasks is checked."""
        (tmp_path / "link.db").symlink_to(served.file)

        assert 0 == examined(f"sqlite:///{tmp_path}/link.db").exit_code


def replace_function(place: PostgresPlace, signature: str, returned: str, body: str) -> None:
    """Replace a function in the database."""
    place.run(f"""
        CREATE SCHEMA pretended;
        CREATE FUNCTION pretended.{signature} RETURNS {returned} LANGUAGE sql AS $$ {body} $$;
        ALTER DATABASE {place.name} SET search_path = pretended, pg_catalog, public;
    """)


def _impatient(database: str, *, uri: bool) -> sqlite3.Connection:
    """Connect without waiting for locks."""
    return sqlite3.connect(database, uri=uri, timeout=0)


class TestPostgres:
    def test_a_unix_socket_passes(self, migrated: PostgresPlace) -> None:
        """It needs no TLS, and is reported by its path."""
        server = migrated.server
        report = examined(f"postgresql://{USER}@:{server.port}/{migrated.name}?host={server.data.parent}")

        place = f"PostgreSQL at {server.data.parent}/.s.PGSQL.{server.port}, database {migrated.name}"
        assert {"ok"} == set(report.outcomes.values())
        assert ("none, on this machine", place) == (report.findings["tls"], report.findings["connection"])

    def test_a_missing_unix_socket_fails(self, tmp_path: Path) -> None:
        """The report says that there is no such file."""
        report = examined(f"postgresql://u:{PASSWORD}@/d?host={tmp_path}")

        assert ["connection"] == report.failed()
        assert f"PostgreSQL at {tmp_path}/.s.PGSQL.5432: FileNotFoundError" == report.findings["connection"]

    def test_a_local_server_passes(self, migrated: PostgresPlace) -> None:
        """Every check passes, down to the schema."""
        report = examined(migrated.url)

        assert {"ok"} == set(report.outcomes.values())
        assert ["tls", "connection", *CONNECTED] == list(report.outcomes)[4:-1]
        assert "none, on this machine" == report.findings["tls"]
        assert report.findings["server"].startswith("PostgreSQL 17")
        assert report.findings["connection"].endswith(f"database {migrated.name}")

    def test_verified_tls_passes(self, migrated: PostgresPlace) -> None:
        """With the authority's certificate, the report has the protocol and the remaining days."""
        server = migrated.server
        url = server.secured_url(migrated.name, sslmode="verify-full", sslrootcert=str(server.ca))
        report = examined(url, TASKD_MIGRATE_URL=migrated.url)

        assert {"ok"} == set(report.outcomes.values())
        assert report.findings["tls"].startswith("TLSv1.3, the certificate is valid for ")

    def test_unverified_tls_is_noted(self, migrated: PostgresPlace) -> None:
        """Encryption without verification is no failure, but comes with advice."""
        report = examined(migrated.server.secured_url(migrated.name, sslmode="require"))

        assert (0, "note") == (report.exit_code, report.outcomes["tls"])
        assert "sslmode=verify-full" in report.remedies["tls"]

    def test_an_untrusted_certificate_fails(self, migrated: PostgresPlace) -> None:
        """The report says what is wrong with the certificate; without a connection, nothing else is checked."""
        report = examined(migrated.server.secured_url(migrated.name, sslmode="verify-full"))

        assert ["tls", "connection"] == report.failed()
        assert "self-signed certificate" in report.findings["tls"] or "issuer" in report.findings["tls"]
        assert report.outcomes.items() >= NOT_CHECKED.items()

    def test_a_certificate_for_another_host_fails(self, migrated: PostgresPlace) -> None:
        """Both checks refuse a certificate that does not name the host."""
        server = migrated.server
        url = server.secured_url(migrated.name, host="127.0.0.2", sslmode="verify-full", sslrootcert=str(server.ca))

        assert ["tls", "connection"] == examined(url).failed()

    def test_a_configured_pooler_passes(self, pooler: PgBouncer, migrated: PostgresPlace) -> None:
        """With TASKD_SQL_POOLER=yes, a PgBouncer is as it should be."""
        report = examined(pooler.url(migrated.name), TASKD_SQL_POOLER="yes")

        assert ({"ok"}, "PgBouncer, in transaction mode") == (
            set(report.outcomes.values()),
            report.findings["pooler"],
        )

    def test_a_pooler_that_is_not_configured_fails(self, pooler: PgBouncer, migrated: PostgresPlace) -> None:
        """The report suggests TASKD_SQL_POOLER=yes if a PgBouncer refuses the session's parameters."""
        report = examined(pooler.url(migrated.name))

        assert 1 == report.exit_code
        assert "TASKD_SQL_POOLER=yes" in report.text

    @pytest.mark.parametrize(
        ("host", "outcome", "finding"),
        [
            (NEON_POOLER.replace("-pooler", ""), "ok", "none: prepared statements are kept"),
            ("db.example.com", "note", "there is an unconfigured pooler or proxy"),
        ],
        ids=["neon", "another"],
    )
    def test_an_unknown_proxy_is_noted_except_neon_s(
        self,
        postgres: PostgresServer,
        migrated: PostgresPlace,
        monkeypatch: pytest.MonkeyPatch,
        host: str,
        outcome: str,
        finding: str,
    ) -> None:
        """What hides process ids may be a pooler; Neon's direct hosts hide them without pooling."""
        with pgbouncer(postgres, pool_mode="session", ignore_startup_parameters="statement_timeout") as between:
            monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", leading_to(between.port))
            url = f"postgresql://taskd@{host}/{migrated.name}?sslmode=disable"
            report = examined(url, TASKD_ALLOW_PLAINTEXT="1")

        assert (0, outcome, finding) == (report.exit_code, report.outcomes["pooler"], report.findings["pooler"])

    @wrong_schema
    def test_a_wrong_schema_fails(self, own_migrated: PostgresPlace, change: str, said: str, remedy: str) -> None:
        """The report says which revision was found, and which command helps."""
        own_migrated.run(change)
        report = examined(own_migrated.url)

        assert ["schema"] == report.failed()
        assert report.findings["schema"].startswith(said)
        assert remedy == report.remedies["schema"]

    @pytest.mark.parametrize(("ahead_s", "word"), [(-40, "behind"), (40, "ahead")])
    def test_a_wrong_clock_fails(self, own_migrated: PostgresPlace, ahead_s: int, word: str) -> None:
        """More than half a minute between this machine's clock and the database's fails: tokens depend on it."""
        theirs = f"SELECT pg_catalog.clock_timestamp() + interval '{ahead_s} s'"
        replace_function(own_migrated, "clock_timestamp()", "timestamptz", theirs)
        report = examined(own_migrated.url)

        assert ["clock"] == report.failed()
        assert f"the database's clock is 40.0 s {word}" == report.findings["clock"]

    def test_a_user_without_privileges_fails(self, own_migrated: PostgresPlace) -> None:
        """Tables of another user need a GRANT, both for changing tasks and for reading them."""
        server, name = own_migrated.server, own_migrated.name
        url = server.url(name).replace("taskd@", "guest@")
        server.psql(name, "-c", "CREATE ROLE guest LOGIN", "-c", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
        try:
            reading = examined(url)
            server.psql(name, "-c", "REVOKE SELECT ON tasks FROM guest")
            nothing = examined(url)
        finally:
            server.psql(name, "-c", "DROP OWNED BY guest", "-c", "DROP ROLE guest")

        assert (["writing"], ["schema", "writing"]) == (reading.failed(), nothing.failed())
        assert "no right to DELETE on idempotency_keys, DELETE on owners" in reading.findings["writing"]
        remedies = [reading.remedies["writing"], nothing.remedies["schema"], nothing.remedies["writing"]]
        assert all(remedy.startswith("As the owner of the tables: GRANT") for remedy in remedies)

    def test_a_read_only_database_fails(self, own_migrated: PostgresPlace) -> None:
        """It may be a replica, or configured to be read-only."""
        server, name = own_migrated.server, own_migrated.name
        server.psql("postgres", "-c", f"ALTER DATABASE {name} SET default_transaction_read_only = on")

        assert ["writing"] == examined(server.url(name)).failed()

    def test_a_distant_database_is_noted(self, migrated: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """A long round trip is noted."""
        monkeypatch.setattr(taskd_sql.checks.postgres, "FAR_MS", 0)
        report = examined(migrated.url)

        assert (0, "note") == (report.exit_code, report.outcomes["round trip"])

    def test_an_old_server_fails(self, own_migrated: PostgresPlace) -> None:
        """taskd is not tested with its version."""
        old = "SELECT CASE name WHEN 'server_version_num' THEN '110022' ELSE pg_catalog.current_setting(name) END"
        replace_function(own_migrated, "current_setting(name text)", "text", old)

        assert ["server"] == examined(own_migrated.url).failed()

    def test_a_server_that_is_down(self) -> None:
        """What cannot be checked is reported as such."""
        report = examined(f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d")

        assert ["connection"] == report.failed()
        assert report.remedies["connection"].startswith("Nothing listens there: start the database")
        assert report.outcomes.items() >= NOT_CHECKED.items()

    def test_a_server_that_is_down_with_tls(self) -> None:
        """The first failure says that the server cannot be reached."""
        report = examined(f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d?sslmode=require")

        assert ["tls", "connection"] == report.failed()
        assert report.remedies["tls"] == report.remedies["connection"]
        assert report.remedies["tls"].startswith("Nothing listens there: start the database")

    def test_an_unknown_host_fails(self) -> None:
        """The report says that the host name is unknown."""
        report = examined(f"postgresql://u:{PASSWORD}@taskd.invalid/d")

        assert ["tls", "connection"] == report.failed()
        assert "the host name is unknown" in report.findings["connection"]
        assert report.remedies["tls"] == report.remedies["connection"]
        assert report.remedies["tls"].startswith("Correct the host in DATABASE_URL")

    @pytest.mark.parametrize(
        ("user", "database", "said", "remedy"),
        [
            ("secured", "postgres", "the password is wrong, or there is no such user", "Correct the user and password"),
            ("stranger", "postgres", "this user may not connect", "Correct the user"),
            ("taskd", "nowhere", "there is no such database", "Correct the name of the database"),
        ],
        ids=["password", "user", "database"],
    )
    def test_a_refused_connection_fails(
        self, postgres: PostgresServer, user: str, database: str, said: str, remedy: str
    ) -> None:
        """The report says what was refused and what to do, without the password."""
        url = f"postgresql://{user}:{PASSWORD}@localhost:{postgres.port}/{database}?sslmode=require"
        report = examined(url)

        assert ["connection"] == report.failed()
        assert said in report.findings["connection"]
        assert report.remedies["connection"].startswith(remedy)

    @pytest.mark.anyio
    async def test_a_server_that_refuses_tls_fails(self) -> None:
        """The server does not receive the password."""
        async with ServerWithoutTLS() as server:
            url = f"postgresql://u:{PASSWORD}@127.0.0.1:{server.port}/d?sslmode=require"
            report = await asyncio.to_thread(examined, url)

            assert (["tls", "connection"], b"") == (report.failed(), server.received)
        assert "the server refuses TLS" == report.findings["tls"]
        assert report.remedies["tls"] == report.remedies["connection"]
        assert report.remedies["tls"].startswith("Turn on TLS at the server")

    @pytest.mark.anyio
    @pytest.mark.parametrize(
        ("days", "outcome", "said"), [(-1, "FAILED", "certificate has expired"), (3, "note", "valid for 2 days")]
    )
    async def test_an_expiring_certificate_is_noted(self, tmp_path: Path, days: int, outcome: str, said: str) -> None:
        """A certificate is noted shortly before it expires, and fails afterwards."""
        expires = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=days)
        async with server_with_certificate(tmp_path / "ca.pem", expires) as port:
            url = f"postgresql://u:{PASSWORD}@localhost:{port}/d?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem"
            report = await asyncio.to_thread(examined, url, TASKD_SQL_CONNECT_TIMEOUT="2")

        assert outcome == report.outcomes["tls"]
        assert said in report.findings["tls"]

    @pytest.mark.anyio
    @pytest.mark.parametrize(
        ("setting", "query"), [("0.2", ""), ("600", "&connect_timeout=1")], ids=["setting", "parameter"]
    )
    async def test_a_silent_server_fails(self, setting: str, query: str) -> None:
        """The connect time-out applies to every check, and the URL takes precedence over the setting."""
        async with listening(silent) as port, asyncio.timeout(RESPONSE_BOUND_S):
            url = f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/d?sslmode=require{query}"
            report = await asyncio.to_thread(examined, url, TASKD_SQL_CONNECT_TIMEOUT=setting)

        assert (["tls", "connection"], "no response in time") == (report.failed(), report.findings["tls"])
        assert report.remedies["tls"] == report.remedies["connection"]
        assert report.remedies["tls"].startswith("Nothing responds there")

    @pytest.mark.parametrize("parameters", ["", "?sslmode=disable"])
    def test_plain_text_to_another_machine(self, parameters: str) -> None:
        """The setting is refused, or noted where it is allowed."""
        refused = examined(f"postgresql://u:{PASSWORD}@taskd.invalid/d?sslmode=disable")
        allowed = examined(f"postgresql://u:{PASSWORD}@taskd.invalid/d{parameters}", TASKD_ALLOW_PLAINTEXT="1")

        assert ["storage", "settings"] == refused.failed()
        assert ("note" if parameters else "FAILED") == allowed.outcomes["tls"]


@contextlib.asynccontextmanager
async def server_with_certificate(authority_file: Path, expires: dt.datetime) -> AsyncIterator[int]:
    """Run a server that has nothing but TLS, and write its authority's certificate to a file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(authority_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(
        "localhost", not_before=dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), not_after=expires
    ).configure_cert(context)

    async with listening_like_postgres(context) as port:
        yield port
