"""
Verifying JSON Web Tokens (RFC 7519) as RFC 8725 advises: the algorithm is fixed, and what is not required is refused.

PyJWT checks form, algorithm, signature, audience and issuer.  The dates are checked here: PyJWT takes them as strings,
and gives `exp` the same leeway as the others.
"""

from __future__ import annotations

import math
import time
from typing import Any

import attrs
import jwt
from jwt.utils import base64url_encode

from taskd import InvalidCredentials

__all__ = ["Verifier"]

ALGORITHM = "HS256"
CLOCK_LEEWAY_S = 30
MAX_DATE_S = 10**12
# What is False here is checked by this module.
_OPTIONS: Any = {
    "require": ["exp", "sub"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}
_UNKNOWN_AUDIENCE = "The token is for an audience, and none is configured: set TASKD_JWT_AUDIENCE."
_EXPLANATIONS: dict[type[Exception], str] = {
    jwt.InvalidSignatureError: "The token's signature is wrong: is BETTER_AUTH_SECRET the same on both sides?",
    jwt.InvalidAlgorithmError: f"The token is signed with another algorithm than {ALGORITHM}.",
    jwt.InvalidAudienceError: "The token is for another audience than TASKD_JWT_AUDIENCE.",
    jwt.InvalidIssuerError: "The token is from another issuer than TASKD_JWT_ISSUER.",
    jwt.InvalidTokenError: "The token's header has a kid or a crit that is not understood.",
}


def _hmac_key(secret: str) -> jwt.PyJWK:
    """Return *secret* as a key that PyJWT need not prepare for every token, and that knows its one algorithm."""
    return jwt.PyJWK({"kty": "oct", "k": base64url_encode(secret.encode()).decode()}, ALGORITHM)


@attrs.frozen
class Verifier:
    """Verifies tokens signed with the secret of *key*, for *audience* and from *issuer* where those are given."""

    key: jwt.PyJWK = attrs.field(converter=_hmac_key, repr=False)
    audience: str | None = None
    issuer: str | None = None

    def verify(self, token: str) -> dict[str, Any]:
        """
        Return the claims of *token*: `sub` is a text that is not empty.

        Raises:
            InvalidCredentials: The token is no good; the message says why without quoting it.
        """
        try:
            claims = jwt.decode(token, self.key, [ALGORITHM], _OPTIONS, audience=self.audience, issuer=self.issuer)
        except jwt.InvalidTokenError as error:
            raise InvalidCredentials(self._explain(error)) from None
        # PyJWT overlooks an audience that is empty.
        if self.audience is None and "aud" in claims:
            raise InvalidCredentials(_UNKNOWN_AUDIENCE)
        _check_subject(claims["sub"])
        _check_dates(claims, time.time())
        return claims

    def issue(self, user_id: str, lifetime_s: int) -> str:
        """Return a token that `verify` accepts as *user_id* for *lifetime_s* seconds."""
        now = int(time.time())
        claims = {"sub": user_id, "iat": now, "exp": now + lifetime_s, "aud": self.audience, "iss": self.issuer}
        return jwt.encode({name: value for name, value in claims.items() if value is not None}, self.key, ALGORITHM)

    def _explain(self, error: jwt.InvalidTokenError) -> str:
        """Say in one sentence what is wrong, for the developer of a frontend."""
        if isinstance(error, jwt.MissingRequiredClaimError):
            return f"The token has no {error.claim} claim."
        if isinstance(error, jwt.InvalidAudienceError) and self.audience is None:
            return _UNKNOWN_AUDIENCE
        return _EXPLANATIONS.get(type(error), "The token is malformed: it is not a signed JWT.")


def _check_subject(subject: object) -> None:
    if not isinstance(subject, str) or not subject:
        raise InvalidCredentials("The token's sub claim must be a text that is not empty.")


def _check_dates(claims: dict[str, Any], now_s: float) -> None:
    """Check `exp`, `nbf` and `iat` (RFC 7519, sections 4.1.4 to 4.1.6) against the clock, in seconds since 1970."""
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, 0)
        # The comparison is false for NaN, and no such year is meant.
        if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_DATE_S < value < MAX_DATE_S:
            raise InvalidCredentials(f"The token's {name} claim must be a number of seconds.")
    if claims["exp"] <= now_s:
        raise InvalidCredentials(f"The token expired {_seconds(now_s - claims['exp'])} ago.")
    for name in ("nbf", "iat"):
        if claims.get(name, 0) > now_s + CLOCK_LEEWAY_S:
            raise InvalidCredentials(
                f"The token is not valid yet: its {name} is {_seconds(claims[name] - now_s)} ahead."
            )


def _seconds(duration_s: float) -> str:
    return f"{math.ceil(duration_s)} s"
