"""How taskd reaches PostgreSQL: Neon's URL, TLS, the pool and its time-outs, and PgBouncer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
import trustme

import taskd_sql.postgres
from taskd import StoreUnavailable, build_app
from taskd_sql import retries
from taskd_sql.plugin import taskd_storage
from taskd_sql.postgres import PostgresDatabase
from tests.conftest import SECRET
from tests.pgbouncer import PgBouncer
from tests.postgres import NEON_POOLER, SECURED_PASSWORD, SECURED_USER, PostgresServer
from tests.proxy import LOOPBACK, Proxy, ServerWithoutTLS, leading_to
from tests.serving import connected, create, locked, outcome, read, serving, titles, until, until_ready, until_waiting

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_brief_pauses")]

ENCRYPTED = ["allow", "prefer", "require", "verify-ca", "verify-full"]
# TLS and the password are done by then.
SLOW_LOGIN = """
    CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); END';
    CREATE EVENT TRIGGER slow_login ON login EXECUTE FUNCTION wait();
"""


class TestNeonURL:
    """What Neon's console gives, to the letter; only the DNS leads elsewhere."""

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
        """Where the system trusts the authority, there is nothing to set but the URL."""
        monkeypatch.setenv("SSL_CERT_FILE", str(postgres.ca))
        async with serving(url.replace("postgresql", scheme, 1), user_id) as client:
            assert 201 == await create(client, f"/api/{user_id}/tasks")
            assert ["t"] == await titles(client, f"/api/{user_id}/tasks")

    @pytest.mark.usefixtures("postgres_url")
    async def test_an_impostor_is_not_served(self, url: str, user_id: str, caplog: pytest.LogCaptureFixture) -> None:
        """Channel binding would keep an impostor away: in its place the certificate is verified."""
        async with serving(url, user_id) as client:
            assert 503 == await read(client, f"/api/{user_id}/tasks")
        assert f"PostgreSQL at {NEON_POOLER}:5432 does not serve: the server's certificate is not good" in caplog.text
        assert SECURED_PASSWORD not in caplog.text

    @pytest.mark.usefixtures("postgres_url")
    async def test_the_missing_channel_binding_is_told_once(
        self,
        postgres: PostgresServer,
        url: str,
        user_id: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """It is not for each connection, nor for each opening of the pool, to say so."""
        monkeypatch.setenv("SSL_CERT_FILE", str(postgres.ca))
        store = taskd_storage({"DATABASE_URL": url})
        for _ in range(2):
            await asyncio.gather(*[store.list(user_id) for _ in range(5)])
            await store.close()

        assert ["channel_binding=require: there is none; the server's certificate is verified instead"] == [
            record.getMessage() for record in caplog.records if "channel_binding" in record.getMessage()
        ]

    async def test_a_host_that_is_called_as_neons_pooler_is_taken_for_one(
        self, pooler: PgBouncer, postgres_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No setting is needed for what is in between."""
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", leading_to(pooler.port))
        url = postgres_url.replace(LOOPBACK, NEON_POOLER) + "?sslmode=disable"
        async with serving(url, user_id, TASKD_ALLOW_PLAINTEXT="1") as client:
            assert [201] * 40 == await asyncio.gather(*[create(client, f"/api/{user_id}/tasks") for _ in range(40)])


class TestTLS:
    """`sslmode`, over connections that are made."""

    @pytest.mark.usefixtures("postgres_url")
    @pytest.mark.parametrize("host", ["localhost", LOOPBACK])
    @pytest.mark.parametrize("mode", ENCRYPTED)
    async def test_every_mode_but_one_encrypts(
        self, postgres: PostgresServer, user_id: str, mode: str, host: str
    ) -> None:
        """The role is let in by TLS only; a trusted authority satisfies all modes."""
        url = postgres.secured_url("tests", host, sslmode=mode, sslrootcert=str(postgres.ca))
        async with serving(url, user_id) as client:
            assert 201 == await create(client, f"/api/{user_id}/tasks")

    @pytest.mark.usefixtures("postgres_url")
    async def test_plain_text_is_plain(
        self, postgres: PostgresServer, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """`disable` is honoured too: the role that needs TLS does not get in, and the log says so."""
        async with serving(postgres.secured_url("tests", sslmode="disable"), user_id) as client:
            assert 503 == await read(client, f"/api/{user_id}/tasks")
        assert "28000: this user may not connect" in caplog.text

    @pytest.mark.parametrize("query", [*[f"sslmode={mode}" for mode in ENCRYPTED], "channel_binding=require"])
    async def test_a_server_that_refuses_tls_gets_to_see_nothing(
        self, user_id: str, caplog: pytest.LogCaptureFixture, query: str
    ) -> None:
        """No mode falls back to plain text: neither the password nor the user's name is sent."""
        async with ServerWithoutTLS() as server:
            url = f"postgresql://{SECURED_USER}:swordfish@{LOOPBACK}:{server.port}/tests?{query}"
            async with serving(url, user_id) as client:
                assert 503 == await create(client, f"/api/{user_id}/tasks")
                assert 503 == await read(client, "/readyz")

            assert b"" == server.received
        assert "does not serve: the server refuses TLS" in caplog.text

    @pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
    @pytest.mark.parametrize("authority", ["another", "system"])
    async def test_a_certificate_of_an_unknown_authority_is_refused(
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
        async with serving(postgres.secured_url("tests", sslmode=mode, **root), user_id) as client:
            assert 503 == await create(client, f"/api/{user_id}/tasks")
        assert "does not serve: the server's certificate is not good: " in caplog.text

    @pytest.mark.usefixtures("postgres_url")
    @pytest.mark.parametrize(("mode", "status"), [("verify-full", 503), ("verify-ca", 200), ("require", 200)])
    async def test_only_one_mode_looks_at_the_name(
        self, postgres: PostgresServer, user_id: str, monkeypatch: pytest.MonkeyPatch, mode: str, status: int
    ) -> None:
        """A good certificate that is made out to another host is as none for `verify-full`."""
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", leading_to(postgres.port))
        url = postgres.secured_url("tests", "db.example.com", sslmode=mode, sslrootcert=str(postgres.ca))
        async with serving(url, user_id) as client:
            assert status == await read(client, f"/api/{user_id}/tasks")

    @pytest.mark.usefixtures("postgres_url")
    async def test_a_wrong_password_is_said(
        self, postgres: PostgresServer, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is tried once, and not quoted."""
        url = postgres.secured_url("tests", sslmode="require").replace(f"{SECURED_USER}:", f"{SECURED_USER}:not")
        async with serving(url, user_id) as client:
            assert 503 == await read(client, f"/api/{user_id}/tasks")
        assert "28P01: the password is wrong" in caplog.text
        assert "not%20" not in caplog.text

    async def test_a_login_that_is_given_up_leaves_no_connection(
        self, postgres: PostgresServer, proxy: Proxy, own_url: str, user_id: str
    ) -> None:
        """A server that does not answer does not end TLS either: nobody waits for that."""
        name = own_url.rpartition("/")[2]
        postgres.psql(name, "-c", SLOW_LOGIN)
        url = proxy.url_through(postgres.secured_url(name, sslmode="require"))
        async with serving(url, user_id, TASKD_SQL_CONNECT_TIMEOUT="0.5") as client:
            assert 503 == await read(client, f"/api/{user_id}/tasks")
            await until(lambda: proxy.connections == 0)


class TestPool:
    """Sizes and time-outs."""

    async def test_no_connection_is_opened_by_building(self, proxy: Proxy, postgres_url: str) -> None:
        """An application that is only built, as by a worker that never serves, holds nothing."""
        build_app({"DATABASE_URL": proxy.url_through(postgres_url), "BETTER_AUTH_SECRET": SECRET})
        await asyncio.sleep(0.05)

        assert 0 == proxy.accepted

    async def test_a_connection_is_kept_for_the_next_call(self, proxy: Proxy, postgres_url: str, user_id: str) -> None:
        """Calls one after the other need one connection."""
        async with serving(proxy.url_through(postgres_url), user_id) as client:
            await until(lambda: proxy.accepted == 1)
            assert [200] * 10 == [await read(client, f"/api/{user_id}/tasks") for _ in range(10)]
            assert 2 >= proxy.accepted
        await until(lambda: proxy.connections == 0)

    @pytest.mark.parametrize("size", [1, 3])
    async def test_no_more_connections_than_the_size(
        self, proxy: Proxy, postgres_url: str, user_id: str, size: int
    ) -> None:
        """A hundred requests at once share them."""
        url = f"/api/{user_id}/tasks"
        async with serving(proxy.url_through(postgres_url), user_id, TASKD_SQL_POOL_SIZE=str(size)) as client:
            await until_ready(client)
            assert [201] * 100 == await asyncio.gather(*[create(client, url) for _ in range(100)])
            assert 100 == len(await titles(client, url))
            assert size == proxy.accepted == proxy.connections

    async def test_idle_connections_are_closed(self, proxy: Proxy, postgres_url: str, user_id: str) -> None:
        """Neon may go to sleep, and the next request opens a connection again."""
        url = f"/api/{user_id}/tasks"
        async with serving(proxy.url_through(postgres_url), user_id, TASKD_SQL_IDLE_TIMEOUT="0.1") as client:
            await until_ready(client)
            await asyncio.gather(*[read(client, url) for _ in range(5)])
            await until(lambda: proxy.connections == 0)
            before = proxy.accepted

            assert 201 == await create(client, url)
            assert before + 1 == proxy.accepted

    @pytest.mark.parametrize(
        ("setting", "query"), [("1", ""), ("600", "?connect_timeout=1")], ids=["setting", "parameter"]
    )
    async def test_a_silent_server_costs_the_connect_timeout(  # noqa: PLR0917
        self,
        proxy: Proxy,
        postgres_url: str,
        user_id: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        setting: str,
        query: str,
    ) -> None:
        """The URL's own comes before the setting."""
        proxy.stall()
        url = proxy.url_through(postgres_url) + query
        async with serving(url, user_id, TASKD_SQL_CONNECT_TIMEOUT=setting) as client:
            with monkeypatch.context() as once:
                once.setattr(retries, "MAX_ATTEMPTS", 1)
                async with asyncio.timeout(5):
                    assert 503 == await create(client, f"/api/{user_id}/tasks")
            proxy.resume()
            assert 200 == await read(client, f"/api/{user_id}/tasks")
        assert "does not serve: no connection could be made in time" in caplog.text

    async def test_a_full_pool_costs_the_acquire_timeout(
        self, own_url: str, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whoever gets no connection in time is refused, and afterwards every connection is free."""
        url = f"/api/{user_id}/tasks"
        # Long enough for a connection to be made, on a machine that has much to do.
        settings = {"TASKD_SQL_POOL_SIZE": "2", "TASKD_SQL_ACQUIRE_TIMEOUT": "1"}
        async with serving(own_url, user_id, **settings) as client:
            await until_ready(client)
            async with locked(own_url) as holder:
                first = [asyncio.create_task(create(client, url, "waits")) for _ in range(2)]
                await until_waiting(holder, 2)
                async with asyncio.timeout(5):
                    assert [503] * 10 == await asyncio.gather(*[create(client, url, "refused") for _ in range(10)])
                assert 200 == await read(client, "/livez")

            assert [201, 201] == await asyncio.gather(*first)
            assert [200] * 2 == await asyncio.gather(*[read(client, url) for _ in range(2)])
            assert ["waits", "waits"] == await titles(client, url)
        assert "does not serve: none of 2 connections came free in time" in caplog.text

    @pytest.mark.parametrize("settings", [{}, {"TASKD_SQL_POOLER": "yes"}], ids=["direct", "pooled"])
    async def test_a_lock_costs_the_statement_timeout(
        self, own_url: str, user_id: str, settings: dict[str, str]
    ) -> None:
        """Nobody waits for it without end, and neither does the server: what was given up is not done afterwards."""
        url = f"/api/{user_id}/tasks"
        limits = {"TASKD_SQL_POOL_SIZE": "2", "TASKD_SQL_STATEMENT_TIMEOUT": "0.3", **settings}
        async with serving(own_url, user_id, **limits) as client:
            await until_ready(client)
            async with locked(own_url) as holder:
                async with asyncio.timeout(8):
                    assert [503] * 2 == await asyncio.gather(*[create(client, url) for _ in range(2)])
                await until_waiting(holder, 0)

            assert [200] * 4 == await asyncio.gather(*[read(client, url) for _ in range(4)])
            assert [] == await titles(client, url)

    @pytest.mark.parametrize(("settings", "expected"), [({}, "2500ms"), ({"TASKD_SQL_POOLER": "yes"}, "0")])
    async def test_the_server_knows_the_statement_timeout(
        self, own_url: str, settings: dict[str, str], expected: str
    ) -> None:
        """It ends what a process that was killed has left behind; a pooler would refuse to be told."""
        store = taskd_storage({"DATABASE_URL": own_url, "TASKD_SQL_STATEMENT_TIMEOUT": "1.5", **settings})
        assert [(expected,)] == [tuple(row) for row in await store.database.fetch("SHOW statement_timeout")]
        await store.close()

    @pytest.mark.parametrize(("query", "expected"), [("", "taskd"), ("?application_name=mine", "mine")])
    async def test_the_server_knows_who_asks(self, own_url: str, query: str, expected: str) -> None:
        """The name is the URL's, where it has one."""
        store = taskd_storage({"DATABASE_URL": own_url + query})
        assert [(expected,)] == [tuple(row) for row in await store.database.fetch("SHOW application_name")]
        await store.close()

    async def test_all_time_outs_together_keep_the_promise(
        self, own_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However long the single time-outs are, a call ends within its own."""
        names = ["CONNECT", "ACQUIRE", "STATEMENT"]
        settings = {f"TASKD_SQL_{name}_TIMEOUT": "600" for name in names}
        async with serving(own_url, user_id, **settings, TASKD_SQL_POOL_SIZE="1") as client:
            await until_ready(client)
            monkeypatch.setattr(taskd_sql.postgres, "CALL_TIMEOUT_S", 0.4)
            async with locked(own_url), asyncio.timeout(5):
                calls = [read(client, f"/api/{user_id}/tasks") for _ in range(5)]
                assert [503] * 5 == await asyncio.gather(*calls)

    async def test_calls_of_one_task_s_children_are_apart(self, own_url: str, user_id: str) -> None:
        """Each child of a `gather` has a connection for itself, and gives it back."""
        store = taskd_storage({"DATABASE_URL": own_url, "TASKD_SQL_POOL_SIZE": "4"})
        database = store.database
        assert isinstance(database, PostgresDatabase)
        async with locked(own_url) as holder:
            calls = [
                asyncio.create_task(database.fetch("SELECT pg_backend_pid(), count(*) FROM tasks")) for _ in range(4)
            ]
            await until_waiting(holder, 4)

        assert 4 == len({pid for [(pid, _)] in await asyncio.gather(*calls)})
        assert [] == await store.list(user_id)
        await store.close()

    async def test_a_table_that_changes_is_read_as_it_is(self, own_url: str, user_id: str) -> None:
        """What a connection knows of a statement may be out of date: that is nobody's fault."""
        url = f"/api/{user_id}/tasks"
        async with serving(own_url, user_id, TASKD_SQL_POOL_SIZE="1") as client:
            assert 201 == await create(client, url)
            assert ["t"] == await titles(client, url)
            async with connected(own_url) as connection:
                await connection.execute("ALTER TABLE tasks ALTER COLUMN title TYPE varchar(300)")

            assert ["t"] == await titles(client, url)
            assert 201 == await create(client, url)


class TestPooler:
    """PgBouncer, which gives every transaction whichever connection is free."""

    async def test_everything_works_when_it_is_set(
        self, pooler: PgBouncer, postgres_url: str, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No session is relied upon: many clients at once never meet a statement of another's."""
        assert postgres_url.endswith("/tests")
        url = f"/api/{user_id}/tasks"
        async with serving(pooler.url("tests"), user_id, TASKD_SQL_POOLER="yes") as client:
            outcomes = await asyncio.gather(*[life(client, url, f"{number}") for number in range(40)])

            assert [(201, 200, 200, 200, 204)] * 40 == outcomes
            assert [] == await titles(client, url)
        assert " serve" not in caplog.text

    async def test_the_log_says_when_it_should_be_set(
        self, pooler: PgBouncer, postgres_url: str, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A PgBouncer that is not known of refuses what is asked of it, and the log tells the setting."""
        assert postgres_url.endswith("/tests")
        async with serving(pooler.url("tests"), user_id) as client:
            assert 503 == await read(client, "/readyz")
        assert "with a PgBouncer in between, set TASKD_SQL_POOLER=yes" in caplog.text

    async def test_a_host_that_is_only_called_so_can_be_told(
        self, postgres_url: str, postgres: PostgresServer, user_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`TASKD_SQL_POOLER=no` overrules the name: statements are kept, and the server knows their time-out."""
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", leading_to(postgres.port))
        url = postgres_url.replace(LOOPBACK, "my-pooler.example.com") + "?sslmode=disable"
        settings = {"TASKD_ALLOW_PLAINTEXT": "1", "TASKD_SQL_POOLER": "no"}
        store = taskd_storage({"DATABASE_URL": url, **settings})
        assert [("6s",)] == [tuple(row) for row in await store.database.fetch("SHOW statement_timeout")]
        assert [] == await store.list(user_id)
        await store.close()

    async def test_a_server_that_restarts_behind_it_comes_back(
        self, postgres: PostgresServer, pooler: PgBouncer, postgres_url: str, user_id: str
    ) -> None:
        """Neither taskd nor the pooler has to be restarted, and reads are not disturbed."""
        assert postgres_url.endswith("/tests")
        url = f"/api/{user_id}/tasks"
        async with serving(pooler.url("tests"), user_id, TASKD_SQL_POOLER="yes") as client:
            assert 201 == await create(client, url)
            await asyncio.to_thread(postgres.terminate_backends)

            assert ["t"] == await titles(client, url)
            assert 201 == await create(client, url)


async def life(client: httpx.AsyncClient, tasks_url: str, title: str) -> tuple[int, ...]:
    """Do everything to a task that can be done to one."""
    created = await client.post(tasks_url, json={"title": title})
    url = created.headers["Location"]
    updated = await client.put(url, json={"title": f"{title}!"})
    toggled = await client.patch(f"{url}/complete")
    found = await client.get(url)
    deleted = await client.delete(url)
    assert (f"{title}!", True) == (found.json()["title"], found.json()["is_completed"])
    return tuple(outcome(answer) for answer in (created, updated, toggled, found, deleted))


def test_no_environment_of_the_driver_s_is_read(own_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What libpq's variables say of a connection does not reach one that the URL describes."""
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", "nowhere")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGSSLNEGOTIATION", "none")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    monkeypatch.setenv("PGGSSLIB", "none")
    store = taskd_storage({"DATABASE_URL": own_url})

    assert [] == asyncio.run(store.list(user_id))


@pytest.mark.usefixtures("postgres_url")
@pytest.mark.parametrize("variable", ["PGPASSWORD", "PGPASSFILE"])
def test_no_password_of_the_driver_s_is_used(
    postgres: PostgresServer, user_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A URL without a password has none, even where libpq's variables know the right one."""
    file = tmp_path / "passwords"
    file.write_text(f"*:*:*:*:{SECURED_PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv(variable, {"PGPASSWORD": SECURED_PASSWORD, "PGPASSFILE": str(file)}[variable])
    url = f"postgresql://{SECURED_USER}@localhost:{postgres.port}/tests?sslmode=require"
    store = taskd_storage({"DATABASE_URL": url})

    with pytest.raises(StoreUnavailable, match="28P01"):
        asyncio.run(store.list(user_id))
