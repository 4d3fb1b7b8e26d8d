"""The store keeps every promise that a store makes, also when Redis crashes."""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import jwt
import pytest
from redis_server import RedisServer, redis_server
from taskd_redis.plugin import taskd_storage
from taskd_redis.store import RedisStore

from taskd import build_app
from taskd.checks import Outcome
from taskd.settings import SettingsError
from taskd.storage import CreationKey, StoreError, StoreUnavailable
from taskd.tasks import NewTask, TaskChanges
from taskd.testing import StoreContract, running_server

pytestmark = pytest.mark.anyio

KEY = CreationKey("{a} key", b"\x00\xff")


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisStore]:
    store = taskd_storage({"REDIS_URL": url})
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    async with opened(server.url) as store:
        yield store


@pytest.fixture
def owner() -> str:
    return uuid.uuid4().hex


class TestContract(StoreContract):
    @pytest.fixture
    def reopen(self, server: RedisServer):
        """A function that returns another store over the same tasks, after a crash of Redis."""

        def reopened() -> RedisStore:
            with server.down():
                pass
            return taskd_storage({"REDIS_URL": server.url})

        return reopened

    @pytest.fixture
    def outage(self, server: RedisServer):
        """A function that returns a context manager, in which Redis is down."""

        @contextlib.asynccontextmanager
        async def down() -> AsyncIterator[None]:
            with server.down():
                yield

        return down


class TestDurability:
    async def test_acknowledged_writes_survive_a_crash(
        self, server: RedisServer, store: RedisStore, owner: str
    ) -> None:
        """So do the counter and the idempotency keys, which expire after two days."""
        kept = await store.create(owner, NewTask(title="t"), key=KEY)
        gone = await store.create(owner, NewTask(title="u"))
        await store.delete(owner, gone.id)
        kept = await store.update(owner, kept.id, TaskChanges(title="v"))
        with server.down():
            pass

        page = await store.list(owner)
        assert ([kept], 4) == (page.tasks, page.seq)
        assert kept == await store.create(owner, NewTask(title="t"), key=KEY)
        assert 47 * 3600 < int(server.cli("ttl", f"taskd:{{{owner}}}:key:{KEY.key}")) <= 48 * 3600

    async def test_a_crash_amid_writes_loses_none_of_them(self, server: RedisServer, owner: str) -> None:
        """Every write that was acknowledged is there, and every other one was made completely or not at all."""
        async with opened(server.url) as store:
            task = await store.create(owner, NewTask(title="0"))
            acknowledged = asyncio.Event()
            last = 0

            async def write() -> None:
                nonlocal last
                with contextlib.suppress(StoreUnavailable):
                    for number in range(1, 100_000):
                        task_now = await store.update(owner, task.id, TaskChanges(title=str(number)))
                        last = task_now.version
                        if number == 50:
                            acknowledged.set()

            async with asyncio.TaskGroup() as group:
                group.create_task(write())
                await acknowledged.wait()
                server.stop()
            server.start()
            found = await store.get(owner, task.id)

            assert last <= found.version <= last + 1
            assert (str(found.version - 1), found.version) == (found.title, await store.seq(owner))


