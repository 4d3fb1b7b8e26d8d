"""
The two lanes in which tokens are verified: by the shared secret, or by the keys that the issuer publishes.

What a lane has of keys and rules is its own; neither ever gets to see a token of the other's algorithms.
"""

from __future__ import annotations

import time
from typing import Protocol

import attrs
import jwt
from jwt.utils import base64url_encode

from taskd import InvalidCredentials
from taskd_jwt.algorithms import HS256
from taskd_jwt.claims import ClaimRules
from taskd_jwt.jwks import RemoteKeySet
from taskd_jwt.tokens import Token

__all__ = ["KeySetLane", "Lane", "SecretLane"]


class Lane(Protocol):
    """Keys, and rules for the claims of what was signed with them."""

    @property
    def rules(self) -> ClaimRules:
        """What the claims must be."""
        ...

    @property
    def advice(self) -> str:
        """What to say of a wrong signature."""
        ...

    async def key(self, token: Token, /) -> jwt.PyJWK:
        """Return the key that *token* must have been signed with."""
        ...

    def good_for_s(self) -> float:
        """Return for how many seconds that key may be relied upon."""
        ...


@attrs.frozen(eq=False)
class SecretLane:
    """Tokens signed with the shared secret, by HS256."""

    secret: str = attrs.field(repr=False)
    rules: ClaimRules = attrs.field(factory=ClaimRules)
    advice: str = "is BETTER_AUTH_SECRET the same on both sides?"
    # Made once, so that PyJWT need not prepare it for every token.
    _key: jwt.PyJWK = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: _hmac_key(self.secret), takes_self=True)
    )

    async def key(self, _: Token) -> jwt.PyJWK:
        """Return the one key that there is."""
        return self._key

    def good_for_s(self) -> float:
        """Return infinity: it is good as long as this process lives."""
        return float("inf")

    def issue(self, user_id: str, lifetime_s: int) -> str:
        """Return a token that a verifier with this lane accepts as *user_id* for *lifetime_s* seconds."""
        now_s = int(time.time())
        claims = {"sub": user_id, "iat": now_s, "exp": now_s + lifetime_s}
        expected = {"aud": self.rules.audience, "iss": self.rules.issuer}
        claims |= {name: value for name, value in expected.items() if value is not None}
        return jwt.encode(claims, self._key, HS256)


@attrs.frozen(eq=False)
class KeySetLane:
    """Tokens signed with one of the keys that the issuer publishes."""

    keys: RemoteKeySet
    rules: ClaimRules
    advice: str = "it is not of the key that its kid names."

    async def key(self, token: Token) -> jwt.PyJWK:
        """Return the key that *token* names."""
        if token.key_id is None:
            raise InvalidCredentials("The token has no kid, which says with which of the keys it is signed.")
        return await self.keys.key(token.key_id)

    def good_for_s(self) -> float:
        """Return how long the keys may be relied upon."""
        return self.keys.good_for_s()


def _hmac_key(secret: str) -> jwt.PyJWK:
    return jwt.PyJWK({"kty": "oct", "k": base64url_encode(secret.encode()).decode()}, HS256)
