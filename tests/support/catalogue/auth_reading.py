"""Auth backends that look for credentials in the wrong places."""

from __future__ import annotations

import re
from functools import partial
from http.cookies import SimpleCookie

from starlette.authentication import AuthCredentials
from starlette.requests import HTTPConnection

from taskd.auth import MissingCredentials, User
from tests.support.catalogue.backends import ALICE, HeaderKeys, Keys, Result
from tests.support.catalogue.faults import auth_fault

reading_fault = partial(auth_fault, "reading")


@reading_fault()
class EmptyHeaderAccepted(HeaderKeys):
    """Takes an empty header for that of the first user."""

    def is_same(self, sent: str, key: str) -> bool:
        return not sent or super().is_same(sent, key)


@reading_fault()
class SchemeAloneAccepted(Keys):
    """Lets in whoever sends the scheme without a key."""

    def key_in(self, headers: list[str]) -> str:
        return ALICE if headers and headers[0].strip().lower() == "bearer" else super().key_in(headers)


@reading_fault()
class AnyScheme(Keys):
    """Looks only at what comes after the scheme."""

    def key_in(self, headers: list[str]) -> str:
        return super().key_in([re.sub(r"^\S+ ", "Bearer ", header) for header in headers])


@reading_fault()
class SchemeInThisCase(Keys):
    """Refuses the scheme in another case."""

    def key_in(self, headers: list[str]) -> str:
        if headers and not headers[0].startswith("Bearer "):
            raise MissingCredentials
        return super().key_in(headers)


@reading_fault()
class FirstOfTwoHeaders(Keys):
    """Ignores all headers but the first, which a proxy may not have checked."""

    def key_in(self, headers: list[str]) -> str:
        return super().key_in(headers[:1])


@reading_fault()
class LastOfTwoHeaders(Keys):
    """Ignores all headers but the last, which a proxy may not have checked."""

    def key_in(self, headers: list[str]) -> str:
        return super().key_in(headers[-1:])


@reading_fault()
class InTheQuery(Keys):
    """Accepts the key in the query, too, which ends up in logs."""

    def sent(self, conn: HTTPConnection) -> str:
        return conn.query_params.get("access_token") or super().sent(conn)


@reading_fault()
class InACookie(HeaderKeys):
    """Accepts the key in a cookie, too, which other sites can make a browser send."""

    def sent(self, conn: HTTPConnection) -> str:
        cookies = SimpleCookie(conn.headers.get("cookie", ""))
        return cookies["token"].value if "token" in cookies else super().sent(conn)


@reading_fault()
class ProxyTrusted(Keys):
    """Trusts a header in which a proxy would name the user."""

    async def authenticate(self, conn: HTTPConnection) -> Result:
        if user := conn.headers.get("x-forwarded-user"):
            return AuthCredentials(), User(user)
        return await super().authenticate(conn)


@reading_fault()
class UserChosen(Keys):
    """Lets whoever has a key choose another user in a header."""

    async def authenticate(self, conn: HTTPConnection) -> Result:
        user = await self.user_of(self.sent(conn))
        return AuthCredentials(), User(conn.headers.get("x-user-id", user))


@reading_fault()
class UserFromThePath(Keys):
    """Takes the user from the path, once a key is valid."""

    async def authenticate(self, conn: HTTPConnection) -> Result:
        await self.user_of(self.sent(conn))
        return AuthCredentials(), User(conn.path_params["user_id"])


@reading_fault()
class HeaderUndeclared(HeaderKeys):
    """Does not declare the header that it reads, so that caches share responses between users."""

    request_headers = ("Authorization",)