class TestOutages:
    async def test_calls_are_refused_while_redis_is_down(
        self, server: RedisServer, store: RedisStore, owner: str
    ) -> None:
        """The store recovers without help, and the reason in the log names no secret."""
        task = await store.create(owner, NewTask(title="t"))
        calls = (store.ping, lambda: store.get(owner, task.id), lambda: store.toggle(owner, task.id))
        with server.down():
            for call in calls:
                with pytest.raises(StoreUnavailable, match=r"^Redis cannot be reached: ConnectionError$"):
                    await call()

        assert task == await store.get(owner, task.id)
        assert (await store.toggle(owner, task.id)).is_completed

    async def test_a_lost_connection_is_no_outage(self, server: RedisServer, store: RedisStore, owner: str) -> None:
        """Redis closes connections that were idle for too long; the next call opens another."""
        task = await store.create(owner, NewTask(title="t"))
        server.cli("client", "kill", "type", "normal")

        assert task == await store.get(owner, task.id)
        server.cli("client", "kill", "type", "normal")
        assert (await store.toggle(owner, task.id)).is_completed

    async def test_a_write_is_not_repeated_if_its_reply_is_lost(
        self, server: RedisServer, store: RedisStore, owner: str
    ) -> None:
        """Redis may have made it: a task that is toggled twice would be as before."""
        task = await store.create(owner, NewTask(title="t"))
        # From now on, Redis knows the script.
        task = await store.toggle(owner, task.id)
        async with losing_replies(server.port, b"EVALSHA") as port, opened(f"redis://127.0.0.1:{port}") as behind:
            with pytest.raises(StoreUnavailable):
                await behind.toggle(owner, task.id)

        assert task.version + 1 == (await store.get(owner, task.id)).version

    @pytest.mark.parametrize(
        ("broken", "mended", "code"),
        [
            (("config", "set", "maxmemory", "1"), ("config", "set", "maxmemory", "0"), "OOM"),
            (("replicaof", "127.0.0.1", "1"), ("replicaof", "no", "one"), "READONLY"),
            (("config", "set", "min-replicas-to-write", "1"), ("config", "set", "min-replicas-to-write", "0"), "NOREP"),
        ],
        ids=["out of memory", "a replica", "no replica"],
    )
    async def test_redis_may_refuse_writes(self, server, store, owner, broken, mended, code: str) -> None:
        """Clients are told to try again later, and nothing is written."""
        task = await store.create(owner, NewTask(title="t"))
        server.cli(*broken)
        try:
            for write in (
                lambda: store.create(owner, NewTask(title="u"), key=KEY),
                lambda: store.toggle(owner, task.id),
                lambda: store.delete(owner, task.id),
            ):
                with pytest.raises(StoreUnavailable, match=f"Redis responds with {code}"):
                    await write()
        finally:
            server.cli(*mended)

        page = await store.list(owner)
        assert ([task], task.version) == (page.tasks, page.seq)

    async def test_a_wrong_password_is_not_shown(self, server: RedisServer) -> None:
        """Neither in the error nor in what `taskd dev` shows."""
        async with opened(server.url.replace("//", "//taskd:hunter2@")) as store:
            with pytest.raises(StoreUnavailable) as caught:
                await store.ping()

        assert "hunter2" not in f"{caught.value} {store.location} {store!r}"

    async def test_what_others_have_written_is_no_outage(self, server: RedisServer, store, owner: str) -> None:
        """It is an error of the operator, and the message does not quote it."""
        task = await store.create(owner, NewTask(title="t"))
        server.cli("hset", f"taskd:{{{owner}}}:tasks", str(task.id), "1:private")

        with pytest.raises(StoreError, match=r"^a stored task cannot be read$"):
            await store.list(owner)
        server.cli("set", f"taskd:{{{owner}}}:tasks", "private")
        with pytest.raises(StoreError, match=r"^Redis responds with WRONGTYPE$"):
            await store.get(owner, task.id)


