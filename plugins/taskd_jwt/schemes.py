"""
The two token schemes: tokens signed with the shared secret, and tokens signed with a key that the issuer publishes.

Each has its own keys and its own rules for claims, and never sees tokens with the other's algorithms.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    async def candidates(self, token: Token, /) -> Sequence[jwt.PyJWK]:
        """Return the keys with one of which *token* must be signed."""
        ...

    def valid_for_s(self) -> float:
        """Return for how many seconds these keys may be used."""
        ...


@attrs.frozen(eq=False)
class SecretScheme:
    """
    Tokens signed with the shared secret (HS256), or with the one before it.

    Attributes:
        secrets: The secrets; new tokens are signed with the first.
    """

    secrets: tuple[str, ...] = attrs.field(repr=False)
    rules: ClaimRules = attrs.field(factory=ClaimRules)
    advice: str = "is BETTER_AUTH_SECRET the same on both sides?"
    # Created once, so that PyJWT does not prepare them again for each token.
    _keys: tuple[jwt.PyJWK, ...] = attrs.field(init=False, repr=False)

    @_keys.default
    def _prepared(self) -> tuple[jwt.PyJWK, ...]:
        return tuple(map(_hmac_key, self.secrets))

    async def candidates(self, _: Token) -> Sequence[jwt.PyJWK]:
        """Return the secrets."""
        return self._keys

    def valid_for_s(self) -> float:
        """Return infinity: the secrets do not change while the process is running."""
        return float("inf")

    def issue(self, user_id: str, lifetime_s: int) -> str:
        """Return a token for *user_id* that a verifier with this scheme accepts for *lifetime_s* seconds."""
        now_s = int(self.rules.clock.time())
        claims = {"sub": user_id, "iat": now_s, "exp": now_s + lifetime_s}
        expected = {"aud": self.rules.audience, "iss": self.rules.issuer}
        claims |= {name: value for name, value in expected.items() if value is not None}
        return jwt.encode(claims, self._keys[0], HS256)


@attrs.frozen(eq=False)
class KeySetScheme:
    """Tokens signed with one of the keys that the issuer publishes."""

    keys: RemoteKeySet
    rules: ClaimRules
    advice: str = "it was not made with the key that its kid names."

    async def candidates(self, token: Token) -> Sequence[jwt.PyJWK]:
        """Return the key that *token* names."""
        if token.key_id is None:
            raise InvalidCredentials("The token has no kid, which must name the key that it is signed with.")
        return (await self.keys.key(token.key_id, token),)

    def valid_for_s(self) -> float:
        """Return for how many seconds the keys may be used."""
        return self.keys.valid_for_s()


def _hmac_key(secret: str) -> jwt.PyJWK:
    return jwt.PyJWK(HMACAlgorithm.to_jwk(secret, as_dict=True), HS256)
