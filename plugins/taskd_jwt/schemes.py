"""
The two token schemes: tokens signed with the shared secret, and tokens signed with a key that the issuer publishes.

Each has its own keys and its own rules for claims, and never sees tokens with the other's algorithms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
import jwt
from jwt.algorithms import HMACAlgorithm

from taskd.auth import InvalidCredentials
from taskd_jwt.algorithms import HS256
from taskd_jwt.claims import ClaimRules
from taskd_jwt.jws import Token

if TYPE_CHECKING:  # imports httpx, which a secret does not need
    from taskd_jwt.jwks.cache import RemoteKeySet

__all__ = ["KeySetScheme", "SecretScheme", "TokenScheme"]


class TokenScheme(Protocol):
    """A way to sign tokens: its keys, and its rules for claims."""

    @property
    def rules(self) -> ClaimRules:
        """The rules for the claims."""
        ...

    @property
    def advice(self) -> str:
        """The advice in the message about a wrong signature."""
        ...

    async def key(self, token: Token, /) -> jwt.PyJWK:
        """Return the key to verify *token* with."""
        ...

    def valid_for_s(self) -> float:
        """Return for how many seconds that key may be used."""
        ...


@attrs.frozen(eq=False)
class SecretScheme:
    """Tokens signed with the shared secret (HS256)."""

    secret: str = attrs.field(repr=False)
    rules: ClaimRules = attrs.field(factory=ClaimRules)
    advice: str = "is BETTER_AUTH_SECRET the same on both sides?"
    # Created once, so that PyJWT does not prepare it again for each token.
    _key: jwt.PyJWK = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: _hmac_key(self.secret), takes_self=True)
    )

    async def key(self, _: Token) -> jwt.PyJWK:
        """Return the secret."""
        return self._key

    def valid_for_s(self) -> float:
        """Return infinity: the secret does not change while the process is running."""
        return float("inf")

    def issue(self, user_id: str, lifetime_s: int) -> str:
        """Return a token for *user_id* that a verifier with this scheme accepts for *lifetime_s* seconds."""
        now_s = int(self.rules.clock.time())
        claims = {"sub": user_id, "iat": now_s, "exp": now_s + lifetime_s}
        expected = {"aud": self.rules.audience, "iss": self.rules.issuer}
        claims |= {name: value for name, value in expected.items() if value is not None}
        return jwt.encode(claims, self._key, HS256)


@attrs.frozen(eq=False)
class KeySetScheme:
    """Tokens signed with one of the keys that the issuer publishes."""

    keys: RemoteKeySet
    rules: ClaimRules
    advice: str = "it was not made with the key that its kid names."

    async def key(self, token: Token) -> jwt.PyJWK:
        """Return the key that *token* names."""
        if token.key_id is None:
            raise InvalidCredentials("The token has no kid, which must name the key that it is signed with.")
        return await self.keys.key(token.key_id, token)

    def valid_for_s(self) -> float:
        """Return for how many seconds the keys may be used."""
        return self.keys.valid_for_s()


def _hmac_key(secret: str) -> jwt.PyJWK:
    return jwt.PyJWK(HMACAlgorithm.to_jwk(secret, as_dict=True), HS256)
