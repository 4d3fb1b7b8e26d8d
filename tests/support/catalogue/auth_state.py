"""Auth backends that mix up requests or users, or fail badly while something that they need is down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from starlette.authentication import AuthCredentials
from starlette.requests import HTTPConnection

from taskd.auth import AuthUnavailable, InvalidCredentials, User
from tests.support.catalogue.backends import Keys, Result
from tests.support.catalogue.faults import auth_fault
from tests.support.catalogue.outages import MayBeDown

state_fault = partial(auth_fault, "state")
outage_fault = partial(auth_fault, "outages")


@state_fault()
class OnlyTheFirstUser(Keys):
    """Refuses every key but that of the first user."""

    def candidates(self) -> Iterable[tuple[str, str]]:
        return [*self.keys.items()][:1]


@state_fault()
class UsersMixedUp(Keys):
    """Keeps the key of the current request in an attribute, so that concurrent requests get another one's user."""

    current = ""

    async def user_of(self, sent: str) -> str:
        self.current = sent
        await asyncio.sleep(0)
        return await super().user_of(self.current)


@state_fault()
class CachedByAddress(Keys):
    """Remembers which user an address belongs to, and does not look at the key again."""

    def __init__(self) -> None:
        super().__init__()
        self.cached: dict[str, str] = {}

    async def authenticate(self, conn: HTTPConnection) -> Result:
        sent = self.sent(conn)
        address = conn.client.host if conn.client else ""
        if address not in self.cached:
            self.cached[address] = await self.user_of(sent)
        return AuthCredentials(), User(self.cached[address])


@state_fault()
class CachedByPrefix(Keys):
    """Remembers accepted keys by their first 16 characters."""

    def __init__(self) -> None:
        super().__init__()
        self.cached: dict[str, str] = {}

    async def user_of(self, sent: str) -> str:
        if sent[:16] not in self.cached:
            self.cached[sent[:16]] = await super().user_of(sent)
        return self.cached[sent[:16]]


@state_fault()
class RefusalCached(Keys):
    """Refuses all keys for a while after a wrong one."""

    wrong = 0

    async def user_of(self, sent: str) -> str:
        if self.wrong >= 5:
            raise InvalidCredentials("There were too many wrong keys.")
        return await super().user_of(sent)

    def refuse(self, sent: str) -> str:
        self.wrong += 1
        return super().refuse(sent)


@state_fault()
class KeysReadOnce(Keys):
    """Compares with an iterator, which is used up by the first request."""

    def __init__(self) -> None:
        super().__init__()
        self.left = iter(self.keys.items())

    def candidates(self) -> Iterable[tuple[str, str]]:
        return self.left


@state_fault()
class NeverRevoked(Keys):
    """Remembers for ever that a key is valid."""

    def __init__(self) -> None:
        super().__init__()
        self.cached: dict[str, str] = {}

    async def user_of(self, sent: str) -> str:
        if sent not in self.cached:
            self.cached[sent] = await super().user_of(sent)
        return self.cached[sent]


class Dependent(MayBeDown, Keys):
    """Keeps every promise: verifies keys with another server, which may be down."""

    async def user_of(self, sent: str) -> str:
        return await (self.fail(sent) if self.is_down else super().user_of(sent))

    async def fail(self, sent: str) -> str:  # noqa: ARG002
        raise AuthUnavailable("connection refused")


@outage_fault()
class OpenWhileDown(Dependent):
    """Lets everybody in while the server is down."""

    async def fail(self, sent: str) -> str:  # noqa: ARG002
        return "alice"


@outage_fault()
class InvalidWhileDown(Dependent):
    """Refuses valid keys while the server is down, which signs their users out."""

    async def fail(self, sent: str) -> str:
        return self.refuse(sent)


@outage_fault()
class CrashesWhileDown(Dependent):
    """Lets the client library's errors through while the server is down."""

    async def fail(self, sent: str) -> str:  # noqa: ARG002
        raise ConnectionRefusedError
