"""What the tests of faults stand on: the pooler, TLS, and networks and servers that fail to order."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import struct
from typing import Any

import asyncpg
import pytest

from tests.pgbouncer import PgBouncer, pgbouncer
from tests.postgres import SECURED_PASSWORD, SECURED_USER, PostgresServer, free_port
from tests.proxy import Proxy, ServerWithoutTLS

pytestmark = pytest.mark.anyio

# Long enough for an answer that comes, and short enough to wait for one that does not.
PATIENCE_S = 0.2
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
LOST = (ConnectionError, asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError)


async def connect(url: str, **options: Any) -> asyncpg.Connection:
    return await asyncpg.connect(url, **{"ssl": False, "timeout": 10, **options})


async def value_of(url: str, sql: str, **options: Any) -> object:
    """Ask one question on a connection of its own."""
    connection = await connect(url, **options)
    value = await connection.fetchval(sql)
    await connection.close()
    return value


async def ask_at_once(url: str, **options: Any) -> list[BaseException | None]:
    """Run the same few statements by several clients at once, and return what became of each client."""
    connections = [await connect(url, **options) for _ in range(8)]

    async def ask(connection: asyncpg.Connection) -> None:
        for number in range(10):
            assert number == await connection.fetchval("SELECT $1::int", number)

    outcomes = await asyncio.gather(*map(ask, connections), return_exceptions=True)
    for connection in connections:
        connection.terminate()
    return outcomes


async def ask_twice(url: str, sql: str, **options: Any) -> list[object]:
    """Ask the same twice behind a pooler, while another client holds the server that was the first to answer."""
    first, second = await connect(url, **options), await connect(url, statement_cache_size=0)
    try:
        before = await first.fetchval(sql)
        # A pooler lends the server that came back last.
        async with second.transaction():
            return [before, await first.fetchval(sql)]
    finally:
        await first.close()
        await second.close()


async def test_a_client_of_the_pooler_changes_servers(pooler: PgBouncer) -> None:
    """Two statements of one client are run by two backends when another client came in between."""
    before, after = await ask_twice(pooler.url("postgres"), "SELECT pg_backend_pid()", statement_cache_size=0)

    assert before != after


async def test_a_prepared_statement_is_lost_behind_the_pooler(pooler: PgBouncer) -> None:
    """A driver that gives its statements names, as asyncpg does by default, does not find them again."""
    with pytest.raises(asyncpg.InvalidSQLStatementNameError):
        await ask_twice(pooler.url("postgres"), "SELECT pg_backend_pid()")


async def test_statements_without_names_work_behind_the_pooler(pooler: PgBouncer) -> None:
    """A driver that keeps no statements is answered."""
    assert [None] * 8 == await ask_at_once(pooler.url("postgres"), statement_cache_size=0)


async def test_a_pooler_takes_settings(postgres: PostgresServer) -> None:
    """Where every client has a server for itself, statements may have names."""
    with pgbouncer(postgres, pool_mode="session", default_pool_size=8) as pooler:
        assert [None] * 8 == await ask_at_once(pooler.url("postgres"))


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_ci_has_the_pooler(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    """Without PgBouncer its tests are left out, but not by CI."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="not installed"), pgbouncer(postgres):
        ...


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_the_server_proves_who_it_is(postgres: PostgresServer, host: str) -> None:
    """Whoever trusts the authority of the tests gets in by TLS."""
    trusting = ssl.create_default_context(cafile=postgres.ca)
    sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"

    assert await value_of(postgres.secured_url("postgres", host), sql, ssl=trusting) is True


async def test_the_parameters_of_a_url_are_its_query(postgres: PostgresServer) -> None:
    """The driver reads from a URL how it is to verify."""
    url = postgres.secured_url("postgres", sslmode="verify-full", sslrootcert=str(postgres.ca))
    connection = await asyncpg.connect(url)

    assert SECURED_USER == await connection.fetchval("SELECT current_user")
    await connection.close()


async def test_the_server_is_unknown_to_the_system(postgres: PostgresServer) -> None:
    """Whoever trusts public authorities only does not talk to the server."""
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(postgres.secured_url("postgres"), ssl=ssl.create_default_context())


async def test_the_secured_role_needs_tls(postgres: PostgresServer) -> None:
    """The right password does not help a client that comes without TLS."""
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="rejects connection"):
        await connect(postgres.secured_url("postgres"))


async def test_the_secured_role_needs_its_password(postgres: PostgresServer) -> None:
    """TLS does not help a client that has another password."""
    url = postgres.secured_url("postgres").replace(SECURED_USER + ":", f"{SECURED_USER}:not%20")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect(url, ssl="require")


async def test_terminated_backends_are_lost(postgres: PostgresServer, postgres_url: str) -> None:
    """Terminating the backends cuts every client off."""
    connection = await connect(postgres_url)
    assert 1 <= postgres.terminate_backends()
    with pytest.raises((asyncpg.AdminShutdownError, *LOST)):
        await connection.execute("SELECT 1")


async def test_connections_of_taskd_are_seen(postgres: PostgresServer) -> None:
    """Each connection is told by its state, and those of others are not told."""
    url = postgres.create_database("seen")
    other = await connect(url)
    connection = await connect(url, server_settings={"application_name": "taskd"})
    idle = postgres.connections("seen")
    async with connection.transaction():
        busy = postgres.connections("seen")
    await connection.close()
    await other.close()

    assert (["idle"], ["idle in transaction"]) == (idle, busy)


