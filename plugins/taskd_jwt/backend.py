"""Authenticate requests by the bearer token in their `Authorization` header (RFC 6750, section 2.1)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

import attrs
from starlette.authentication import AuthCredentials, AuthenticationBackend
from starlette.requests import HTTPConnection

from taskd.auth import InvalidCredentials, MissingCredentials, User
from taskd.checks import Check
from taskd.settings import SettingsError
from taskd.telemetry import Measurement
from taskd_jwt.verifier import Verifier

__all__ = ["JWTBackend"]

# RFC 6750, section 3: characters that an error_description must not contain.
_NOT_DESCRIBABLE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


@attrs.frozen
class JWTBackend(AuthenticationBackend):
    """Identifies the user of a request by the token's `sub` claim."""

    request_headers: ClassVar = ("Authorization",)

    verifier: Verifier

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, User]:
        """
        Return the user of the request's token.

        Raises:
            MissingCredentials: There is no `Authorization` header, or it uses another scheme.
            InvalidCredentials: There is more than one such header, or the token is invalid.
            AuthUnavailable: The keys needed to verify the token are not available.
        """
        user = await self.verifier.verify(_bearer_token(conn))
        return AuthCredentials(["authenticated"]), user

    def challenge(self, error: str | None) -> str:
        """
        Return the challenge for a 401 (RFC 6750, section 3).

        Args:
            error: What is wrong with the token; None if there is no token.
        """
        challenge = 'Bearer realm="taskd"'
        if error is None:
            return challenge
        description = _NOT_DESCRIBABLE.sub("'", error)
        return f'{challenge}, error="invalid_token", error_description="{description}"'

    def issue_token(self, user_id: str, lifetime_s: int) -> str:
        """
        Return a token for *user_id* that this backend accepts for *lifetime_s* seconds.

        Raises:
            SettingsError: There is no secret to sign it with.
        """
        if self.verifier.secret is None:
            raise SettingsError("BETTER_AUTH_SECRET", "is not set, and only Better Auth has the private keys")
        return self.verifier.secret.issue(user_id, lifetime_s)

    async def diagnose(self) -> AsyncIterator[Check]:
        """Check the secrets, the key sets and what tokens must claim, for `taskd doctor`."""
        from taskd_jwt.checks import check_claims, check_secrets  # noqa: PLC0415  serving does not need it

        secret, key_sets = self.verifier.secret, self.verifier.key_sets
        if secret is not None:
            for check in check_secrets(secret.secrets):
                yield check
        for check in check_claims(secret, key_sets):
            yield check
        for scheme in key_sets:
            from taskd_jwt.jwks.checks import check_key_set  # noqa: PLC0415  imports httpx, which a secret does not need

            async for check in check_key_set(scheme.keys, "" if len(key_sets) == 1 else f" of {scheme.rules.issuer}"):
                yield check

    def measurements(self) -> Iterator[Measurement]:
        """Yield the numbers about the token cache and the key sets."""
        yield from self.verifier.cache.measurements()
        for scheme in self.verifier.key_sets:
            yield from scheme.keys.measurements(scheme.rules.issuer or scheme.keys.url)


def _bearer_token(conn: HTTPConnection) -> str:
    headers = conn.headers.getlist("authorization")
    if not headers:
        raise MissingCredentials("The token is missing: send Authorization: Bearer and a token.")
    if len(headers) > 1:
        raise InvalidCredentials("There must be exactly one Authorization header.")
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != "bearer":
        # A near miss, such as "Bearer: TOKEN", gets a more helpful message.
        if "bearer" in scheme.lower():
            raise MissingCredentials(
                "The Authorization header must be Bearer, a space and the token, and nothing else."
            )
        raise MissingCredentials("The Authorization header must use the Bearer scheme.")
    return token.strip(" ")
