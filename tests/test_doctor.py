"""`taskd doctor`: one line for each check, what to do where it fails, and no secret."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import shutil
import sqlite3
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import attrs
import pytest
import respx
import trustme
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taskd_sql.diagnosis
import taskd_sql.retries
from taskd_sql import migration
from taskd_sql.dsn import parse
from taskd_sql.plugin import taskd_storage
from tests.commands import invoke, run_python
from tests.conftest import ORIGIN
from tests.databases import PostgresPlace, SQLitePlace
from tests.issuer import JWKS_URL, URL, Issuer, published
from tests.passwords import AWKWARD_PASSWORDS, PASSWORDS, SENTINEL
from tests.pgbouncer import PgBouncer
from tests.postgres import SECURED_PASSWORD, PostgresServer, free_port
from tests.processes import make_distribution
from tests.proxy import ServerWithoutTLS, listening, silent
from tests.test_http import locked

STRONG_SECRET = "8f1c0e5ad9b74263a1f09e3c7d5b2864f0a9c3e1d7b58642"
PASSWORD = "hunter2"
ACME = Path(__file__).parent.parent / "examples" / "acme"
NOT_CHECKED = dict.fromkeys(("pooler", "server", "round trip", "clock", "schema", "writing"), "-")
BREAKING_STORE_PLUGIN = f"""
import taskd
from acme_taskd.memory import MemoryStore

class Breaking(MemoryStore):
    async def ping(self):
        raise RuntimeError("{PASSWORD}")

@taskd.hookimpl
def taskd_storage():
    return Breaking()
"""
ROUTES_PLUGIN = """
import taskd
from starlette.routing import Route

@taskd.hookimpl
def taskd_routes():
    return [Route("/livez", lambda request: None)]
"""
SILENT_STORE_PLUGIN = """
import taskd
from acme_taskd.memory import MemoryStore

class Silent(MemoryStore):
    async def ping(self):
        raise taskd.StoreUnavailable("it sleeps")

@taskd.hookimpl
def taskd_storage():
    return Silent()
"""


@attrs.frozen
class Report:
    """What `taskd doctor` printed: how each check ended, what it found, and what to do."""

    exit_code: int
    text: str
    outcomes: dict[str, str]
    findings: dict[str, str]
    remedies: dict[str, str]

    @classmethod
    def read(cls, result: Result) -> Report:
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        table, *remedies = result.output.strip().split("\n\n")
        rows = [line.split(maxsplit=1) for line in table.splitlines()]
        cells = [(outcome, *(cell.strip() for cell in rest.split("  ", 1))) for outcome, rest in rows]
        return cls(
            result.exit_code,
            result.output,
            {name: outcome for outcome, name, _ in cells},
            {name: finding for _, name, finding in cells},
            dict(remedy.split(": ", 1) for remedy in remedies),
        )

    def failed(self) -> list[str]:
        return [name for name, outcome in self.outcomes.items() if outcome == "FAILED"]


def examined(database_url: str, **others: str) -> Report:
    """Run `taskd doctor` on a deployment in which all but the database is well."""
    given = {"BETTER_AUTH_SECRET": STRONG_SECRET, "FRONTEND_URL": ORIGIN, "DATABASE_URL": database_url}
    report = Report.read(invoke("doctor", settings={**given, **others}))
    # Whatever else it says: the exit status follows from the table, and each failure comes with advice.
    assert int(bool(report.failed())) == report.exit_code
    assert set(report.failed()) <= set(report.remedies)
    assert not [name for name in report.remedies if report.outcomes[name] == "ok"]
    assert not [secret for secret in (STRONG_SECRET, PASSWORD, SECURED_PASSWORD) if secret in report.text]
    return report


@pytest.fixture(autouse=True)
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is down is not tried again."""
    monkeypatch.setattr(taskd_sql.retries, "MAX_ATTEMPTS", 1)


@pytest.fixture
def place(tmp_path: Path) -> SQLitePlace:
    """An SQLite file that a server made, in a folder of its own."""
    (tmp_path / "folder").mkdir()
    made = SQLitePlace(tmp_path / "folder" / "tasks.db")

    async def serve_once() -> None:
        store = taskd_storage({"DATABASE_URL": made.url})
        await store.ping()
        await store.close()

    asyncio.run(serve_once())
    return made


