"""`taskd doctor` on databases: what it finds in an SQLite file, and in a PostgreSQL server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import shutil
import sqlite3
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

import taskd_sql.diagnosis
from tests.databases import PostgresPlace, SQLitePlace, holding
from tests.doctor import PASSWORD, examined
from tests.pgbouncer import PgBouncer, pgbouncer
from tests.postgres import NEON_POOLER, PostgresServer, free_port
from tests.proxy import ServerWithoutTLS, leading_to, listening, silent
from tests.serving import ANSWER_BOUND_S

pytestmark = pytest.mark.usefixtures("_once", "_near")

NOT_CHECKED = dict.fromkeys(("pooler", "server", "round trip", "clock", "schema", "writing"), "-")
# What becomes of a schema that does not fit, whichever kind of database it is in.
unfit = pytest.mark.parametrize(
    ("change", "said", "remedy"),
    [
        ("DROP TABLE taskd_version", "it is at revision none, behind this taskd", "Run taskd migrate."),
        ("DELETE FROM taskd_version", "it is at revision none, behind this taskd", "Run taskd migrate."),
        ("UPDATE taskd_version SET version_num = '9'", "it is at revision 9, ahead of this taskd", "Update taskd."),
        ("INSERT INTO taskd_version VALUES ('9')", "it is at revision 0001 and 9, ahead of", "Update taskd."),
    ],
    ids=["no table", "no row", "ahead", "two rows"],
)


class TestSQLite:
    def test_a_file_in_order_passes(self, served: SQLitePlace) -> None:
        """Every check is well, and the exit status is 0."""
        report = examined(served.url)

        assert {"ok"} == set(report.outcomes.values())
        assert ["frontend", "auth", "secret", "storage", "folder", "file", "integrity", "schema", "settings"] == list(
            report.outcomes
        )
        assert ("revision 0001", {}) == (report.findings["schema"], report.remedies)

    def test_a_file_that_is_not_there_yet_passes(self, tmp_path: Path) -> None:
        """A first start would make it; the doctor does not."""
        report = examined(f"sqlite:///{tmp_path}/new.db")

        assert (0, "is made at the first start") == (report.exit_code, report.findings["file"].split(" ", 1)[1])
        assert [] == list(tmp_path.iterdir())

    @pytest.mark.parametrize("is_open", [False, True], ids=["stopped", "served"])
    def test_looking_changes_nothing(self, served: SQLitePlace, *, is_open: bool) -> None:
        """Neither the file nor those beside it are made or changed, whether a server has them open or not."""
        with contextlib.ExitStack() as until_looked:
            if is_open:
                other = until_looked.enter_context(contextlib.closing(sqlite3.connect(served.file)))
                other.execute("SELECT 1 FROM tasks").fetchall()
            before = {file: file.read_bytes() for file in served.file.parent.iterdir() if file.suffix != ".db-shm"}
            names = sorted(served.file.parent.iterdir())
            assert 0 == examined(served.url).exit_code
            after = {file: file.read_bytes() for file in before}

            assert (before, names) == (after, sorted(served.file.parent.iterdir()))

    @unfit
    def test_a_schema_that_does_not_fit(self, served: SQLitePlace, change: str, said: str, remedy: str) -> None:
        """It says which revision there is, and which command mends it."""
        served.run(change)
        report = examined(served.url)

        assert ["schema"] == report.failed()
        assert report.findings["schema"].startswith(said)
        assert remedy == report.remedies["schema"]

    def test_a_file_of_something_else(self, served: SQLitePlace) -> None:
        """A file that is no database is named with what to do."""
        served.file.write_bytes(b"no database" * 1000)
        report = examined(served.url)

        assert (["integrity"], "SQLITE_NOTADB") == (report.failed(), report.findings["integrity"])
        assert f"Restore {served.file} from a backup" in report.remedies["integrity"]

    def test_a_damaged_file(self, served: SQLitePlace) -> None:
        """A page of nonsense is found, before a request would meet it."""
        content = bytearray(served.file.read_bytes())
        content[4096:8192] = b"\xff" * 4096
        served.file.write_bytes(content)

        assert ["integrity"] == examined(served.url).failed()

    def test_a_file_that_is_locked(self, served: SQLitePlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that others hold is no traceback."""
        monkeypatch.setattr(taskd_sql.diagnosis, "sqlite3", SimpleNamespace(**{**vars(sqlite3), "connect": _impatient}))
        served.run("PRAGMA journal_mode = DELETE")
        with holding(served):
            report = examined(served.url)

        assert (["integrity"], "SQLITE_BUSY") == (report.failed(), report.findings["integrity"])

    def test_a_file_that_anybody_may_read(self, served: SQLitePlace) -> None:
        """A mode that is too wide is noted, with the command that mends it."""
        served.file.chmod(0o644)
        report = examined(served.url)

        assert (0, "note", f"chmod 640 {served.file}") == (
            report.exit_code,
            report.outcomes["file"],
            report.remedies["file"],
        )

    def test_a_disk_that_is_almost_full(self, served: SQLitePlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """Too little room is a failure before it is an outage."""
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1024**2))
        report = examined(served.url)

        assert (["folder"], "1 MiB are free") == (report.failed(), report.findings["folder"])

    def test_a_folder_that_cannot_be_written(self, served: SQLitePlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """SQLite writes beside the file, so the right to write the file is not enough."""
        monkeypatch.setattr("os.access", lambda path, _: path == served.file)
        report = examined(served.url)

        assert (["folder"], f"{served.file} cannot be written") == (report.failed(), report.findings["folder"])

    def test_a_link_is_followed(self, served: SQLitePlace, tmp_path: Path) -> None:
        """What is checked is where the tasks are."""
        (tmp_path / "link.db").symlink_to(served.file)

        assert 0 == examined(f"sqlite:///{tmp_path}/link.db").exit_code


def _impatient(database: str, *, uri: bool) -> sqlite3.Connection:
    """Connect, and wait for nobody."""
    return sqlite3.connect(database, uri=uri, timeout=0)


class TestPostgres:
    def test_a_server_on_this_machine_passes(self, migrated: PostgresPlace) -> None:
        """Every check is well, down to the schema."""
        report = examined(migrated.url)

        assert {"ok"} == set(report.outcomes.values())
        assert ["tls", "connection", "pooler", "server", "round trip", "clock", "schema", "writing"] == list(
            report.outcomes
        )[4:-1]
        assert "none, on this machine" == report.findings["tls"]
        assert report.findings["server"].startswith("PostgreSQL 17")
        assert report.findings["connection"].endswith(f"database {migrated.name}")

    def test_tls_is_verified(self, migrated: PostgresPlace) -> None:
        """With the authority's certificate, protocol and remaining days are told."""
        server = migrated.server
        url = server.secured_url(migrated.name, sslmode="verify-full", sslrootcert=str(server.ca))
        report = examined(url)

        assert {"ok"} == set(report.outcomes.values())
        assert report.findings["tls"].startswith("TLSv1.3, the certificate is good for ")

    def test_tls_that_is_not_verified_is_noted(self, migrated: PostgresPlace) -> None:
        """Encryption without proof of who the server is comes with advice, and is no failure."""
        report = examined(migrated.server.secured_url(migrated.name, sslmode="require"))

        assert (0, "note") == (report.exit_code, report.outcomes["tls"])
        assert "sslmode=verify-full" in report.remedies["tls"]

    def test_a_certificate_of_an_unknown_authority(self, migrated: PostgresPlace) -> None:
        """It says what is wrong with the certificate, and no check goes on without a connection."""
        report = examined(migrated.server.secured_url(migrated.name, sslmode="verify-full"))

        assert ["tls", "connection"] == report.failed()
        assert "self-signed certificate" in report.findings["tls"] or "issuer" in report.findings["tls"]
        assert report.outcomes.items() >= NOT_CHECKED.items()

    def test_a_certificate_for_another_name(self, migrated: PostgresPlace) -> None:
        """A certificate that does not name the host is refused by both checks."""
        server = migrated.server
        url = server.secured_url(migrated.name, host="127.0.0.2", sslmode="verify-full", sslrootcert=str(server.ca))

        assert ["tls", "connection"] == examined(url).failed()

    def test_a_pooler_that_is_told_of(self, pooler: PgBouncer, migrated: PostgresPlace) -> None:
        """With TASKD_SQL_POOLER=yes a PgBouncer is as it should be."""
        report = examined(pooler.url(migrated.name), TASKD_SQL_POOLER="yes")

        assert ({"ok"}, "PgBouncer: no prepared statement is kept") == (
            set(report.outcomes.values()),
            report.findings["pooler"],
        )

    def test_a_pooler_that_nobody_told_of(self, pooler: PgBouncer, migrated: PostgresPlace) -> None:
        """Without TASKD_SQL_POOLER=yes, a PgBouncer that refuses the session's parameters is found out."""
        report = examined(pooler.url(migrated.name))

        assert 1 == report.exit_code
        assert "TASKD_SQL_POOLER=yes" in report.text

    @pytest.mark.parametrize(
        ("host", "outcome", "finding"),
        [
            (NEON_POOLER.replace("-pooler", ""), "ok", "none: prepared statements are kept"),
            ("db.example.com", "note", "none is expected, and something is in between"),
        ],
        ids=["neon", "another"],
    )
    def test_something_in_between_is_noted_but_for_neon_s_proxy(
        self,
        postgres: PostgresServer,
        migrated: PostgresPlace,
        monkeypatch: pytest.MonkeyPatch,
        host: str,
        outcome: str,
        finding: str,
    ) -> None:
        """What hides the numbers of processes may pool; Neon's direct hosts do so and do not pool."""
        with pgbouncer(postgres, pool_mode="session", ignore_startup_parameters="statement_timeout") as between:
            monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", leading_to(between.port))
            url = f"postgresql://taskd@{host}/{migrated.name}?sslmode=disable"
            report = examined(url, TASKD_ALLOW_PLAINTEXT="1")

        assert (0, outcome, finding) == (report.exit_code, report.outcomes["pooler"], report.findings["pooler"])

    @unfit
    def test_a_schema_that_does_not_fit(self, migrated: PostgresPlace, change: str, said: str, remedy: str) -> None:
        """It says which revision there is, and which command mends it."""
        migrated.run(change)
        report = examined(migrated.url)

        assert ["schema"] == report.failed()
        assert report.findings["schema"].startswith(said)
        assert remedy == report.remedies["schema"]

    @pytest.mark.parametrize(("ahead_s", "word"), [(-40, "behind"), (40, "ahead")])
    def test_a_clock_that_is_wrong(
        self, migrated: PostgresPlace, monkeypatch: pytest.MonkeyPatch, ahead_s: int, word: str
    ) -> None:
        """A clock more than half a minute off the database's is a failure: it judges tokens."""
        real = time.time
        monkeypatch.setattr(
            taskd_sql.diagnosis,
            "time",
            SimpleNamespace(time=lambda: real() - ahead_s, perf_counter=time.perf_counter),
        )
        report = examined(migrated.url)

        assert ["clock"] == report.failed()
        assert f"the database's is 40.0 s {word}" == report.findings["clock"]

    def test_a_user_that_may_only_read_is_told_what_it_lacks(self, migrated: PostgresPlace) -> None:
        """Tables that another user made need a GRANT: for changing tasks, and for reading them."""
        server, name = migrated.server, migrated.name
        url = server.url(name).replace("taskd@", "guest@")
        server.psql(name, "-c", "CREATE ROLE guest LOGIN", "-c", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
        try:
            reading = examined(url)
            server.psql(name, "-c", "REVOKE SELECT ON tasks FROM guest")
            nothing = examined(url)
        finally:
            server.psql(name, "-c", "DROP OWNED BY guest", "-c", "DROP ROLE guest")

        assert (["writing"], ["schema", "writing"]) == (reading.failed(), nothing.failed())
        assert all("GRANT" in remedy for remedy in (*nothing.remedies.values(), reading.remedies["writing"]) if remedy)

    def test_a_database_that_takes_no_writes_fails(self, migrated: PostgresPlace) -> None:
        """As a replica, or a primary that was told so."""
        server, name = migrated.server, migrated.name
        server.psql("postgres", "-c", f"ALTER DATABASE {name} SET default_transaction_read_only = on")

        assert ["writing"] == examined(server.url(name)).failed()

    def test_a_database_that_is_far(self, migrated: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """A round trip that is long is noted."""
        monkeypatch.setattr(taskd_sql.diagnosis, "FAR_MS", 0)
        report = examined(migrated.url)

        assert (0, "note") == (report.exit_code, report.outcomes["round trip"])

    def test_a_server_that_is_too_old(self, migrated: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """A version on which taskd is not tried is a failure."""
        monkeypatch.setattr(taskd_sql.diagnosis, "MIN_SERVER_VERSION", 999999)

        assert ["server"] == examined(migrated.url).failed()

    def test_a_server_that_is_down(self) -> None:
        """What cannot be checked is said not to be."""
        report = examined(f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d")

        assert ["connection"] == report.failed()
        assert report.outcomes.items() >= NOT_CHECKED.items()

    def test_a_tls_server_that_is_down(self) -> None:
        """The first failure is that it cannot be reached."""
        report = examined(f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d?sslmode=require")

        assert ["tls", "connection"] == report.failed()

    def test_a_host_that_nobody_knows(self) -> None:
        """A misspelt host is said to be unknown."""
        report = examined(f"postgresql://u:{PASSWORD}@taskd.invalid/d")

        assert ["tls", "connection"] == report.failed()
        assert "the name of the host is not known" in report.findings["connection"]

    @pytest.mark.parametrize(
        ("user", "database", "said"),
        [
            ("secured", "postgres", "the password is wrong, or there is no such user"),
            ("taskd", "nowhere", "there is no such database"),
        ],
        ids=["password", "database"],
    )
    def test_a_refused_connection(self, postgres: PostgresServer, user: str, database: str, said: str) -> None:
        """It says what was refused, and not which password was tried."""
        url = f"postgresql://{user}:{PASSWORD}@localhost:{postgres.port}/{database}?sslmode=require"
        report = examined(url)

        assert ["connection"] == report.failed()
        assert said in report.findings["connection"]

    @pytest.mark.anyio
    async def test_a_server_that_refuses_tls(self) -> None:
        """It says so, and the server does not get the password."""
        async with ServerWithoutTLS() as server:
            url = f"postgresql://u:{PASSWORD}@127.0.0.1:{server.port}/d?sslmode=require"
            report = await asyncio.to_thread(examined, url)

            assert (["tls", "connection"], b"") == (report.failed(), server.received)
        assert "the server refuses TLS" == report.findings["tls"]

    @pytest.mark.anyio
    @pytest.mark.parametrize(
        ("days", "outcome", "said"), [(-1, "FAILED", "certificate has expired"), (3, "note", "good for 2 days")]
    )
    async def test_a_certificate_that_ends(self, tmp_path: Path, days: int, outcome: str, said: str) -> None:
        """A certificate is told of before it ends, and refused afterwards."""
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
    async def test_a_server_that_is_silent(self, setting: str, query: str) -> None:
        """The time to connect in holds for every check, and the URL's own comes before the setting."""
        async with listening(silent) as port, asyncio.timeout(ANSWER_BOUND_S):
            url = f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/d?sslmode=require{query}"
            report = await asyncio.to_thread(examined, url, TASKD_SQL_CONNECT_TIMEOUT=setting)

        assert (["tls", "connection"], "no answer in time") == (report.failed(), report.findings["tls"])

    @pytest.mark.parametrize("parameters", ["", "?sslmode=disable"])
    def test_plain_text_to_another_machine(self, parameters: str) -> None:
        """It is refused as a setting, or noted where that is allowed."""
        refused = examined(f"postgresql://u:{PASSWORD}@taskd.invalid/d?sslmode=disable")
        allowed = examined(f"postgresql://u:{PASSWORD}@taskd.invalid/d{parameters}", TASKD_ALLOW_PLAINTEXT="1")

        assert ["storage", "settings"] == refused.failed()
        assert ("note" if parameters else "FAILED") == allowed.outcomes["tls"]


_SSL_REQUEST_LENGTH = 8


@contextlib.asynccontextmanager
async def server_with_certificate(authority_file: Path, expires: dt.datetime) -> AsyncIterator[int]:
    """Run a server that has TLS as PostgreSQL has, and nothing behind it; put its authority into a file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(authority_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(
        "localhost", not_before=dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), not_after=expires
    ).configure_cert(context)

    async def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(_SSL_REQUEST_LENGTH)
        writer.write(b"S")
        await writer.start_tls(context)
        await reader.read(1)

    async with listening(admit) as port:
        yield port
