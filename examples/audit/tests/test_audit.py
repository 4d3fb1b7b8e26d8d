"""The audit log has a line for each write, and the wrapped store keeps all its promises."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from taskd_audit.log import AuditLog
from taskd_audit.plugin import Audit
from taskd_audit.store import AuditStore

from taskd import PluginError, build_app
from taskd.checks import Outcome
from taskd.commands import open_store
from taskd.storage import CreationKey, PreconditionFailed, StoreError, StoreUnavailable, TaskNotFound, TaskStore
from taskd.tasks import NewTask
from taskd.testing import StoreContract, lifespan

SECRET = "not a secret, but at least 32 bytes"

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="class")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    folder = tmp_path_factory.mktemp("audit")
    return {
        "BETTER_AUTH_SECRET": SECRET,
        "DATABASE_URL": f"sqlite:///{folder}/tasks.db",
        "TASKD_STORE_WRAPPERS": "audit",
        "TASKD_AUDIT_FILE": f"{folder}/audit.jsonl",
    }


def logged(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the lines of the file, without the times."""
    lines = Path(environ["TASKD_AUDIT_FILE"]).read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "at"} for line in lines]


def line(**known: object) -> dict[str, object]:
    """Return a line with what is *known*, and the defaults."""
    defaults = {"task": None, "before": None, "after": None, "fields": [], "outcome": "done", "reason": None}
    return {**defaults, "user": "alice", **known}


class TestAuditStore(StoreContract):
    """The SQL store in its wrapper passes the contract."""

    @pytest.fixture(scope="class")
    @classmethod
    async def store(cls, environ: Mapping[str, str]) -> AsyncIterator[TaskStore]:
        async with open_store(environ) as store:
            yield store

    @pytest.fixture(scope="class")
    @classmethod
    async def reopen(cls, environ: Mapping[str, str]) -> AsyncIterator[Callable[[], Awaitable[TaskStore]]]:
        async with contextlib.AsyncExitStack() as stack:
            yield lambda: stack.enter_async_context(open_store(environ))


class TestLines:
    """Each test has a file of its own."""

    @pytest.fixture
    def environ(self, tmp_path: Path) -> Mapping[str, str]:
        return {
            "BETTER_AUTH_SECRET": SECRET,
            "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db",
            "TASKD_STORE_WRAPPERS": "audit",
            "TASKD_AUDIT_FILE": f"{tmp_path}/audit.jsonl",
        }

    async def test_each_write_over_http_is_logged(self, environ: Mapping[str, str]) -> None:
        """When the server has stopped, the file has a line for each write, with what is known, and no text."""
        app = build_app(environ)
        async with lifespan(app), client_of(app) as client:
            task = (await client.post("", json={"title": "Buy a ring", "tags": ["secret"]})).json()
            path = f"/{task['id']}"
            await client.put(path, json={"description": "gold"}, headers={"If-Match": '"1"'})
            await client.put(path, json={"title": "Buy two rings"}, headers={"If-Match": '"1"'})
            await client.patch(f"{path}/complete")
            await client.get(path)
            await client.delete(path)

        known = {"task": task["id"]}
        assert [
            line(action="create", after=1, fields=["title", "tags"], **known),
            line(action="update", before=1, after=2, fields=["description"], **known),
            line(action="update", before=1, fields=["title"], outcome="refused", reason="PreconditionFailed", **known),
            line(action="toggle", after=3, **known),
            line(action="delete", **known),
        ] == logged(environ)
        text = Path(environ["TASKD_AUDIT_FILE"]).read_text()
        assert not [word for word in ("ring", "gold", "secret") if word in text]

    async def test_a_command_s_writes_are_logged(self, environ: Mapping[str, str]) -> None:
        """The lines are written before the command ends, although no server runs."""
        key = CreationKey("k", b"f")
        async with open_store(environ) as store:
            task = await store.create("alice", NewTask(title="t"), key=key)
            await store.create("alice", NewTask(title="t"), key=key)

        created = line(action="create_once", task=str(task.id), after=1, fields=["title"])
        assert [created, created] == logged(environ)

    async def test_others_cannot_read_the_file(self, environ: Mapping[str, str]) -> None:
        """The file is created for its owner and group only."""
        async with lifespan(build_app(environ)):
            assert 0 == Path(environ["TASKD_AUDIT_FILE"]).stat().st_mode & 0o007

    async def test_a_server_without_its_log_does_not_start(self, environ: Mapping[str, str], tmp_path: Path) -> None:
        """If the file cannot be opened, the start fails, and the doctor says why."""
        wrong = {**environ, "TASKD_AUDIT_FILE": f"{tmp_path}/missing/audit.jsonl"}
        sent: list[Any] = []
        received = iter([{"type": "lifespan.startup"}])

        async def receive() -> Any:
            return next(received)

        async def send(message: Any) -> None:
            sent.append(message)

        with pytest.raises(PluginError, match="FileNotFoundError"):
            await build_app(wrong)({"type": "lifespan", "state": {}}, receive, send)
        assert "lifespan.startup.failed" == sent[-1]["type"]
        [check] = [check async for check in Audit().taskd_checks(wrong)]
        assert Outcome.FAILED is check.outcome


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """Return a function that returns what the logger has got."""
    caplog.set_level("INFO", "taskd.audit")
    return lambda: [json.loads(record.getMessage()) for record in caplog.records if record.name == "taskd.audit"]


