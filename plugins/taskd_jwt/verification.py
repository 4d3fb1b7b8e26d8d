"""
Verifying JSON Web Tokens (RFC 7519) as RFC 8725 advises, in two lanes that never meet.

The algorithm of a token only says in which lane it is to be verified.  Which keys and which rules that lane has is not
for the token to say, and every key knows the one algorithm that it is for.
"""

from __future__ import annotations

from typing import Any

import attrs

from taskd import InvalidCredentials, User
from taskd_jwt import tokens
from taskd_jwt.algorithms import HS256, KEY_SET_ALGORITHMS
from taskd_jwt.claims import check_dates
from taskd_jwt.lanes import KeySetLane, Lane, SecretLane
from taskd_jwt.memory import VerifiedTokens
from taskd_jwt.tokens import Token

__all__ = ["Verifier"]

MAX_TOKEN_BYTES = 8192


@attrs.frozen(eq=False)
class Verifier:
    """
    Verifies tokens, and remembers them.

    Attributes:
        by_secret: The lane of HS256; without it no such token is accepted.
        by_key_set: The lane of all other algorithms; without it no such token is accepted.
        verified: What is remembered.
    """

    by_secret: SecretLane | None
    by_key_set: KeySetLane | None
    verified: VerifiedTokens = attrs.field(factory=VerifiedTokens)

    async def verify(self, compact: str) -> User:
        """
        Return whose token it is.

        Raises:
            InvalidCredentials: The token is no good; the message says why without quoting it.
            AuthUnavailable: There are no keys to verify it with.
        """
        if len(compact) > MAX_TOKEN_BYTES:
            raise InvalidCredentials(f"The token is longer than {MAX_TOKEN_BYTES} bytes.")
        return self.verified.user(compact) or await self._verify(compact)

    async def _verify(self, compact: str) -> User:
        # What costs little comes first, so that what is wrong costs less than what is good: claims before the
        # signature, unless they are so long, or so many, that reading them might cost more.
        token = tokens.read(compact)
        lane = self._lane(token.algorithm)
        claims = _claims(token, lane) if token.is_light else None
        key = await lane.key(token)
        if token.algorithm != key.algorithm_name:
            raise InvalidCredentials("The token's alg is not that of the key that its kid names.")
        if not key.Algorithm.verify(token.signed, key.key, token.signature):
            raise InvalidCredentials(f"The token's signature is wrong: {lane.advice}")
        claims = claims or _claims(token, lane)
        # To get the key may have taken a while.
        check_dates(claims)
        user = User(claims["sub"])
        self.verified.remember(compact, user, claims["exp"], lane.good_for_s())
        return user

    def _lane(self, algorithm: str) -> Lane:
        """Return the lane of *algorithm*."""
        lane: Lane | None
        if algorithm == HS256:
            lane, variable = self.by_secret, "BETTER_AUTH_SECRET"
        elif algorithm in KEY_SET_ALGORITHMS:
            lane, variable = self.by_key_set, "BETTER_AUTH_URL"
        else:
            spoken = ", ".join([HS256, *KEY_SET_ALGORITHMS])
            raise InvalidCredentials(f"The token is signed with another algorithm than {spoken}.")
        if lane is None:
            raise InvalidCredentials(f"The token is signed with {algorithm}: set {variable}.")
        return lane


def _claims(token: Token, lane: Lane) -> dict[str, Any]:
    """Return the claims of a token, which are as *lane* wants them; raises `InvalidCredentials`."""
    claims = token.claims()
    lane.rules.check(claims)
    return claims
