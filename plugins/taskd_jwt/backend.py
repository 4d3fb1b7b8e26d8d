"""Bearer tokens in the `Authorization` header (RFC 6750, section 2.1)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator

import attrs
from starlette.authentication import AuthCredentials, AuthenticationBackend
from starlette.requests import HTTPConnection

from taskd import Check, InvalidCredentials, MissingCredentials, Outcome, User
from taskd_jwt.verification import Verifier

__all__ = ["JWTBackend"]

MIN_SECRET_BITS = 96
# What stands in examples, and was never changed.
_WORDS = (b"secret", b"change", b"example", b"password", b"12345678", b"better-auth")


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

    async def diagnose(self) -> AsyncIterator[Check]:
        """Check the strength of the secret, for `taskd doctor`."""
        secret: bytes = self.verifier.key.key
        bits = round(_entropy_bits(secret))
        finding = f"{len(secret)} bytes, worth {bits} bits at most"
        if bits < MIN_SECRET_BITS or any(word in secret.lower() for word in _WORDS):
            remedy = "Set BETTER_AUTH_SECRET, here and in the frontend, to what openssl rand -hex 32 prints."
            yield Check("secret", Outcome.FAILED, f"{finding}, and easy to guess", remedy)
        else:
            yield Check("secret", Outcome.OK, finding)


def _entropy_bits(secret: bytes) -> float:
    """Return how much *secret* would tell if its bytes were drawn, one by one, as often as each occurs in it."""
    shares = [count / len(secret) for count in Counter(secret).values()]
    return -len(secret) * sum(share * math.log2(share) for share in shares)


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
