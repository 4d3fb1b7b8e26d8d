"""What the claims of a token must be (RFC 7519, section 4.1)."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import attrs

from taskd import InvalidCredentials

__all__ = ["ClaimRules", "check_dates"]

CLOCK_LEEWAY_S = 30
MAX_DATE_S = 10**12
# OpenID Connect Core 1.0, section 2.
MAX_SUBJECT_LENGTH = 255
_QUOTABLE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")


@attrs.frozen(kw_only=True)
class ClaimRules:
    """
    What claims must be.

    Attributes:
        audience: What `aud` must be or hold; None refuses every token that has an `aud`.
        issuer: What `iss` must be; None takes any.
        required: Which of `aud` and `iss` must be there.
    """

    audience: str | None = None
    issuer: str | None = None
    required: frozenset[str] = frozenset()

    def check(self, claims: dict[str, Any]) -> None:
        """
        Check *claims* against these rules and the clock.

        Raises:
            InvalidCredentials: They are not as they must be; the message says which, and why.
        """
        for name in ("sub", "exp", *sorted(self.required)):
            if name not in claims:
                raise InvalidCredentials(f"The token has no {name} claim.")
        if not isinstance(claims["sub"], str) or not 1 <= len(claims["sub"]) <= MAX_SUBJECT_LENGTH:
            raise InvalidCredentials(f"The token's sub claim must be a text of 1 to {MAX_SUBJECT_LENGTH} characters.")
        check_dates(claims)
        if "aud" in claims:
            self._check_audience(claims["aud"])
        if self.issuer is not None and "iss" in claims and claims["iss"] != self.issuer:
            raise InvalidCredentials(f"The token's issuer {_quoted(claims['iss'])}is not {self.issuer}.")

    def _check_audience(self, audience: object) -> None:
        if self.audience is None:
            raise InvalidCredentials("The token is for an audience, and none is configured: set TASKD_JWT_AUDIENCE.")
        # RFC 7519, section 4.1.3: one text, or several.
        audiences = audience if isinstance(audience, list) else [audience]
        if self.audience not in audiences or not all(isinstance(each, str) for each in audiences):
            raise InvalidCredentials(f"The token's audience {_quoted(audience)}is not {self.audience}.")


def _quoted(value: object) -> str:
    """Return *value* as a word of a sentence, if it makes one."""
    return f"{value} " if isinstance(value, str) and _QUOTABLE.fullmatch(value) else ""


def check_dates(claims: dict[str, Any]) -> None:
    """
    Check `exp`, `nbf` and `iat` (RFC 7519, sections 4.1.4 to 4.1.6) against the clock, in seconds since 1970.

    Raises:
        InvalidCredentials: They are no dates, or not those of a token that is good now.
    """
    now_s = time.time()
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
    return f"{max(1, math.ceil(duration_s))} s"