class Broken(TaskStore):
    """A store whose writes end as the test says."""

    seq = list = get = update = toggle = ping = None  # type: ignore[assignment]

    def __init__(self, ending: BaseException) -> None:
        self.ending = ending

    async def create(self, *_: Any, **__: Any) -> Any:
        raise self.ending

    async def delete(self, *_: Any, **__: Any) -> None:
        raise self.ending

    async def close(self) -> None:
        raise self.ending


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (TaskNotFound(), "refused"),
        (PreconditionFailed(), "refused"),
        (StoreUnavailable("down"), "unknown"),
        (StoreError("broken"), "unknown"),
        (asyncio.CancelledError(), "unknown"),
    ],
    ids=repr,
)
async def test_what_is_not_known_is_not_denied(ending: BaseException, outcome: str, lines: Any) -> None:
    """A write that failed or was cut off may have been done, and the line says so."""
    store = AuditStore(Broken(ending), AuditLog(None))
    with pytest.raises(type(ending)):
        await store.delete("alice", uuid.uuid4())
    await store.log.close()

    [entry] = lines()
    assert (outcome, type(ending).__name__) == (entry["outcome"], entry["reason"])


async def test_lines_are_written_even_if_the_store_cannot_be_closed(lines: Any) -> None:
    """What waits to be written does not depend on the store."""
    store = AuditStore(Broken(StoreError("broken")), AuditLog(None))
    with pytest.raises(StoreError):
        await store.delete("alice", uuid.uuid4())
    with pytest.raises(StoreError):
        await store.close()

    [entry] = lines()
    assert "unknown" == entry["outcome"]


async def test_what_cannot_be_logged_is_not_done() -> None:
    """If too many lines are waiting, as with a disk that hangs, writes get a 503, and the store is not called."""
    store = AuditStore(Broken(AssertionError("called")), AuditLog(None, limit=0))

    with pytest.raises(StoreUnavailable, match="0 lines are waiting"):
        await store.create("alice", NewTask(title="t"))


async def test_a_line_that_cannot_be_written_goes_to_the_server_s_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Later lines are written to the file again, as soon as that is possible."""
    folder = tmp_path / "folder"
    log = AuditLog(folder / "audit.jsonl")
    log.write("first")
    await log.close()
    folder.mkdir()
    log.write("second")
    await log.close()

    assert ["The audit log cannot be written (FileNotFoundError): first"] == caplog.messages
    assert "second\n" == (folder / "audit.jsonl").read_text()


async def test_a_file_may_be_rotated(tmp_path: Path) -> None:
    """Lines go to the file that has the name now."""
    file = tmp_path / "audit.jsonl"
    log = AuditLog(file)
    for name in ("first", "second"):
        log.write(name)
        await log.close()
        file.rename(tmp_path / name)

    assert ["first\n", "second\n"] == [(tmp_path / name).read_text() for name in ("first", "second")]


def client_of(app: Any) -> httpx.AsyncClient:
    token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 600}, SECRET)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://taskd/api/alice/tasks",
        headers={"Authorization": f"Bearer {token}"},
    )


@pytest.fixture(scope="class")
def anyio_backend() -> str:
    return "asyncio"
