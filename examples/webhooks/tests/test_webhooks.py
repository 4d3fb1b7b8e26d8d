"""Each change is announced to a receiver that verifies signatures, as long as the process lives."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import respx
import standardwebhooks
from taskd_webhooks.messages import Message
from taskd_webhooks.outbox import Outbox
from taskd_webhooks.sender import ATTEMPTS, Sender
from taskd_webhooks.settings import Settings
from taskd_webhooks.store import AnnouncingStore

from taskd import build_app
from taskd.commands import open_store
from taskd.settings import SettingsError, load_settings
from taskd.storage import CreationKey, PreconditionFailed, StoreError, StoreWrapper, TaskStore
from taskd.tasks import NewTask, TaskChanges
from taskd.testing import StoreContract, lifespan

KEY = b"thirty-two bytes, as recommended"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
URL = "https://hooks.example.com/T0P-S3CRET"
WEBHOOKS = {"TASKD_WEBHOOKS_URL": URL, "TASKD_WEBHOOKS_SECRET": SECRET, "TASKD_STORE_WRAPPERS": "webhooks"}

pytestmark = pytest.mark.anyio


@attrs.define
class Receiver:
    """Verifies each message, and responds with the next of *statuses*, or with 204."""

    statuses: list[Any] = attrs.field(factory=list)
    received: list[dict[str, Any]] = attrs.field(factory=list)
    ids: list[str] = attrs.field(factory=list)

    def respond(self, request: httpx.Request) -> httpx.Response:
        message = standardwebhooks.Webhook(SECRET).verify(request.content, dict(request.headers))
        self.ids.append(request.headers["webhook-id"])
        self.received.append(message)
        status = self.statuses.pop(0) if self.statuses else 204
        if isinstance(status, Exception):
            raise status
        return status if isinstance(status, httpx.Response) else httpx.Response(status)

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.received]


@pytest.fixture
def receiver(respx_mock: respx.MockRouter) -> Receiver:
    receiver = Receiver()
    respx_mock.post(URL).mock(side_effect=receiver.respond)
    return receiver


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    return {
        "BETTER_AUTH_SECRET": "not a secret, but at least 32 bytes",
        "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db",
        **WEBHOOKS,
    }


class TestAnnouncingStore(StoreContract):
    """The SQL store in its wrapper passes the contract, although nothing is ever sent."""

    @pytest.fixture(scope="class")
    @classmethod
    def environ(cls, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
        return {"DATABASE_URL": f"sqlite:///{tmp_path_factory.mktemp('webhooks')}/tasks.db", **WEBHOOKS}

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


class TestServer:
    async def test_each_change_is_announced_once(self, environ: Mapping[str, str], receiver: Receiver) -> None:
        """What has been written is sent with the task, and what was refused is not."""
        app = build_app(environ)
        async with lifespan(app):
            task = await app.store.create("alice", NewTask(title="Buy a ring"))
            await app.store.update("alice", task.id, TaskChanges(title="Buy two rings"))
            done = await app.store.toggle("alice", task.id)
            with pytest.raises(PreconditionFailed):
                await app.store.delete("alice", task.id, version=1)
            await app.store.delete("alice", task.id)

        by_type = {(message["type"], message["data"].get("version")): message for message in receiver.received}
        expected = {("task.created", 1), ("task.updated", 2), ("task.updated", 3), ("task.deleted", None)}
        assert expected == by_type.keys()
        assert 4 == len(receiver.received) == len(set(receiver.ids))
        sent = by_type["task.updated", 3]
        assert ("Buy two rings", True) == (sent["data"]["title"], sent["data"]["completed"])
        assert sent["timestamp"] == sent["data"]["updated_at"] == done.updated_at.isoformat().replace("+00:00", "Z")
        assert {"id": str(task.id), "user_id": "alice"} == by_type["task.deleted", None]["data"]

    async def test_a_repeated_creation_is_recognizable(self, environ: Mapping[str, str], receiver: Receiver) -> None:
        """Its message has the same id; if the task has changed since, there is none."""
        app, key = build_app(environ), CreationKey("k", b"f")
        async with lifespan(app):
            for _ in range(2):
                task = await app.store.create("alice", NewTask(title="t"), key=key)
            await app.store.toggle("alice", task.id)
            await app.store.create("alice", NewTask(title="t"), key=key)

        assert ["task.created", "task.created", "task.updated"] == sorted(receiver.types)
        assert 2 == len(set(receiver.ids))

    async def test_requests_do_not_wait_for_the_receiver(
        self, environ: Mapping[str, str], respx_mock: respx.MockRouter
    ) -> None:
        """A change returns while the receiver still thinks about earlier ones."""
        receiver, is_ready = Receiver(), asyncio.Event()

        async def respond(request: httpx.Request) -> httpx.Response:
            await is_ready.wait()
            return receiver.respond(request)

        respx_mock.post(URL).mock(side_effect=respond)
        app = build_app(environ)
        async with lifespan(app):
            for _ in range(20):
                await app.store.create("alice", NewTask(title="t"))
            assert [] == receiver.received
            is_ready.set()

        assert ["task.created"] * 20 == receiver.types

    async def test_what_is_lost_at_the_end_is_counted(
        self, environ: Mapping[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A command, which sends nothing, and a server that stops tell how many messages are lost."""
        async with open_store(environ) as store:
            await store.create("alice", NewTask(title="t"))

        assert ["Messages lost: 1 not delivered in time, 0 dropped"] == caplog.messages


