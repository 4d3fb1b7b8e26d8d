"""Connections to PostgreSQL: Neon's URL, TLS, the pool and its time-outs, and PgBouncer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trustme

from taskd import build_app
from taskd.storage import StoreUnavailable
from taskd.tasks import NewTask
from taskd_sql.engine.database import Limits
from taskd_sql.engine.drivers import Naming
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.plugin import taskd_storage
from tests.conftest import SECRET
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres import NEON_POOLER, SECURED_PASSWORD, SECURED_USER, USER, PostgresServer
from tests.support.proxy import LOOPBACK, Proxy, ServerWithoutTLS, leading_to
from tests.support.serving import (
    BRIEF,
    ONCE,
    client_beside,
    connected,
    create,
    database_of,
    locked,
    outcome,
    read,
    serving,
    titles,
    until,
    until_ready,
    until_waiting,
)
from tests.support.wire import Wire

pytestmark = pytest.mark.anyio

ENCRYPTED = ["allow", "prefer", "require", "verify-ca", "verify-full"]
# At this point, TLS and the password have been checked.
SLOW_LOGIN = """
    CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); END';
    CREATE EVENT TRIGGER slow_login ON login EXECUTE FUNCTION wait();
"""


class TestNeonURL:
    """The URL from Neon's console, unchanged; only the DNS leads to a local server."""

    @pytest.fixture(autouse=True)
    async def _elsewhere(self, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", leading_to(postgres.port))

    @pytest.fixture
    def url(self) -> str:
        user = f"{SECURED_USER}:{SECURED_PASSWORD.replace(' ', '%20')}"
        return f"postgresql://{user}@{NEON_POOLER}/tests?sslmode=require&channel_binding=require"

    @pytest.mark.usefixtures("postgres_url")
    @pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
    async def test_it_works_unchanged(
        self,
        postgres: PostgresServer,
        url: str,
        user_id: str,
        monkeypatch: pytest.MonkeyPatch,
        scheme: str,
    ) -> None:
        """If the system trusts the authority, the URL is the only setting needed."""
        monkeypatch.setenv("SSL_CERT_FILE", str(postgres.ca))
        async with serving(url.replace("postgresql", scheme, 1), user_id) as client:
            assert 201 == await create(client, f"/api/{user_id}/tasks")
            assert ["t"] == await titles(client, f"/api/{user_id}/tasks")

    @pytest.mark.usefixtures("postgres_url")
    async def test_an_impostor_is_refused(self, url: str, user_id: str, caplog: pytest.LogCaptureFixture) -> None:
        """Verifying the certificate protects against this, instead of channel binding."""
        async with serving(url, user_id, BRIEF) as client:
            assert 503 == await read(client, f"/api/{user_id}/tasks")
        assert f"PostgreSQL at {NEON_POOLER}:5432 is unavailable: the server's certificate is not valid" in caplog.text
        assert SECURED_PASSWORD not in caplog.text

    @pytest.mark.usefixtures("postgres_url")
    async def test_missing_channel_binding_is_logged_once(
        self,
        postgres: PostgresServer,
        url: str,
        user_id: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """It is not repeated for each connection, nor each time that the pool opens."""
        monkeypatch.setenv("SSL_CERT_FILE", str(postgres.ca))
        store = taskd_storage({"DATABASE_URL": url})
        for _ in range(2):
            await asyncio.gather(*[store.list(user_id) for _ in range(5)])
            await store.close()

        assert ["channel_binding=require is not supported: the server's certificate is verified instead"] == [
            record.getMessage() for record in caplog.records if "channel_binding" in record.getMessage()
        ]

    async def test_neon_s_pooler_is_recognized_by_its_name(
        self, pooler: PgBouncer, postgres_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A PgBouncer in between needs no setting."""
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", leading_to(pooler.port))
        url = postgres_url.replace(LOOPBACK, NEON_POOLER) + "?sslmode=disable"
        async with serving(url, user_id, TASKD_ALLOW_PLAINTEXT="1") as client:
            assert [201] * 40 == await asyncio.gather(*[create(client, f"/api/{user_id}/tasks") for _ in range(40)])


class TestTLS:
    """`sslmode`, over real connections."""

    @pytest.mark.usefixtures("postgres_url")
    @pytest.mark.parametrize("host", ["localhost", LOOPBACK])
    @pytest.mark.parametrize("mode", ENCRYPTED)
    async def test_every_mode_but_one_encrypts(
        self, postgres: PostgresServer, user_id: str, mode: str, host: str
    ) -> None:
        """The role may only connect with TLS; a trusted authority satisfies all modes."""
        url = postgres.secured_url("tests", host, sslmode=mode, sslrootcert=str(postgres.ca))
        async with serving(url, user_id) as client:
            assert 201 == await create(client, f"/api/{user_id}/tasks")

    @pytest.mark.usefixtures("postgres_url")
    async def test_plain_text_is_plain(
        self, postgres: PostgresServer, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With `disable`, a role that requires TLS is refused, and the log says so."""
        async with serving(postgres.secured_url("tests", sslmode="disable"), user_id) as client:
            assert 503 == await read(client, f"/api/{user_id}/tasks")
        assert "28000: this user may not connect" in caplog.text

    @pytest.mark.parametrize("query", [*[f"sslmode={mode}" for mode in ENCRYPTED], "channel_binding=require"])
    async def test_a_server_that_refuses_tls_receives_nothing(
        self, user_id: str, caplog: pytest.LogCaptureFixture, query: str
    ) -> None:
        """No mode falls back to plain text: neither user nor password is sent."""
        async with ServerWithoutTLS() as server:
            url = f"postgresql://{SECURED_USER}:swordfish@{LOOPBACK}:{server.port}/tests?{query}"
            async with serving(url, user_id, BRIEF) as client:
                assert 503 == await create(client, f"/api/{user_id}/tasks")
                assert 503 == await read(client, "/readyz")

            assert b"" == server.received
        assert "is unavailable: the server refuses TLS" in caplog.text

    @pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
    @pytest.mark.parametrize("authority", ["another", "system"])
    async def test_an_untrusted_certificate_is_refused(
        self,
        postgres: PostgresServer,
        tmp_path: Path,
        user_id: str,
        caplog: pytest.LogCaptureFixture,
        mode: str,
        authority: str,
    ) -> None:
        """The log says what is wrong with it."""
        trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
        root = {"sslrootcert": str(tmp_path / "ca.pem")} if authority == "another" else {}
        async with serving(postgres.secured_url("tests", sslmode=mode, **root), user_id, BRIEF) as client:
            assert 503 == await create(client, f"/api/{user_id}/tasks")
        assert "is unavailable: the server's certificate is not valid: " in caplog.text

    @pytest.mark.usefixtures("postgres_url")
    @pytest.mark.parametrize(("mode", "status"), [("verify-full", 503), ("verify-ca", 200), ("require", 200)])
    async def test_only_verify_full_checks_the_name(
        self, postgres: PostgresServer, user_id: str, monkeypatch: pytest.MonkeyPatch, mode: str, status: int
    ) -> None:
        """Only `verify-full` refuses a valid certificate of another host."""
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", leading_to(postgres.port))
        url = postgres.secured_url("tests", "db.example.com", sslmode=mode, sslrootcert=str(postgres.ca))
        async with serving(url, user_id, BRIEF) as client:
            assert status == await read(client, f"/api/{user_id}/tasks")

    @pytest.mark.usefixtures("postgres_url")
    async def test_a_wrong_password_is_reported(
        self, postgres: PostgresServer, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is tried once, and the log does not quote it."""
        url = postgres.secured_url("tests", sslmode="require").replace(f"{SECURED_USER}:", f"{SECURED_USER}:not")
        async with serving(url, user_id, BRIEF) as client:
            assert 503 == await read(client, f"/api/{user_id}/tasks")
        assert "28P01: the password is wrong" in caplog.text
        assert "not%20" not in caplog.text

    async def test_a_login_that_times_out_leaves_no_connection(
        self, postgres: PostgresServer, proxy: Proxy, own_url: str, user_id: str
    ) -> None:
        """A server that does not respond does not close TLS either, and nothing waits for it."""
        name = own_url.rpartition("/")[2]
        postgres.psql(name, "-c", SLOW_LOGIN)
        url = proxy.url_through(postgres.secured_url(name, sslmode="require"))
        async with serving(url, user_id, ONCE, TASKD_SQL_CONNECT_TIMEOUT="0.5") as client:
            assert 503 == await read(client, f"/api/{user_id}/tasks")
            await until(lambda: proxy.connections == 0)


class TestPool:
    """Pool size and time-outs."""

    async def test_building_opens_no_connection(self, proxy: Proxy, postgres_url: str) -> None:
        """An application that is built but never serves occupies nothing."""
        build_app({"DATABASE_URL": proxy.url_through(postgres_url), "BETTER_AUTH_SECRET": SECRET})
        await asyncio.sleep(0.05)

        assert 0 == proxy.accepted

    async def test_a_connection_is_reused(self, proxy: Proxy, postgres_url: str, user_id: str) -> None:
        """Sequential calls need only one connection."""
        async with serving(proxy.url_through(postgres_url), user_id) as client:
            await until(lambda: proxy.accepted == 1)
            assert [200] * 10 == [await read(client, f"/api/{user_id}/tasks") for _ in range(10)]
            assert 2 >= proxy.accepted
        await until(lambda: proxy.connections == 0)

    @pytest.mark.parametrize("size", [1, 3])
    async def test_the_pool_size_is_a_limit(self, proxy: Proxy, postgres_url: str, user_id: str, size: int) -> None:
        """A hundred concurrent requests of two users share the connections."""
        other_id = f"{user_id}-2"
        async with serving(proxy.url_through(postgres_url), user_id, TASKD_SQL_POOL_SIZE=str(size)) as client:
            await until_ready(client)
            users = {f"/api/{user_id}/tasks": client, f"/api/{other_id}/tasks": client_beside(client, other_id)}
            calls = [create(user, url) for url, user in users.items() for _ in range(50)]
            assert [201] * 100 == await asyncio.gather(*calls)
            assert [50, 50] == [len(await titles(user, url)) for url, user in users.items()]
            # Calls that share round trips may need fewer.
            assert size >= proxy.accepted == proxy.connections

    async def test_idle_connections_are_closed(self, proxy: Proxy, postgres_url: str, user_id: str) -> None:
        """Neon can then suspend its compute, and the next request opens a connection again."""
        url = f"/api/{user_id}/tasks"
        async with serving(proxy.url_through(postgres_url), user_id, TASKD_SQL_IDLE_TIMEOUT="0.1") as client:
            await until_ready(client)
            await asyncio.gather(*[read(client, url) for _ in range(5)])
            await until(lambda: proxy.connections == 0)
            before = proxy.accepted

            assert 201 == await create(client, url)
            assert before + 1 == proxy.accepted

    async def test_rounding_keeps_no_idle_connection_open(self, proxy: Proxy, postgres_url: str, user_id: str) -> None:
        """When the time-out is added to a time and subtracted again, the time may be an earlier one."""
        since, timeout_s = 1 - 3 * 2**-53, 0.5
        assert since > (since + timeout_s) - timeout_s
        settings = {"TASKD_SQL_IDLE_TIMEOUT": f"{timeout_s}", "TASKD_SQL_POOL_SIZE": "1"}
        async with serving(proxy.url_through(postgres_url), user_id, **settings) as client:
            await until_ready(client)
            connections = (await pool_of(client)).connections
            [idle] = connections._idle
            assert connections._timer is not None
            connections._timer.cancel()
            idle.idle_since = since
            connections._close_idle_later()

            await until(lambda: proxy.connections == 0)

    @pytest.mark.parametrize(
        ("setting", "query"), [("0.3", ""), ("600", "?connect_timeout=1")], ids=["setting", "parameter"]
    )
    async def test_a_silent_server_costs_the_connect_timeout(
        self,
        proxy: Proxy,
        postgres_url: str,
        user_id: str,
        caplog: pytest.LogCaptureFixture,
        setting: str,
        query: str,
    ) -> None:
        """The URL takes precedence over the setting."""
        proxy.stall()
        url = proxy.url_through(postgres_url) + query
        async with serving(url, user_id, ONCE, TASKD_SQL_CONNECT_TIMEOUT=setting) as client:
            async with asyncio.timeout(5):
                assert 503 == await create(client, f"/api/{user_id}/tasks")
            proxy.resume()
            assert 200 == await read(client, f"/api/{user_id}/tasks")
        assert "is unavailable: no connection could be opened in time" in caplog.text

    async def test_a_full_pool_costs_the_acquire_timeout(
        self, postgres_url: str, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A call that gets no connection in time is refused, and afterwards every connection is free."""
        url, other_url = f"/api/{user_id}/tasks", f"/api/{user_id}-2/tasks"
        # Long enough for a busy machine to open a connection.
        settings = {"TASKD_SQL_POOL_SIZE": "2", "TASKD_SQL_ACQUIRE_TIMEOUT": "1"}
        async with serving(postgres_url, user_id, **settings) as client:
            await until_ready(client)
            other = client_beside(client, f"{user_id}-2")
            async with locked(postgres_url) as holder:
                first = [
                    asyncio.create_task(create(client, url, "waits")),
                    asyncio.create_task(create(other, other_url, "waits")),
                ]
                await until_waiting(holder, 2)
                async with asyncio.timeout(5):
                    assert [503] * 10 == await asyncio.gather(*[create(client, url, "refused") for _ in range(10)])
                assert 200 == await read(client, "/livez")

            assert [201, 201] == await asyncio.gather(*first)
            assert [200] * 2 == await asyncio.gather(*[read(client, url) for _ in range(2)])
            assert ["waits", "waits"] == await titles(client, url) + await titles(other, other_url)
        assert "is unavailable: none of 2 connections became free in time" in caplog.text

    @pytest.mark.parametrize("settings", [{}, {"TASKD_SQL_POOLER": "yes"}], ids=["direct", "pooled"])
    async def test_a_lock_costs_the_statement_timeout(
        self, postgres_url: str, user_id: str, settings: dict[str, str]
    ) -> None:
        """Neither the client nor the server waits forever: a statement that was given up is not run afterwards."""
        url = f"/api/{user_id}/tasks"
        limits = {"TASKD_SQL_POOL_SIZE": "2", "TASKD_SQL_STATEMENT_TIMEOUT": "0.3", **settings}
        async with serving(postgres_url, user_id, **limits) as client:
            await until_ready(client)
            async with locked(postgres_url) as holder:
                async with asyncio.timeout(8):
                    assert [503] * 2 == await asyncio.gather(*[create(client, url) for _ in range(2)])
                await until_waiting(holder, 0)

            assert [200] * 4 == await asyncio.gather(*[read(client, url) for _ in range(4)])
            assert [] == await titles(client, url)

    @pytest.mark.parametrize(("settings", "expected"), [({}, "2500ms"), ({"TASKD_SQL_POOLER": "yes"}, "0")])
    async def test_the_server_knows_the_statement_timeout(
        self, postgres_url: str, settings: dict[str, str], expected: str
    ) -> None:
        """It ends the statements of a process that was killed; a pooler would refuse the parameter."""
        store = taskd_storage({"DATABASE_URL": postgres_url, "TASKD_SQL_STATEMENT_TIMEOUT": "1.5", **settings})
        assert [(expected,)] == [tuple(row) for row in await store.database.fetch("SHOW statement_timeout")]
        await store.close()

    @pytest.mark.parametrize(("query", "expected"), [("", "taskd"), ("?application_name=mine", "mine")])
    async def test_the_server_knows_the_application(self, postgres_url: str, query: str, expected: str) -> None:
        """The name is the URL's, if it has one."""
        store = taskd_storage({"DATABASE_URL": postgres_url + query})
        assert [(expected,)] == [tuple(row) for row in await store.database.fetch("SHOW application_name")]
        await store.close()

    async def test_all_time_outs_together_stay_within_the_limit(self, postgres_url: str, user_id: str) -> None:
        """However long the single time-outs are, a call ends within its own limit."""
        names = ["CONNECT", "ACQUIRE", "STATEMENT"]
        settings = {f"TASKD_SQL_{name}_TIMEOUT": "600" for name in names}
        async with serving(postgres_url, user_id, **settings, TASKD_SQL_POOL_SIZE="1") as client:
            await until_ready(client)
            database_of(client).limits = Limits(call_timeout_s=0.4)
            async with locked(postgres_url), asyncio.timeout(5):
                calls = [read(client, f"/api/{user_id}/tasks") for _ in range(5)]
                assert [503] * 5 == await asyncio.gather(*calls)

    async def test_concurrent_calls_of_one_task_are_separate(self, postgres_url: str, user_id: str) -> None:
        """Each child of a `gather` gets its own connection, and returns it."""
        store = taskd_storage({"DATABASE_URL": postgres_url, "TASKD_SQL_POOL_SIZE": "4"})
        database = store.database
        assert isinstance(database, PostgresDatabase)
        async with locked(postgres_url) as holder:
            sql = "SELECT pg_backend_pid(), count(*) FROM tasks"
            calls = [asyncio.create_task(database.fetch(sql, owner=f"{number}")) for number in range(4)]
            await until_waiting(holder, 4)

        assert 4 == len({pid for [(pid, _)] in await asyncio.gather(*calls)})
        assert [] == (await store.list(user_id)).tasks
        await store.close()

    async def test_a_changed_table_is_read_as_it_is(self, own_url: str, user_id: str) -> None:
        """What a connection remembers about a statement may be outdated, but causes no error."""
        url = f"/api/{user_id}/tasks"
        async with serving(own_url, user_id, TASKD_SQL_POOL_SIZE="1") as client:
            assert 201 == await create(client, url)
            assert ["t"] == await titles(client, url)
            async with connected(own_url) as connection:
                await connection.execute("ALTER TABLE tasks ALTER COLUMN title TYPE varchar(300)")

            assert ["t"] == await titles(client, url)
            assert 201 == await create(client, url)


class TestPooler:
    """A PgBouncer, which may run each transaction on a different connection."""

    async def test_everything_works_when_it_is_set(
        self, pooler: PgBouncer, postgres_url: str, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Many concurrent clients never see each other's prepared statements, because none relies on a session."""
        assert postgres_url.endswith("/tests")
        url = f"/api/{user_id}/tasks"
        async with serving(pooler.url("tests"), user_id, TASKD_SQL_POOLER="yes") as client:
            outcomes = await asyncio.gather(*[life(client, url, f"{number}") for number in range(40)])

            assert [(201, 200, 200, 200, 204)] * 40 == outcomes
            assert [] == await titles(client, url)
            # The pooler did not know a statement by its name, so taskd has stopped using names.
            assert Naming.NONE is await naming_of(client)
        assert " is unavailable" not in caplog.text

    async def test_prepared_statements_are_kept_if_it_supports_them(
        self, preparing_pooler: PgBouncer, proxy: Proxy, postgres_url: str, user_id: str
    ) -> None:
        """The server parses each statement once, whichever of the pooler's connections runs it."""
        assert postgres_url.endswith("/tests")
        url = f"/api/{user_id}/tasks"
        proxy.target = preparing_pooler.port
        through = proxy.url_through(preparing_pooler.url("tests"))
        async with serving(through, user_id, TASKD_SQL_POOLER="yes", TASKD_SQL_POOL_SIZE="2") as client:
            outcomes = await asyncio.gather(*[life(client, url, f"{number}") for number in range(20)])
            wire = Wire()
            proxy.show_requests(wire.see)
            outcomes += await asyncio.gather(*[life(client, url, f"{number}") for number in range(20)])

            assert [(201, 200, 200, 200, 204)] * 40 == outcomes
            assert Naming.SHARED is await naming_of(client)
        assert wire.parsed < wire.statements / 4

    async def test_a_name_that_may_exist_is_not_used_again(
        self, preparing_pooler: PgBouncer, proxy: Proxy, postgres_url: str, user_id: str
    ) -> None:
        """PgBouncer would close the connection; a call that is cancelled may have prepared its statement."""
        assert postgres_url.endswith("/tests")
        proxy.target = preparing_pooler.port
        url = proxy.url_through(preparing_pooler.url("tests"))
        store = taskd_storage({"DATABASE_URL": url, "TASKD_SQL_POOLER": "yes", "TASKD_SQL_POOL_SIZE": "1"})
        await store.ping()

        def stall_after(_: object, data: bytes) -> None:
            if b"INSERT" in data and not call.done():
                asyncio.get_running_loop().call_soon(proxy.stall)

        proxy.show_requests(stall_after)
        call = asyncio.create_task(store.create(user_id, NewTask(title="t")))
        await until(lambda: proxy._is_stalled)
        call.cancel()
        await asyncio.wait([call])
        proxy.resume()

        assert "t" == (await store.create(user_id, NewTask(title="t"))).title
        await store.close()

    async def test_a_column_may_change_its_type(
        self, preparing_pooler: PgBouncer, own_url: str, own_database: str, user_id: str
    ) -> None:
        """PgBouncer keeps statements that return the old type, so taskd stops naming its own."""
        settings = {"TASKD_SQL_POOLER": "yes", "TASKD_SQL_POOL_SIZE": "1"}
        store = taskd_storage({"DATABASE_URL": preparing_pooler.url(own_database), **settings})
        task = await store.create(user_id, NewTask(title="t"))
        await store.toggle(user_id, task.id)
        async with connected(own_url) as connection:
            await connection.execute("ALTER TABLE tasks ALTER COLUMN description TYPE varchar")

        assert not (await store.toggle(user_id, task.id)).is_completed
        await store.close()

    async def test_the_log_suggests_setting_it(
        self, pooler: PgBouncer, postgres_url: str, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """If taskd does not know about a PgBouncer, an error occurs, and the log names the setting."""
        assert postgres_url.endswith("/tests")
        async with serving(pooler.url("tests"), user_id) as client:
            assert 503 == await read(client, "/readyz")
        assert "behind a PgBouncer, set TASKD_SQL_POOLER=yes" in caplog.text

    async def test_the_name_can_be_overridden(
        self, postgres_url: str, postgres: PostgresServer, user_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With `TASKD_SQL_POOLER=no`, statements are kept, and the server knows the statement time-out."""
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", leading_to(postgres.port))
        url = postgres_url.replace(LOOPBACK, "my-pooler.example.com") + "?sslmode=disable"
        settings = {"TASKD_ALLOW_PLAINTEXT": "1", "TASKD_SQL_POOLER": "no"}
        store = taskd_storage({"DATABASE_URL": url, **settings})
        assert [("6s",)] == [tuple(row) for row in await store.database.fetch("SHOW statement_timeout")]
        assert [] == (await store.list(user_id)).tasks
        await store.close()

    async def test_a_server_may_restart_behind_it(
        self, postgres: PostgresServer, pooler: PgBouncer, postgres_url: str, user_id: str
    ) -> None:
        """Neither taskd nor the pooler needs a restart, and reads are not disturbed."""
        assert postgres_url.endswith("/tests")
        url = f"/api/{user_id}/tasks"
        async with serving(pooler.url("tests"), user_id, TASKD_SQL_POOLER="yes") as client:
            assert 201 == await create(client, url)
            await asyncio.to_thread(postgres.terminate_backends)

            assert ["t"] == await titles(client, url)
            assert 201 == await create(client, url)


async def pool_of(client: httpx.AsyncClient) -> Any:
    """Return the pool of connections to the database of *client*."""
    database = database_of(client)
    assert isinstance(database, PostgresDatabase)
    return await database._pool.get()


async def naming_of(client: httpx.AsyncClient) -> Naming:
    """Return how connections to the database of *client* name their statements."""
    naming: Naming = (await pool_of(client)).connections.pool.naming
    return naming


async def life(client: httpx.AsyncClient, tasks_url: str, title: str) -> tuple[int, ...]:
    """Create, update, toggle, read and delete a task, and return the statuses."""
    created = await client.post(tasks_url, json={"title": title})
    url = created.headers["Location"]
    updated = await client.put(url, json={"title": f"{title}!"})
    toggled = await client.patch(f"{url}/complete")
    found = await client.get(url)
    deleted = await client.delete(url)
    assert (f"{title}!", True) == (found.json()["title"], found.json()["is_completed"])
    return tuple(outcome(response) for response in (created, updated, toggled, found, deleted))


def test_libpq_s_variables_are_ignored(postgres_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not affect a connection that the URL describes."""
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", "nowhere")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGSSLNEGOTIATION", "none")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    monkeypatch.setenv("PGGSSLIB", "none")
    monkeypatch.setenv("PGUSER", "nobody")
    monkeypatch.setenv("PGDATABASE", "nowhere")
    monkeypatch.setenv("PGKRBSRVNAME", "nobody")
    store = taskd_storage({"DATABASE_URL": postgres_url})

    assert [] == asyncio.run(store.list(user_id)).tasks


def test_a_unix_socket_works(postgres: PostgresServer, postgres_url: str, user_id: str) -> None:
    """The folder of the server's socket leads to the same database as its port, also for migrations."""
    database, folder = postgres_url.rpartition("/")[2], quote(str(postgres.data.parent), safe="")
    store = taskd_storage({"DATABASE_URL": f"postgresql://{USER}@{folder}:{postgres.port}/{database}"})

    async def use() -> list[str]:
        steps = await store.migrate()
        await store.create(user_id, NewTask(title="t"))
        await store.close()
        return list(steps)

    assert [] == asyncio.run(use())
    assert ["t"] == [
        task.title for task in asyncio.run(taskd_storage({"DATABASE_URL": postgres_url}).list(user_id)).tasks
    ]


def test_the_database_defaults_to_the_user_s_name(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """This is the same as in libpq, but neither a variable nor the operating system is consulted."""
    monkeypatch.setenv("PGDATABASE", "postgres")
    store = taskd_storage({"DATABASE_URL": f"postgresql://{USER}@127.0.0.1:{postgres.port}"})

    with pytest.raises(StoreUnavailable, match="3D000"):
        asyncio.run(store.ping())


@pytest.mark.usefixtures("postgres_url")
@pytest.mark.parametrize("variable", ["PGPASSWORD", "PGPASSFILE"])
def test_libpq_s_passwords_are_ignored(
    postgres: PostgresServer, user_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A URL without a password has none, even if libpq's variables know the right one."""
    file = tmp_path / "passwords"
    file.write_text(f"*:*:*:*:{SECURED_PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv(variable, {"PGPASSWORD": SECURED_PASSWORD, "PGPASSFILE": str(file)}[variable])
    url = f"postgresql://{SECURED_USER}@localhost:{postgres.port}/tests?sslmode=require"
    store = taskd_storage({"DATABASE_URL": url})

    with pytest.raises(StoreUnavailable, match="28P01"):
        asyncio.run(store.list(user_id))