@contextlib.asynccontextmanager
async def losing_replies(port: int, command: bytes) -> AsyncIterator[int]:
    """Yield the port of a proxy that closes the connection instead of passing on the reply to *command*."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer), contextlib.closing(to_redis):
            while request := await reader.read(65536):
                to_redis.write(request)
                reply = await from_redis.read(65536)
                if command in request:
                    return
                writer.write(reply)

    proxy = await asyncio.start_server(serve, "127.0.0.1")
    async with proxy:
        yield proxy.sockets[0].getsockname()[1]


async def test_the_keys_of_an_owner_are_on_one_node_of_a_cluster(tmp_path: Path) -> None:
    """A cluster refuses scripts whose keys are on several nodes."""
    with redis_server(tmp_path, **{"cluster-enabled": "yes"}) as server:
        server.make_cluster()
        async with opened(server.url) as store:
            for owner in ("alice", "a}b", "{a}b", "}", "{}", "\U0001f389"):
                task = await store.create(owner, NewTask(title="t"), key=KEY)

                assert task == await store.create(owner, NewTask(title="t"), key=KEY)
                assert [task] == (await store.list(owner)).tasks


async def test_processes_do_not_undo_each_other_s_changes(server: RedisServer, owner: str) -> None:
    """If another process has changed a task meanwhile, the change is made to the task as it is now."""
    async with opened(server.url) as one, opened(server.url) as other:
        task = await one.create(owner, NewTask(title="t"))
        toggled = await asyncio.gather(*[store.toggle(owner, task.id) for store in (one, other) for _ in range(12)])
        await asyncio.gather(
            one.update(owner, task.id, TaskChanges(title="u")), other.update(owner, task.id, TaskChanges(tags=["a"]))
        )
        found = await one.get(owner, task.id)

    assert 24 == len({each.version for each in toggled})
    assert ("u", ("a",), False, task.version + 26) == (found.title, found.tags, found.is_completed, found.version)


def test_the_store_works_in_one_event_loop_after_another(server: RedisServer, owner: str) -> None:
    """A loop that ends closes its connections, even if nobody has closed the store."""
    store = taskd_storage({"REDIS_URL": server.url})
    for number in range(3):
        asyncio.run(store.create(owner, NewTask(title=str(number))))
    gc.collect()

    assert 3 == asyncio.run(store.seq(owner))


async def test_taskd_serves_with_it(server: RedisServer) -> None:
    """The setting selects the store, and its tasks are reached by HTTP."""
    keys = {"ACME_KEYS": f"alice:{'k' * 32}"}
    app = build_app({"TASKD_STORAGE": "redis", "REDIS_URL": server.url, "TASKD_AUTH": "apikey", **keys})
    headers = {"X-API-Key": "k" * 32}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t", headers=headers) as client:
        created = await client.post("/api/alice/tasks", json={"title": "t"})
        ready = await client.get("/readyz")
        await client.delete(created.headers["Location"])
    await app.store.close()

    assert (201, 200) == (created.status_code, ready.status_code)


def test_taskd_conforms_with_it(server: RedisServer) -> None:
    """A server with this store keeps the whole HTTP contract."""
    secret = uuid.uuid4().hex
    tokens = [jwt.encode({"sub": user, "exp": int(time.time()) + 600}, secret) for user in ("alice", "bob")]
    settings = {"TASKD_STORAGE": "redis", "REDIS_URL": server.url, "BETTER_AUTH_SECRET": secret}
    credentials = {"TASKD_TOKEN": tokens[0], "TASKD_OTHER_TOKEN": tokens[1]}
    with running_server({**os.environ, **settings}) as running:
        command = [sys.executable, "-m", "taskd", "conformance", running.url]
        environ = {**os.environ, **credentials}
        checked = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=False)
        running.stop()

    assert 0 == checked.returncode, checked.stdout


class TestChecks:
    async def outcomes(self, server: RedisServer) -> dict[str, Outcome]:
        async with opened(server.url) as store:
            return {check.name: check.outcome async for check in store.diagnose()}

    async def test_a_durable_server_is_fine(self, server: RedisServer) -> None:
        """It is set up as the README says."""
        expected = {"Redis": Outcome.OK, "durability": Outcome.OK, "eviction": Outcome.OK}

        assert expected == await self.outcomes(server)

    @pytest.mark.parametrize(
        ("setting", "value", "name", "outcome"),
        [
            ("appendfsync", "everysec", "durability", Outcome.NOTE),
            ("appendfsync", "no", "durability", Outcome.FAILED),
            ("appendonly", "no", "durability", Outcome.FAILED),
            ("maxmemory-policy", "allkeys-lru", "eviction", Outcome.FAILED),
            ("maxmemory-policy", "volatile-ttl", "eviction", Outcome.FAILED),
        ],
    )
    async def test_a_server_that_may_lose_tasks_is_not(
        self, tmp_path: Path, setting: str, value: str, name: str, outcome: Outcome
    ) -> None:
        """The check says what may be lost, and what to set."""
        with redis_server(tmp_path, **{setting: value}) as server:
            assert outcome == (await self.outcomes(server))[name]

    async def test_a_server_that_does_not_show_its_settings_is_not_checked(self, tmp_path: Path) -> None:
        """Some services forbid CONFIG."""
        with redis_server(tmp_path, user="default on nopass ~* &* +@all -config") as server:
            assert Outcome.NOT_CHECKED == (await self.outcomes(server))["durability"]

    async def test_a_server_that_is_down_fails_the_check(self, tmp_path: Path) -> None:
        """Nothing else is checked."""
        with redis_server(tmp_path) as server, server.down():
            assert {"Redis": Outcome.FAILED} == await self.outcomes(server)


class TestSettings:
    @pytest.mark.parametrize(
        ("url", "description", "is_local"),
        [
            ("", "database 0 of Redis at 127.0.0.1:6379", True),
            ("redis://localhost", "database 0 of Redis at localhost:6379", True),
            ("redis://[::1]:7000/", "database 0 of Redis at ::1:7000", True),
            ("rediss://me:p%40ss@redis.example.com:6380/12", "database 12 of Redis at redis.example.com:6380", False),
            ("unix:///run/redis.sock", "Redis at /run/redis.sock", True),
        ],
    )
    def test_the_location_is_shown_without_a_password(self, url: str, description: str, is_local: bool) -> None:
        """`taskd dev` refuses a location on another machine."""
        location = taskd_storage({"REDIS_URL": url} if url else {}).location

        assert (description, is_local, "REDIS_URL") == (location.description, location.is_local, location.setting)

    @pytest.mark.parametrize(
        "url",
        [
            "redis.example.com",
            "http://localhost",
            "redis://",
            "redis://localhost/tasks",
            "redis://localhost:port",
            "rediss://me:s3cret@redis.example.com/0?ssl_cert_reqs=none",
            "unix://localhost/run/redis.sock",
            "redis://me:s3cret@redis.example.com/0",
        ],
    )
    def test_other_urls_are_refused(self, url: str) -> None:
        """The error does not quote them, because they may contain a password."""
        with pytest.raises(SettingsError, match=r"^REDIS_URL: must be") as caught:
            taskd_storage({"REDIS_URL": url})

        assert "s3cret" not in str(caught.value)

    def test_plaintext_must_be_allowed(self) -> None:
        """As with the other plugins that connect to other machines."""
        settings = {"REDIS_URL": "redis://redis.example.com", "TASKD_ALLOW_PLAINTEXT": "1"}

        assert not taskd_storage(settings).location.is_local
