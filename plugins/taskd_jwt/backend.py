"""Bearer tokens in the `Authorization` header (RFC 6750, section 2.1)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator

import attrs
from starlette.authentication import AuthCredentials, AuthenticationBackend
from starlette.requests import HTTPConnection

from taskd import Check, InvalidCredentials, MissingCredentials, Outcome, SettingsError, User
from taskd_jwt.jwks import MAX_TOLD, RemoteKeySet
from taskd_jwt.keys import KeySetError
from taskd_jwt.verification import Verifier

__all__ = ["JWTBackend"]

# RFC 7518, section 3.2, asks for a key of 256 bits, and the settings for as many in bytes.  How well those were drawn
# can only be guessed from the one draw there is: of 32 hexadecimal digits, which are 128 bits, 96 to 126 are seen.
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
            AuthUnavailable: There are no keys to verify it with.
        """
        user = await self.verifier.verify(_bearer_token(conn))
        return AuthCredentials(["authenticated"]), user

    def issue_token(self, user_id: str, lifetime_s: int) -> str:
        """
        Return a token that this backend accepts as *user_id* for *lifetime_s* seconds.

        Raises:
            SettingsError: There is no secret to sign it with.
        """
        if self.verifier.by_secret is None:
            raise SettingsError("BETTER_AUTH_SECRET", "is not set, and only Better Auth has the other keys")
        return self.verifier.by_secret.issue(user_id, lifetime_s)

    async def diagnose(self) -> AsyncIterator[Check]:
        """Check the strength of the secret and the state of the key set, for `taskd doctor`."""
        if self.verifier.by_secret is not None:
            yield _check_secret(self.verifier.by_secret.secret.encode())
        if self.verifier.by_key_set is not None:
            yield await _check_key_set(self.verifier.by_key_set.keys)


def _check_secret(secret: bytes) -> Check:
    bits = round(_entropy_bits(secret))
    finding = f"{len(secret)} bytes, worth {bits} bits at most"
    remedy = "Set BETTER_AUTH_SECRET, here and in the frontend, to what openssl rand -hex 32 prints."
    if bits < MIN_SECRET_BITS:
        return Check("secret", Outcome.FAILED, f"{finding}: easy to guess", remedy)
    if any(word in secret.lower() for word in _WORDS):
        return Check("secret", Outcome.FAILED, "it looks like one of an example, and is easy to guess", remedy)
    return Check("secret", Outcome.OK, finding)


async def _check_key_set(remote: RemoteKeySet) -> Check:
    try:
        found = await remote.fetch()
    except KeySetError as error:
        remedy = f"See whether Better Auth runs, has its jwt plugin, and shows its keys at {remote.url}."
        return Check("key set", Outcome.FAILED, str(error), remedy)
    remedy = f"These are not used: {'; '.join(found.dropped[:MAX_TOLD])}." if found.dropped else ""
    if not found.keys:
        return Check("key set", Outcome.FAILED, "no key that can be used", remedy or "Let Better Auth make a key.")
    finding = f"{len(found.keys)} for {', '.join(found.algorithms)}"
    return Check("key set", Outcome.NOTE if found.dropped else Outcome.OK, finding, remedy)


def _entropy_bits(secret: bytes) -> float:
    """
    Return how many bits *secret* tells if its bytes were drawn one by one, each as often as it occurs in it.

    That is an upper bound of what guessing it takes: an order, such as that of the alphabet, is not seen.
    """
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
