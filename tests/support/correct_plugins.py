"""Correct stores and auth backends of other designs than taskd's own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import random
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar
from uuid import UUID

import pytest
from starlette.authentication import AuthCredentials
from starlette.requests import HTTPConnection

from taskd.auth import InvalidCredentials, MissingCredentials, User
from taskd.queries import TaskPage, TaskQuery
from taskd.storage import EVERYTHING, CreationKey, StoreError, StoreWrapper
from taskd.tasks import NewTask, Task, TaskChanges
from tests.support.broken_stores import altered
from tests.support.catalogue.backends import HeaderKeys, Keys, Result
from tests.support.catalogue.connected_store import Connected, Pooled
from tests.support.catalogue.durability import Dependent, Durable
from tests.support.memory_store import MemoryStore

__all__ = ["BACKENDS", "STORES", "ClosedForGood"]

T = TypeVar("T")


class Jumping(MemoryStore):
    """Counts changes in steps of more than one, as a sequence that all owners share does."""

    async def raised(self, owner: str) -> int:
        self.changes[owner] += random.randint(2, 1000)
        return self.changes[owner]


class Slow(Connected):
    """Takes a while for each call, a different one each time, so that calls overtake each other."""

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        await asyncio.sleep(random.random() / 1000)
        yield
        await asyncio.sleep(0)


class Threaded(MemoryStore):
    """Makes each call in a thread, like a store with a blocking driver, and finishes those that are cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        return await self.in_thread(super().list, owner, query)

    async def seq(self, owner: str) -> int:
        return await self.in_thread(super().seq, owner)

    async def get(self, owner: str, task_id: UUID) -> Task:
        return await self.in_thread(super().get, owner, task_id)

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        return await self.in_thread(super().create, owner, new, task_id=task_id, key=key)

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        return await self.in_thread(super().update, owner, task_id, changes, version=version)

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        return await self.in_thread(super().toggle, owner, task_id, version=version)

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        await self.in_thread(super().delete, owner, task_id, version=version)

    async def in_thread(self, call: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, **options: Any) -> T:
        return await asyncio.to_thread(self.run, functools.partial(call, *arguments, **options))

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with self.lock:
            try:
                # It never waits.
                call().send(None)
            except StopIteration as end:
                result: T = end.value
                return result
        raise AssertionError


class DriverTypes(MemoryStore):
    """Returns a driver's own subclasses, as asyncpg does for UUIDs."""

    def keep(self, task: Task) -> Task:
        class DriverUUID(UUID):
            pass

        class DriverText(str):
            __slots__ = ()

        return super().keep(altered(task, id=DriverUUID(int=task.id.int), title=DriverText(task.title)))


class ClosedForGood(MemoryStore):
    """Can be closed more than once, but is of no use afterwards."""

    is_closed = False

    async def close(self) -> None:
        self.is_closed = True

    async def raised(self, owner: str) -> int:
        if self.is_closed:
            raise StoreError("the store is closed")
        return await super().raised(owner)


class Wrapped(StoreWrapper):
    """Forwards every call to another store."""

    def __init__(self) -> None:
        super().__init__(Connected())


STORES = [
    *[MemoryStore, Connected, Pooled, Durable, Dependent, Wrapped],
    *[Jumping, Slow, Threaded, DriverTypes, ClosedForGood],
]


class Cookies(HeaderKeys):
    """Reads a session cookie."""

    request_headers = ("Cookie",)

    def challenge(self, error: str | None) -> str:  # noqa: ARG002
        return 'Cookie realm="acme", form-action="/login", cookie-name=session'

    def credentials(self, user: str) -> dict[str, str]:
        return {"Cookie": f"session={self.keys[user]}"}

    def headers(self, conn: HTTPConnection) -> list[str]:
        return [conn.cookies["session"]] if "session" in conn.cookies else []