class Waits(list[float]):
    """Records how long a sender would wait, and does not wait."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender.opened(load_settings(Settings, WEBHOOKS)) as sender:
        sender.sleep = Waits()
        yield sender


MESSAGE = Message("msg_1", '{"type":"task.deleted"}')


class TestSender:
    async def test_a_message_is_signed_as_the_specification_says(
        self, sender: Sender, respx_mock: respx.MockRouter
    ) -> None:
        """The signature is the HMAC-SHA256 of the id, the time of the attempt and the body."""
        route = respx_mock.post(URL).respond(200)
        await sender.deliver(MESSAGE)

        request = route.calls.last.request
        signed = f"msg_1.{request.headers['webhook-timestamp']}.{MESSAGE.body}".encode()
        expected = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
        assert f"v1,{expected}" == request.headers["webhook-signature"]
        assert MESSAGE.body.encode() == request.content

    async def test_both_secrets_sign_while_one_replaces_the_other(self, respx_mock: respx.MockRouter) -> None:
        """A receiver that knows either of them accepts the message."""
        other = f"whsec_{base64.b64encode(KEY[::-1]).decode()}"
        settings = load_settings(Settings, {**WEBHOOKS, "TASKD_WEBHOOKS_SECRET": f"{other} {SECRET}"})
        route = respx_mock.post(URL).respond(200)
        async with Sender.opened(settings) as sender:
            await sender.deliver(MESSAGE)

        request = route.calls.last.request
        for secret in (SECRET, other):
            standardwebhooks.Webhook(secret).verify(request.content, dict(request.headers))

    @pytest.mark.parametrize(
        "failure", [500, 302, 404, httpx.ConnectError(URL), httpx.ReadTimeout(URL), OSError(URL)], ids=repr
    )
    async def test_a_message_is_sent_again_until_it_is_accepted(
        self, failure: Any, sender: Sender, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It has the same id each time; the waits grow, and vary; the log names neither the path nor the secret."""
        receiver.statuses = [failure, failure, failure]
        await sender.deliver(MESSAGE)

        assert [MESSAGE.id] * 4 == receiver.ids
        assert all(least <= wait <= least + 5 for least, wait in zip((5, 20, 80), sender.sleep, strict=True))
        assert "hooks.example.com" in caplog.text
        assert "S3CRET" not in caplog.text

    async def test_a_message_is_given_up_after_several_attempts(
        self, sender: Sender, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log says that it is lost."""
        receiver.statuses = [500] * 99
        await sender.deliver(MESSAGE)

        assert [MESSAGE.id] * ATTEMPTS == receiver.ids
        assert "Message msg_1 was not accepted in 8 attempts, and is lost" == caplog.messages[-1]

    async def test_the_receiver_may_ask_for_time(self, sender: Sender, receiver: Receiver) -> None:
        """`Retry-After` lengthens the wait, to ten minutes at most."""
        receiver.statuses = [httpx.Response(429, headers={"Retry-After": value}) for value in ("120", "99999", "soon")]
        await sender.deliver(MESSAGE)

        assert [120, 600] == sender.sleep[:2]
        assert 80 <= sender.sleep[2] <= 85

    async def test_a_receiver_that_is_gone_gets_nothing_more(
        self, sender: Sender, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A 410 ends all sending, and the log says so once."""
        receiver.statuses = [410]
        for _ in range(3):
            await sender.deliver(MESSAGE)

        assert 1 == len(receiver.ids) == len(caplog.messages)


class Unclosable(StoreWrapper):
    async def close(self) -> None:
        raise StoreError("broken")


class TestOutbox:
    async def test_what_is_lost_is_counted_even_if_the_store_cannot_be_closed(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Otherwise, nobody would learn of it."""
        store = AnnouncingStore(Unclosable(None), Outbox())  # type: ignore[arg-type]  # only `close` is called
        store.outbox.put(MESSAGE)
        with pytest.raises(StoreError):
            await store.close()

        assert ["Messages lost: 1 not delivered in time, 0 dropped"] == caplog.messages

    async def test_a_full_outbox_drops_messages(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing waits for room; the log says so once, and finally how many messages are lost."""
        outbox = Outbox(limit=2)
        for _ in range(5):
            outbox.put(MESSAGE)
        outbox.close()

        assert [
            "The outbox of webhooks is unavailable: 2 messages are waiting for the receiver, so new ones are dropped",
            "Messages lost: 2 not delivered in time, 3 dropped",
        ] == caplog.messages

    async def test_a_message_that_cannot_be_sent_does_not_stop_the_others(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A bug in sending is logged, and the next message is sent."""
        outbox, sent = Outbox(), []

        async def deliver(message: Message) -> None:
            sent.append(message)
            raise ZeroDivisionError

        async with outbox.delivered_by(deliver):
            outbox.put(MESSAGE)
            outbox.put(MESSAGE)
        outbox.close()

        assert 2 == len(sent) == len(caplog.messages)

    async def test_stopping_does_not_wait_for_a_receiver_that_hangs(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What has not been accepted in time is cut off, and counted as lost."""
        monkeypatch.setattr("taskd_webhooks.outbox.FLUSH_S", 0)
        outbox = Outbox()

        async def deliver(message: Message) -> None:
            await asyncio.Event().wait()

        async with outbox.delivered_by(deliver):
            outbox.put(MESSAGE)
        outbox.close()

        assert ["Messages lost: 1 not delivered in time, 0 dropped"] == caplog.messages


class TestSettings:
    @pytest.mark.parametrize(
        "url", ["http://example.com/h", "ftp://example.com", "https://u:p@example.com/", "hooks.test/h"]
    )
    def test_a_url_that_others_could_read_is_refused(self, url: str) -> None:
        """Messages are sent over https, and the error does not quote the URL."""
        with pytest.raises(SettingsError, match="TASKD_WEBHOOKS_URL: must b") as caught:
            load_settings(Settings, {**WEBHOOKS, "TASKD_WEBHOOKS_URL": url})
        assert url not in str(caught.value)

    @pytest.mark.parametrize("url", ["http://localhost:3000/h", "http://127.0.0.1/h", "http://[::1]:1/h"])
    def test_this_machine_needs_no_https(self, url: str) -> None:
        """Nobody can listen there."""
        assert url == str(load_settings(Settings, {**WEBHOOKS, "TASKD_WEBHOOKS_URL": url}).url)

    @pytest.mark.parametrize(
        "secret", [KEY.decode(), "whsec_", "whsec_c2hvcnQ=", f"{SECRET}*", "whsec_" + "QUFB" * 22, f"{SECRET} x"]
    )
    def test_a_weak_secret_is_refused(self, secret: str) -> None:
        """The secret has 24 to 64 bytes, and is never shown."""
        with pytest.raises(SettingsError, match="TASKD_WEBHOOKS_SECRET: must be whsec_") as caught:
            load_settings(Settings, {**WEBHOOKS, "TASKD_WEBHOOKS_SECRET": secret})
        assert secret == "whsec_" or secret not in str(caught.value)

    def test_the_secret_is_not_shown(self) -> None:
        """It does not appear in the log if the settings do."""
        assert SECRET not in repr(load_settings(Settings, WEBHOOKS))


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    """Keep only what the plugin logs."""
    caplog.set_level(logging.CRITICAL)
    caplog.set_level(logging.INFO, "taskd_webhooks")


@pytest.fixture(scope="class")
def anyio_backend() -> str:
    return "asyncio"
