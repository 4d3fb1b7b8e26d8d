"""Hosts with several addresses, not all of which work."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
import trustme
import uvloop

from taskd_sql.engine.dns import Lookup
from taskd_sql.plugin import taskd_storage
from tests.support.commands import invoke
from tests.support.databases import PostgresPlace
from tests.support.doctor import examined
from tests.support.postgres import PostgresServer, free_port
from tests.support.proxy import LOOPBACK, leading_to, listening, silent
from tests.support.serving import BRIEF, serving

NAME = "db.example.com"
Port = Callable[[], AbstractAsyncContextManager[int]]


@contextlib.contextmanager
def port_that_drops_packets() -> Iterator[int]:
    """Yield a port on which the kernel ignores new connections, because its queue is full."""
    with socket.create_server((LOOPBACK, 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        port: int = listener.getsockname()[1]
        for _ in range(3):
            another = waiting.enter_context(socket.socket())
            another.setblocking(False)
            another.connect_ex((LOOPBACK, port))
        yield port


@contextlib.asynccontextmanager
async def drops_packets() -> AsyncIterator[int]:
    with port_that_drops_packets() as port:
        yield port


@contextlib.asynccontextmanager
async def refuses() -> AsyncIterator[int]:
    yield free_port()


def stays_silent() -> AbstractAsyncContextManager[int]:
    return listening(silent)


# Ways in which the first address can fail.
DEAD: dict[str, Port] = {
    "packets are dropped": drops_packets,
    "connections are refused": refuses,
    "the server is silent": stays_silent,
}


def leading_to_each(*ports: int) -> Callable[..., Any]:
    """Return a DNS with one address for each of *ports*."""

    async def getaddrinfo(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        return [found for port in ports for found in await leading_to(port)()]

    return getaddrinfo


class _UVLoop(uvloop.Loop):
    """uvloop, whose `getaddrinfo` can only be replaced in a subclass, and which calls it for addresses, too."""

    names: Callable[..., Any]

    async def getaddrinfo(self, host: Any, *args: Any, **options: Any) -> Any:
        return await (super().getaddrinfo if host == LOOPBACK else self.names)(host, *args, **options)


LOOPS: dict[str, Callable[[], Any]] = {"asyncio": asyncio.new_event_loop, "uvloop": _UVLoop}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
@pytest.mark.usefixtures("postgres_url")
def test_the_second_address_is_used_if_the_first_fails(
    postgres: PostgresServer, user_id: str, dead: Port, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The certificate is still verified for the name."""
    url = postgres.secured_url("tests", "localhost", sslmode="verify-full", sslrootcert=str(postgres.ca))

    async def use() -> list[int]:
        running: Any = asyncio.get_running_loop()
        async with dead() as port:
            names = leading_to_each(port, postgres.port)
            setattr(running, "names" if isinstance(running, _UVLoop) else "getaddrinfo", names)
            async with serving(url, user_id, TASKD_SQL_CONNECT_TIMEOUT="1") as client:
                return await _uses(client, user_id)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert [200, 201, 200] == runner.run(use())


async def _uses(client: httpx.AsyncClient, user_id: str) -> list[int]:
    url = f"/api/{user_id}/tasks"
    responses = [await client.get("/readyz"), await client.post(url, json={"title": "t"}), await client.get(url)]
    return [response.status_code for response in responses]


@pytest.mark.anyio
async def test_a_name_is_looked_up_once_per_connection(
    postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver gets an address: if it looked up the name itself and was cancelled, the error would be logged."""
    asked = []

    async def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        asked.append(host)
        return await leading_to(postgres.port)(host, *args, **options)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    store = taskd_storage(
        {"DATABASE_URL": f"{postgres_url.replace(LOOPBACK, NAME)}?sslmode=disable", "TASKD_ALLOW_PLAINTEXT": "1"}
    )
    await store.ping()
    await store.close()

    assert [NAME] == [host for host in asked if host != LOOPBACK]


@pytest.fixture
def _half_dead(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every name has two addresses, and the first never responds."""
    with port_that_drops_packets() as port:
        monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", leading_to_each(port, postgres.port))
        yield


@pytest.mark.usefixtures("_half_dead")
def test_migrate_and_doctor_find_the_address_that_responds(postgres_place: PostgresPlace) -> None:
    """Both reach the server, and verify its certificate for the name."""
    server = postgres_place.server
    url = server.secured_url(postgres_place.name, sslmode="verify-full", sslrootcert=str(server.ca))
    postgres_place.run("GRANT CREATE ON SCHEMA public TO secured")

    migrated = invoke("migrate", settings={"DATABASE_URL": url})
    report = examined(url)

    assert (0, []) == (migrated.exit_code, report.failed()), migrated.output + report.text
    assert report.findings["tls"].startswith("TLSv1.3, the certificate is valid for ")


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_the_server_receives_the_name(
    tmp_path: Any, user_id: str, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The TLS handshake contains it, whatever the address: Neon's proxy needs it to find the database."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(NAME).configure_cert(context)
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)

    async def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)

    async with listening(admit) as port:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", leading_to(port))
        url = f"postgresql://u:p@{NAME}/d?sslmode={mode}&sslrootcert={tmp_path}/ca.pem"
        async with serving(url, user_id, BRIEF) as client:
            assert 503 == (await client.get("/readyz")).status_code

    assert {NAME} == set(names)


def test_failed_addresses_are_tried_last() -> None:
    """The one that failed most recently comes after all the others."""
    lookup = Lookup("database.example", 5432)
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
        lookup.avoid((host, 5432))
    hosts = [f"192.0.2.{number}" for number in (1, 2, 3)]

    assert ["192.0.2.3", "192.0.2.2", "192.0.2.1"] == sorted(hosts, key=lambda host: lookup.rank((host, 5432)))