class Passwords(Keys):
    """Reads user names and passwords (RFC 7617)."""

    def challenge(self, error: str | None) -> str:  # noqa: ARG002
        return 'Basic realm="acme", charset="UTF-8"'

    def credentials(self, user: str) -> dict[str, str]:
        encoded = base64.b64encode(f"{user}:{self.keys[user]}".encode()).decode()
        return {"Authorization": f"Basic {encoded}"}

    def key_in(self, headers: list[str]) -> str:
        scheme, _, encoded = (headers or [""])[0].partition(" ")
        if scheme.lower() != "basic":
            raise MissingCredentials
        if len(headers) > 1:
            raise InvalidCredentials
        try:
            return base64.b64decode(encoded, validate=True).decode()
        except ValueError:
            raise InvalidCredentials("The credentials are not in Base64.") from None

    async def user_of(self, sent: str) -> str:
        user, _, password = sent.partition(":")
        return user if self.keys.get(user) == password else self.refuse(sent)


class Either(Keys):
    """Accepts a key in either of two headers."""

    request_headers = ("Authorization", "X-API-Key")

    def challenge(self, error: str | None) -> str:
        return f'{super().challenge(error)}, ApiKey realm="acme"'

    def sent(self, conn: HTTPConnection) -> str:
        return conn.headers.get("x-api-key") or super().sent(conn)


class Bare(Keys):
    """Reads keys from `Authorization` without a scheme, as some public APIs do."""

    def credentials(self, user: str) -> dict[str, str]:
        return {"Authorization": self.keys[user]}

    def key_in(self, headers: list[str]) -> str:
        if not headers or not headers[0]:
            raise MissingCredentials
        if len(headers) > 1:
            raise InvalidCredentials
        return headers[0]


class StarletteStyle(HeaderKeys):
    """Returns None without credentials, as in Starlette's documentation, and leaves all messages to taskd."""

    challenge = "ApiKey"  # type: ignore[assignment]

    async def authenticate(self, conn: HTTPConnection) -> Result:
        if "x-key" not in conn.headers:
            return None
        for user, key in self.keys.items():
            if conn.headers["x-key"] == key:
                return AuthCredentials(["authenticated"]), User(user)
        raise InvalidCredentials


class OneUser(HeaderKeys):
    """Knows alice only."""

    def credentials(self, user: str) -> dict[str, str]:
        if user != "alice":
            pytest.skip("there is only one user")
        return super().credentials(user)


class PublicPrefix(Keys):
    """Issues keys that begin alike, and says so to whoever sends a wrong one."""

    def __init__(self) -> None:
        super().__init__("acme_live_f3Zr0vSQ6uZ9tHqkq5", "acme_live_Xw7Pq2mNcE5sVbK9dR")

    def refuse(self, sent: str) -> str:  # noqa: ARG002
        raise InvalidCredentials("The key is unknown; keys begin with acme_live_.")


class Remembering(Keys):
    """Verifies keys slowly, and remembers the result by the whole key until it is revoked."""

    def __init__(self) -> None:
        super().__init__()
        self.remembered: dict[bytes, str] = {}

    async def user_of(self, sent: str) -> str:
        digest = hashlib.sha256(sent.encode()).digest()
        if digest not in self.remembered:
            await asyncio.sleep(random.random() / 1000)
            self.remembered[digest] = await super().user_of(sent)
        return self.remembered[digest]

    def revoke(self, user: str) -> None:
        super().revoke(user)
        self.remembered.clear()


class Hexadecimal(HeaderKeys):
    """Issues hexadecimal keys, which may be sent in upper and in lower case."""

    def __init__(self) -> None:
        super().__init__("c0ffee" * 6, "decade" * 6)

    def is_same(self, sent: str, key: str) -> bool:
        return sent.lower() == key


def _with_key(name: str, key: str) -> Callable[[], HeaderKeys]:
    make = functools.partial(HeaderKeys, key, f"{key}b")
    make.__name__ = name  # type: ignore[attr-defined]
    return make


BACKENDS = [
    *[Keys, HeaderKeys, Cookies, Passwords, Either, Bare, StarletteStyle],
    *[OneUser, PublicPrefix, Remembering, Hexadecimal],
    _with_key("digits", "31415926535897932384626433832795"),
    _with_key("a palindrome", "abcdefghijklmnopqrrqponmlkjihgfedcba"),
    _with_key("one character", "0" * 32),
    _with_key("marks", "-_.~" * 8),
    _with_key("short", "7"),
    _with_key("long", "c0ffee" * 200),
]
