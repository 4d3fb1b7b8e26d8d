"""A correct auth backend, in small steps that broken ones override."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser
from starlette.requests import HTTPConnection

from taskd.auth import InvalidCredentials, MissingCredentials, User

__all__ = ["ALICE", "BOB", "HeaderKeys", "Keys", "Result"]

Result = tuple[AuthCredentials, BaseUser] | None

ALICE = "f3Zr0vSQ6uZ9tHqkq5pWj2x1yL8n4b7c"
BOB = "Xw7Pq2mNcE5sVbK9dRtL3hYgJ6aUoI1z"


class Keys(AuthenticationBackend):
    """
    Keeps every promise: accepts one key for each user, as `Authorization: Bearer KEY`.

    Attributes:
        keys: The keys, by user.
    """

    keys: dict[str, str]

    def __init__(self, alice: str = ALICE, bob: str = BOB) -> None:
        self.keys = {"alice": alice, "bob": bob}

    def challenge(self, error: str | None) -> str:
        return "Bearer" if error is None else f'Bearer error="invalid_token", error_description="{error}"'

    def credentials(self, user: str) -> dict[str, str]:
        """Return the headers that a user sends."""
        return {"Authorization": f"Bearer {self.keys[user]}"}

    def revoke(self, user: str) -> None:
        """Make a user's key invalid."""
        del self.keys[user]

    async def authenticate(self, conn: HTTPConnection) -> Result:
        return AuthCredentials(), User(await self.user_of(self.sent(conn)))

    def sent(self, conn: HTTPConnection) -> str:
        """Return the key that was sent."""
        return self.key_in(self.headers(conn))

    def headers(self, conn: HTTPConnection) -> list[str]:
        return conn.headers.getlist("authorization")

    def key_in(self, headers: list[str]) -> str:
        """Return the key in all headers of that name."""
        if not headers or not headers[0]:
            raise MissingCredentials("The key is missing.")
        if len(headers) > 1:
            raise InvalidCredentials("There is more than one key.")
        scheme, _, key = headers[0].partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise MissingCredentials("The key is missing: send it as a bearer token.")
        return key

    async def user_of(self, sent: str) -> str:
        """Return the user whose key it is."""
        for user, key in self.candidates():
            if self.is_same(sent, key):
                return user
        return self.refuse(sent)

    def candidates(self) -> Iterable[tuple[str, str]]:
        return self.keys.items()

    def is_same(self, sent: str, key: str) -> bool:
        return hmac.compare_digest(sent.encode(), key.encode())

    def refuse(self, sent: str) -> str:  # noqa: ARG002
        raise InvalidCredentials("The key is unknown.")


class HeaderKeys(Keys):
    """Keeps every promise: accepts the keys in a header of its own."""

    request_headers: tuple[str, ...] = ("X-Key",)

    def credentials(self, user: str) -> dict[str, str]:
        return {"X-Key": self.keys[user]}

    def headers(self, conn: HTTPConnection) -> list[str]:
        return conn.headers.getlist("x-key")

    def key_in(self, headers: list[str]) -> str:
        if not headers:
            raise MissingCredentials("The key is missing.")
        return headers[0]
