"""Bearer tokens in the `Authorization` header (RFC 6750, section 2.1)."""

from __future__ import annotations

import attrs
from starlette.authentication import AuthCredentials, AuthenticationBackend
from starlette.requests import HTTPConnection

from taskd import InvalidCredentials, MissingCredentials, User
from taskd_jwt.verification import Verifier

__all__ = ["JWTBackend"]


@attrs.frozen
class JWTBackend(AuthenticationBackend):
    """Tells the user of a request by the `sub` of its token."""

    verifier: Verifier

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, User]:
        """
        Return the user whom the request's token names.

        Raises:
            MissingCredentials: There is no `Authorization` header, or one of another scheme.
            InvalidCredentials: There are several, or the token is no good.
        """
        claims = self.verifier.verify(_bearer_token(conn))
        return AuthCredentials(["authenticated"]), User(claims["sub"])

    def issue_token(self, user_id: str, lifetime_s: int) -> str:
        """Return a token that this backend accepts as *user_id* for *lifetime_s* seconds."""
        return self.verifier.issue(user_id, lifetime_s)


def _bearer_token(conn: HTTPConnection) -> str:
    headers = conn.headers.getlist("authorization")
    if not headers:
        raise MissingCredentials("The token is missing: send Authorization: Bearer and a token.")
    if len(headers) > 1:
        raise InvalidCredentials("There must be exactly one Authorization header.")
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != "bearer":
        raise MissingCredentials("The Authorization header must be of the scheme Bearer.")
    return token.strip(" ")