async def test_a_frozen_server_answers_when_it_is_thawed(postgres: PostgresServer, postgres_url: str) -> None:
    """Neither those who are connected nor those who come get a word before."""
    connection = await connect(postgres_url)
    postgres.freeze()
    try:
        asked = [
            asyncio.create_task(connection.fetchval("SELECT 1")),
            asyncio.create_task(value_of(postgres_url, "SELECT 1")),
        ]
        done, _ = await asyncio.wait(asked, timeout=PATIENCE_S)
    finally:
        postgres.thaw()

    assert not done
    assert [1, 1] == await asyncio.gather(*asked)
    await connection.close()


async def test_a_stopped_server_starts_again(postgres: PostgresServer, postgres_url: str) -> None:
    """A server that crashed is at the same port afterwards."""
    postgres.stop()
    with pytest.raises(ConnectionRefusedError):
        await connect(postgres_url)
    postgres.start()

    assert 1 == await value_of(postgres_url, "SELECT 1")


async def test_a_proxy_passes_everything_on(proxy: Proxy, postgres_url: str) -> None:
    """Without a fault a proxy is not noticed, and it counts."""
    connection = await connect(proxy.url_through(postgres_url))
    text = "x" * 10_000_000
    assert text == await connection.fetchval("SELECT $1::text", text)
    during = proxy.connections
    await connection.close()
    await connect_and_close(proxy.url_through(postgres_url))

    assert (1, 2) == (during, proxy.accepted)


async def connect_and_close(url: str) -> None:
    connection = await connect(url)
    await connection.close()


async def test_a_host_keeps_its_name_through_the_proxy(proxy: Proxy, postgres: PostgresServer) -> None:
    """A certificate is as good through the proxy as without it."""
    url = proxy.url_through(postgres.secured_url("postgres", sslmode="require"))

    assert f"@localhost:{proxy.port}/postgres?sslmode=require" in url
    assert 1 == await value_of(url, "SELECT 1", ssl=ssl.create_default_context(cafile=postgres.ca))


async def test_a_proxy_refuses_until_it_accepts(proxy: Proxy, postgres_url: str) -> None:
    """Refusing cuts who is connected and keeps others out, and accepting lets them in at the same port."""
    url = proxy.url_through(postgres_url)
    connection = await connect(url)
    await proxy.refuse()
    assert 0 == proxy.connections
    with pytest.raises(LOST):
        await connection.execute("SELECT 1")
    with pytest.raises(ConnectionRefusedError):
        await connect(url)
    await proxy.accept()

    assert 1 == await value_of(url, "SELECT 1")


async def test_a_cut_is_a_reset(proxy: Proxy) -> None:
    """A cut looks like a fault, not like an end, and the proxy goes on to listen."""
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        # Once the server has answered, both sides are connected.
        writer.write(SSL_REQUEST)
        assert b"S" == await reader.read(1)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()


async def test_a_proxy_before_nothing_resets() -> None:
    """Who connects while the server is away is cut."""
    async with Proxy(free_port()) as proxy:
        with pytest.raises(LOST):
            await connect(f"postgresql://taskd@127.0.0.1:{proxy.port}/tests")


async def test_a_stalled_proxy_loses_nothing(proxy: Proxy, postgres_url: str) -> None:
    """Requests, answers and ends that come during a stall arrive when it is over."""
    url = proxy.url_through(postgres_url)
    connection, leaving = await connect(url), await connect(url)
    proxy.stall()
    asked = [asyncio.create_task(connection.fetchval("SELECT 1")), asyncio.create_task(value_of(url, "SELECT 1"))]
    leaving.terminate()
    done, _ = await asyncio.wait(asked, timeout=PATIENCE_S)
    assert not done
    assert 2 == proxy.connections
    proxy.resume()

    assert [1, 1] == await asyncio.gather(*asked)
    await connection.close()


@pytest.mark.parametrize(
    ("fault", "holding", "number"),
    [("answer", b"UPDATE 1", 2), ("answer", b"", 2), ("request", b"", 1), ("request", b"UPDATE", 1)],
)
async def test_a_cut_is_before_the_statement_or_after_it(
    proxy: Proxy, postgres: PostgresServer, fault: str, holding: bytes, number: int
) -> None:
    """A statement whose answer is cut was run, and one whose request is cut was not; both look the same."""
    url = postgres.url("postgres")
    connection = await connect(proxy.url_through(url))
    await connection.execute("DROP TABLE IF EXISTS counter; CREATE TABLE counter AS SELECT 1 AS number")
    cut = {"answer": proxy.cut_on_next_answer, "request": proxy.cut_on_next_request}[fault]
    cut(holding)
    with pytest.raises(LOST):
        await connection.execute("UPDATE counter SET number = number + 1")

    assert number == await value_of(url, "SELECT number FROM counter")
    assert number == await value_of(proxy.url_through(url), "SELECT number FROM counter")


async def test_a_careless_client_tells_its_password() -> None:
    """The server without TLS gets the password of a client that falls back, so that it would be seen."""
    async with ServerWithoutTLS() as server:
        with pytest.raises(LOST):
            await connect(careless_url(server), ssl="prefer")

        assert SECURED_PASSWORD.encode() in server.received


async def test_a_careful_client_tells_nothing() -> None:
    """Nothing arrives from a client that insists on TLS."""
    async with ServerWithoutTLS() as server:
        with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
            await connect(careless_url(server), ssl="require")

        assert b"" == server.received


async def test_a_server_without_tls_is_left_in_peace() -> None:
    """Whoever is still connected at the end is cut off."""
    async with ServerWithoutTLS() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"hello")
        assert b"R" == await reader.read(1)
    await reader.read()
    writer.close()
    await writer.wait_closed()

    assert b"hello" == server.received


def careless_url(server: ServerWithoutTLS) -> str:
    return f"postgresql://{SECURED_USER}:{SECURED_PASSWORD}@127.0.0.1:{server.port}/tests"