@pytest.fixture
def postgres_place(postgres: PostgresServer) -> PostgresPlace:
    """A PostgreSQL database that is migrated."""
    made = PostgresPlace.make(postgres)
    asyncio.run(migration.upgrade(parse(made.url)))
    return made


# What becomes of a schema that does not fit, whichever kind of database it is in.
unfit = pytest.mark.parametrize(
    ("change", "said", "remedy"),
    [
        ("DROP TABLE taskd_version", "it is at revision none, behind this taskd", "Run taskd migrate."),
        ("DELETE FROM taskd_version", "it is at revision none, behind this taskd", "Run taskd migrate."),
        ("UPDATE taskd_version SET version_num = '9'", "it is at revision 9, ahead of this taskd", "Update taskd."),
    ],
    ids=["no table", "no row", "ahead"],
)


class TestSQLite:
    def test_a_file_in_order_passes(self, place: SQLitePlace) -> None:
        """Every check is well, and the exit status is 0."""
        report = examined(place.url)

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

    @pytest.mark.parametrize("is_served", [False, True], ids=["stopped", "served"])
    def test_looking_changes_nothing(self, place: SQLitePlace, *, is_served: bool) -> None:
        """Neither the file nor those beside it are made or changed, whether a server has them open or not."""
        with contextlib.ExitStack() as until_looked:
            if is_served:
                other = until_looked.enter_context(contextlib.closing(sqlite3.connect(place.file)))
                other.execute("SELECT 1 FROM tasks").fetchall()
            before = {file: file.read_bytes() for file in place.file.parent.iterdir() if file.suffix != ".db-shm"}
            names = sorted(place.file.parent.iterdir())
            assert 0 == examined(place.url).exit_code
            after = {file: file.read_bytes() for file in before}

            assert (before, names) == (after, sorted(place.file.parent.iterdir()))

    @unfit
    def test_a_schema_that_does_not_fit(self, place: SQLitePlace, change: str, said: str, remedy: str) -> None:
        """It says which revision there is, and which command mends it."""
        place.run(change)
        report = examined(place.url)

        assert ["schema"] == report.failed()
        assert report.findings["schema"].startswith(said)
        assert remedy == report.remedies["schema"]

    def test_a_file_of_something_else(self, place: SQLitePlace) -> None:
        """A file that is no database is named with what to do."""
        place.file.write_bytes(b"no database" * 1000)
        report = examined(place.url)

        assert (["integrity"], "SQLITE_NOTADB") == (report.failed(), report.findings["integrity"])
        assert f"Restore {place.file} from a backup" in report.remedies["integrity"]

    def test_a_damaged_file(self, place: SQLitePlace) -> None:
        """A page of nonsense is found, before a request would meet it."""
        content = bytearray(place.file.read_bytes())
        content[4096:8192] = b"\xff" * 4096
        place.file.write_bytes(content)

        assert ["integrity"] == examined(place.url).failed()

    def test_a_file_that_is_locked(self, place: SQLitePlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that others hold is no traceback."""
        monkeypatch.setattr(taskd_sql.diagnosis, "sqlite3", SimpleNamespace(**{**vars(sqlite3), "connect": _impatient}))
        place.run("PRAGMA journal_mode = DELETE")
        with locked(place.file):
            report = examined(place.url)

        assert (["integrity"], "SQLITE_BUSY") == (report.failed(), report.findings["integrity"])

    def test_a_file_that_anybody_may_read(self, place: SQLitePlace) -> None:
        """A mode that is too wide is noted, with the command that mends it."""
        place.file.chmod(0o644)
        report = examined(place.url)

        assert (0, "note", f"chmod 640 {place.file}") == (
            report.exit_code,
            report.outcomes["file"],
            report.remedies["file"],
        )

    def test_a_disk_that_is_almost_full(self, place: SQLitePlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """Too little room is a failure before it is an outage."""
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1024**2))
        report = examined(place.url)

        assert (["folder"], "1 MiB are free") == (report.failed(), report.findings["folder"])

    def test_a_folder_that_cannot_be_written(self, place: SQLitePlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """SQLite writes beside the file, so the right to write the file is not enough."""
        monkeypatch.setattr("os.access", lambda path, _: path == place.file)
        report = examined(place.url)

        assert (["folder"], f"{place.file} cannot be written") == (report.failed(), report.findings["folder"])

    def test_a_link_is_followed(self, place: SQLitePlace, tmp_path: Path) -> None:
        """What is checked is where the tasks are."""
        (tmp_path / "link.db").symlink_to(place.file)

        assert 0 == examined(f"sqlite:///{tmp_path}/link.db").exit_code


def _impatient(database: str, *, uri: bool) -> sqlite3.Connection:
    """Connect, and wait for nobody."""
    return sqlite3.connect(database, uri=uri, timeout=0)


class TestPostgres:
    def test_a_server_on_this_machine_passes(self, postgres_place: PostgresPlace) -> None:
        """Every check is well, down to the schema."""
        report = examined(postgres_place.url)

        assert {"ok"} == set(report.outcomes.values())
        assert ["tls", "connection", "pooler", "server", "round trip", "clock", "schema", "writing"] == list(
            report.outcomes
        )[4:-1]
        assert "none, on this machine" == report.findings["tls"]
        assert report.findings["server"].startswith("PostgreSQL 17")
        assert report.findings["connection"].endswith(f"database {postgres_place.name}")

    def test_tls_is_verified(self, postgres_place: PostgresPlace) -> None:
        """With the authority's certificate, protocol and remaining days are told."""
        server = postgres_place.server
        url = server.secured_url(postgres_place.name, sslmode="verify-full", sslrootcert=str(server.ca))
        report = examined(url)

        assert {"ok"} == set(report.outcomes.values())
        assert report.findings["tls"].startswith("TLSv1.3, the certificate is good for ")

    def test_tls_that_is_not_verified_is_noted(self, postgres_place: PostgresPlace) -> None:
        """Encryption without proof of who the server is comes with advice, and is no failure."""
        report = examined(postgres_place.server.secured_url(postgres_place.name, sslmode="require"))

        assert (0, "note") == (report.exit_code, report.outcomes["tls"])
        assert "sslmode=verify-full" in report.remedies["tls"]

    def test_a_certificate_of_an_unknown_authority(self, postgres_place: PostgresPlace) -> None:
        """It says what is wrong with the certificate, and no check goes on without a connection."""
        report = examined(postgres_place.server.secured_url(postgres_place.name, sslmode="verify-full"))

        assert ["tls", "connection"] == report.failed()
        assert "self-signed certificate" in report.findings["tls"] or "issuer" in report.findings["tls"]
        assert report.outcomes.items() >= NOT_CHECKED.items()

    def test_a_certificate_for_another_name(self, postgres_place: PostgresPlace, tmp_path: Path) -> None:
        """A certificate that does not name the host is refused by both checks."""
        server = postgres_place.server
        url = server.secured_url(
            postgres_place.name, host="127.0.0.2", sslmode="verify-full", sslrootcert=str(server.ca)
        )

        assert ["tls", "connection"] == examined(url).failed()
        assert [] == list(tmp_path.iterdir())

    def test_a_pooler_that_is_told_of(self, pooler: PgBouncer, postgres_place: PostgresPlace) -> None:
        """With TASKD_SQL_POOLER=yes a PgBouncer is as it should be."""
        report = examined(pooler.url(postgres_place.name), TASKD_SQL_POOLER="yes")

        assert ({"ok"}, "PgBouncer: no prepared statement is kept") == (
            set(report.outcomes.values()),
            report.findings["pooler"],
        )

    def test_a_pooler_that_nobody_told_of(self, pooler: PgBouncer, postgres_place: PostgresPlace) -> None:
        """Without TASKD_SQL_POOLER=yes, a PgBouncer that refuses the session's parameters is found out."""
        report = examined(pooler.url(postgres_place.name))

        assert 1 == report.exit_code
        assert "TASKD_SQL_POOLER=yes" in report.text

    @unfit
    def test_a_schema_that_does_not_fit(
        self, postgres_place: PostgresPlace, change: str, said: str, remedy: str
    ) -> None:
        """It says which revision there is, and which command mends it."""
        postgres_place.run(change)
        report = examined(postgres_place.url)

        assert ["schema"] == report.failed()
        assert report.findings["schema"].startswith(said)
        assert remedy == report.remedies["schema"]

    @pytest.mark.parametrize(("ahead_s", "word"), [(-40, "behind"), (40, "ahead")])
    def test_a_clock_that_is_wrong(
        self, postgres_place: PostgresPlace, monkeypatch: pytest.MonkeyPatch, ahead_s: int, word: str
    ) -> None:
        """A clock more than half a minute off the database's is a failure: it judges tokens."""
        real = time.time
        monkeypatch.setattr(
            taskd_sql.diagnosis,
            "time",
            SimpleNamespace(time=lambda: real() - ahead_s, perf_counter=time.perf_counter),
        )
        report = examined(postgres_place.url)

        assert ["clock"] == report.failed()
        assert f"the database's is 40.0 s {word}" == report.findings["clock"]

    def test_a_user_that_may_only_read_is_told_what_it_lacks(self, postgres_place: PostgresPlace) -> None:
        """Tables that another user made need a GRANT: for changing tasks, and for reading them."""
        server, name = postgres_place.server, postgres_place.name
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

    def test_a_database_that_takes_no_writes_fails(self, postgres_place: PostgresPlace) -> None:
        """As a replica, or a primary that was told so."""
        server, name = postgres_place.server, postgres_place.name
        server.psql("postgres", "-c", f"ALTER DATABASE {name} SET default_transaction_read_only = on")

        assert ["writing"] == examined(server.url(name)).failed()

    def test_a_database_that_is_far(self, postgres_place: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """A round trip that is long is noted."""
        monkeypatch.setattr(taskd_sql.diagnosis, "FAR_MS", 0)
        report = examined(postgres_place.url)

        assert (0, "note") == (report.exit_code, report.outcomes["round trip"])

    def test_a_server_that_is_too_old(self, postgres_place: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> None:
        """A version on which taskd is not tried is a failure."""
        monkeypatch.setattr(taskd_sql.diagnosis, "MIN_SERVER_VERSION", 999999)

        assert ["server"] == examined(postgres_place.url).failed()

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
    async def test_a_server_that_is_silent(self) -> None:
        """The time to connect in holds for every check."""
        async with listening(silent) as port:
            url = f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/d?sslmode=require"
            report = await asyncio.to_thread(examined, url, TASKD_SQL_CONNECT_TIMEOUT="0.2")

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


class TestSettings:
    @pytest.mark.parametrize(
        ("given", "failed"),
        [
            ({"BETTER_AUTH_SECRET": PASSWORD}, ["auth", "settings"]),
            ({"FRONTEND_URL": f"https://u:{PASSWORD}@h"}, ["settings"]),
            ({"TASKD_STORAGE": "nobody"}, ["storage", "settings"]),
            ({"TASKD_AUTH": "nobody"}, ["auth", "settings"]),
            ({"TASKD_PLUGINS": "nobody"}, ["settings"]),
            ({"TASKD_SQL_POOL_SIZE": "many"}, ["storage", "settings"]),
            ({"TASKD_MIGRATE_URL": f"mysql://u:{PASSWORD}@h/d"}, ["storage", "settings"]),
        ],
        ids=lambda value: next(iter(value)),
    )
    def test_a_wrong_one_is_named(self, place: SQLitePlace, given: Mapping[str, str], failed: list[str]) -> None:
        """The variable is named in the table, and what does not depend on it is checked all the same."""
        report = examined(place.url, **given)

        assert failed == report.failed()
        assert [next(iter(given))] * len(failed) == [report.findings[name].split(":")[0] for name in failed]

    def test_a_missing_secret_is_named(self, place: SQLitePlace) -> None:
        """Without a secret nothing can be signed, and the storage is checked all the same."""
        report = Report.read(invoke("doctor", settings={"DATABASE_URL": place.url}))

        assert (1, ["auth", "settings"]) == (report.exit_code, report.failed())
        assert ("ok", "note") == (report.outcomes["schema"], report.outcomes["frontend"])
        assert (
            "BETTER_AUTH_SECRET: is not set, and neither is BETTER_AUTH_URL: set one of them" == report.findings["auth"]
        )

    @pytest.mark.parametrize(
        "secret",
        ["x" * 64, "abab" * 16, "change me, change me, change me, change me", "better-auth-secret-1234567890-abcdef"],
    )
    def test_a_weak_secret_fails(self, place: SQLitePlace, secret: str) -> None:
        """A secret that is long enough, and easy to guess, comes with the command that makes another."""
        report = examined(place.url, BETTER_AUTH_SECRET=secret)

        assert ["secret"] == report.failed()
        assert "openssl rand -hex 32" in report.remedies["secret"]
        assert secret not in report.text

    @pytest.mark.parametrize("keeps_secret", [True, False])
    def test_a_key_set_is_looked_at(self, place: SQLitePlace, keeps_secret: bool) -> None:
        """How many keys there are, and for what, with a secret beside them or without."""
        secret = STRONG_SECRET if keeps_secret else ""
        with published(Issuer(("EdDSA", "ES256", "ES512"))):
            report = examined(place.url, BETTER_AUTH_URL=URL, BETTER_AUTH_SECRET=secret)

        assert [] == report.failed()
        assert ("ok", "3 for ES256, ES512, EdDSA") == (report.outcomes["key set"], report.findings["key set"])
        assert keeps_secret == ("secret" in report.outcomes)

    def test_keys_that_are_not_used_are_noted(self, place: SQLitePlace) -> None:
        """Each is named with what is wrong with it."""
        document = Issuer(("EdDSA",)).document()
        document["keys"] += [{"kty": "oct", "k": "AAAA", "kid": "weak"}, {"kty": "EC"}]
        with respx.mock() as router:
            router.get(JWKS_URL).respond(json=document)
            report = examined(place.url, BETTER_AUTH_URL=URL)

        assert ([], "note", "1 for EdDSA") == (
            report.failed(),
            report.outcomes["key set"],
            report.findings["key set"],
        )
        assert "weak: it is a secret, and published; one without a good kid: no" in report.remedies["key set"]

    @pytest.mark.parametrize(
        ("keys", "remedy"), [([], "Let Better Auth make a key."), ([{"kty": "oct"}], "no token can name it")]
    )
    def test_a_key_set_that_nothing_can_be_verified_with_fails(
        self, place: SQLitePlace, keys: list[object], remedy: str
    ) -> None:
        """An issuer without a key is found before its first token."""
        with respx.mock() as router:
            router.get(JWKS_URL).respond(json={"keys": keys})
            report = examined(place.url, BETTER_AUTH_URL=URL)

        assert (["key set"], "no key that can be used") == (report.failed(), report.findings["key set"])
        assert remedy in report.remedies["key set"]

    @pytest.mark.parametrize(
        ("answer", "finding"),
        [
            ({"status_code": 404}, "it answers 404"),
            ({"status_code": 302, "headers": {"Location": JWKS_URL}}, "it answers 302"),
            ({"html": "<h1>Welcome</h1>"}, "what it sends is not a JSON Web Key Set"),
        ],
    )
    def test_a_key_set_that_cannot_be_had_fails(self, place: SQLitePlace, answer: dict[str, Any], finding: str) -> None:
        """What came in its place is said, and where to look."""
        with respx.mock() as router:
            router.get(JWKS_URL).respond(**answer)
            report = examined(place.url, BETTER_AUTH_URL=URL)

        assert (["key set"], finding) == (report.failed(), report.findings["key set"])
        assert JWKS_URL in report.remedies["key set"]

    def test_an_issuer_that_is_down_fails(self, place: SQLitePlace, closed_port: int) -> None:
        """And the rest is checked all the same."""
        report = examined(place.url, BETTER_AUTH_URL=f"http://127.0.0.1:{closed_port}")

        assert ["key set"] == report.failed()
        assert f"http://127.0.0.1:{closed_port}/api/auth/jwks" in report.remedies["key set"]
        assert "ok" == report.outcomes["schema"]

    def test_a_broken_file_of_settings_is_one_line(self) -> None:
        """Before there are settings there is no table."""
        Path(".env").mkdir()
        result = invoke("doctor", settings={})

        assert (1, "taskd: .env: is a folder, not a file\n") == (result.exit_code, result.output)

    def test_it_is_a_command(self, place: SQLitePlace) -> None:
        """In a process of its own, too, the exit status tells, and nothing is said beside the table."""
        ended = run_python("-m", "taskd", "doctor", settings={"DATABASE_URL": place.url})

        assert (1, "") == (ended.returncode, ended.stderr)
        assert "BETTER_AUTH_SECRET: is not set" in ended.stdout


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose distributions are installed, beside the example's package."""
    monkeypatch.syspath_prepend(ACME)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


class TestPlugins:
    def test_a_broken_one_is_named(self, site: Path, place: SQLitePlace) -> None:
        """A plugin that cannot be imported stops the server, and is what the table says."""
        make_distribution(site, "broken", "import no_such_module")
        report = examined(place.url)

        assert ["settings"] == report.failed()
        assert report.findings["settings"].startswith("plugin 'broken' of broken 1.0 cannot be loaded")

    def test_two_that_do_not_go_together_are_named(self, site: Path, place: SQLitePlace) -> None:
        """What only shows when the parts are put together is a failure as well."""
        make_distribution(site, "rival", ROUTES_PLUGIN)
        report = examined(place.url)

        assert ["settings"] == report.failed()
        assert "rival" in report.findings["settings"]

    def test_a_store_that_checks_nothing_is_asked_for_an_answer(self, site: Path) -> None:
        """A store without checks of its own passes when it answers."""
        source = "from acme_taskd.memory import taskd_storage"
        make_distribution(site, "memory", source)
        report = examined("sqlite:///never.db", TASKD_STORAGE="memory")

        assert ("ok", "it would serve a request now", 0) == (
            report.outcomes["answer"],
            report.findings["answer"],
            report.exit_code,
        )

    def test_a_store_that_does_not_answer_fails(self, site: Path) -> None:
        """A store without checks of its own fails when it does not answer."""
        make_distribution(site, "silent", SILENT_STORE_PLUGIN)
        report = examined("sqlite:///never.db", TASKD_STORAGE="silent")

        assert (["answer"], "it sleeps") == (report.failed(), report.findings["answer"])

    def test_a_store_that_breaks_down_fails(self, site: Path) -> None:
        """A plugin's own fault ends its checks and no others, and its words, which may hold a secret, are not shown."""
        make_distribution(site, "breaking", BREAKING_STORE_PLUGIN)
        report = examined("sqlite:///never.db", TASKD_STORAGE="breaking")

        assert ["storage"] == report.failed()
        assert "RuntimeError during the checks" == report.findings["storage"]
        assert "ok" == report.outcomes["settings"]


class TestSecrets:
    @given(
        password=PASSWORDS | AWKWARD_PASSWORDS,
        secret=PASSWORDS,
        parameters=st.sampled_from(["", "?sslmode=verify-full"]),
        is_encoded=st.booleans(),
    )
    @settings(
        deadline=None, database=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def test_none_is_shown(
        self, closed_port: int, password: str, secret: str, parameters: str, *, is_encoded: bool
    ) -> None:
        """Whatever is wrong, neither the secret nor the password is in what the doctor prints."""
        written = quote(password, safe="") if is_encoded else password
        url = f"postgresql://u:{written}@127.0.0.1:{closed_port}/d{parameters}"
        # No variable of a process can hold a NUL.
        given = {"BETTER_AUTH_SECRET": (secret * 5).replace("\0", ""), "DATABASE_URL": url.replace("\0", "")}
        report = Report.read(invoke("doctor", settings=given))

        assert 1 == report.exit_code
        assert SENTINEL not in report.text


@pytest.fixture
def closed_port() -> int:
    """A port at which nobody listens."""
    return free_port()
