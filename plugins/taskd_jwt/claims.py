"""Read the claims of a token and check them (RFC 7519, section 4.1), in the same way for every token scheme."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import Any

import attrs

from taskd.auth import ExpiredCredentials, InvalidCredentials
from taskd_jwt.better_auth import refusal_of_claims
from taskd_jwt.clock import Clock
from taskd_jwt.jws import Token

__all__ = ["ClaimRules", "Claims", "quoted"]

CLOCK_LEEWAY_S = 30
MAX_DATE_S = 10**12
# OpenID Connect Core 1.0, section 2.
MAX_SUBJECT_LENGTH = 255
_QUOTABLE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")


@attrs.frozen
class Claims:
    """
    The claims that taskd uses, all of which have the right type.

    Attributes:
        subject: The `sub` claim, which identifies the user.
        expires_s: The `exp` claim, in seconds since 1970, like the other dates.
        not_before_s: The `nbf` claim, or 0.
        issued_s: The `iat` claim, or 0.
    """

    subject: str
    expires_s: float
    not_before_s: float
    issued_s: float


@attrs.frozen(kw_only=True)
class ClaimRules:
    """
    The claims that a token scheme requires.

    Attributes:
        audience: What `aud` must be or contain; None refuses every token that has an `aud`.
        issuer: What `iss` must be; None allows any.
        required: Which of `aud` and `iss` a token must have.
        clock: Tells which tokens have expired.
    """

    audience: str | None = None
    issuer: str | None = None
    required: frozenset[str] = frozenset()
    clock: Clock = attrs.field(default=time, repr=False)

    def read(self, token: Token) -> Claims:
        """
        Return the claims of *token*, checked against these rules and the clock.

        Raises:
            InvalidCredentials: A claim is missing or wrong; the message says which, and why.
        """
        payload = token.payload_object()
        if reason := refusal_of_claims(payload):
            raise InvalidCredentials(reason)
        for name in ("sub", "exp", *sorted(self.required)):
            if name not in payload:
                raise InvalidCredentials(f"The token has no {name} claim.")
        claims = Claims(_subject(payload), _date(payload, "exp"), _date(payload, "nbf"), _date(payload, "iat"))
        self.check_dates(claims)
        self._check_audience(payload)
        self._check_issuer(payload)
        return claims

    def check_dates(self, claims: Claims) -> None:
        """
        Compare the dates with the clock (RFC 7519, sections 4.1.4 to 4.1.6).

        Raises:
            ExpiredCredentials: The token has expired.
            InvalidCredentials: The token is not valid yet.
        """
        now_s = self.clock.time()
        if claims.expires_s <= now_s:
            raise ExpiredCredentials(f"The token expired {_seconds(now_s - claims.expires_s)} ago.")
        for name, date_s in (("nbf", claims.not_before_s), ("iat", claims.issued_s)):
            if date_s > now_s + CLOCK_LEEWAY_S:
                raise InvalidCredentials(f"The token is not valid yet: its {name} is {_seconds(date_s - now_s)} ahead.")

    def _check_audience(self, payload: Mapping[str, Any]) -> None:
        if "aud" not in payload:
            return
        if self.audience is None:
            raise InvalidCredentials("The token has an audience, but none is configured: set TASKD_JWT_AUDIENCE.")
        audience = payload["aud"]
        # RFC 7519, section 4.1.3: a string, or an array of strings.
        audiences = audience if isinstance(audience, list) else [audience]
        if self.audience not in audiences or not all(isinstance(each, str) for each in audiences):
            raise InvalidCredentials(f"The token's audience {quoted(audience)}is not {self.audience}.")

    def _check_issuer(self, payload: Mapping[str, Any]) -> None:
        if self.issuer is not None and "iss" in payload and payload["iss"] != self.issuer:
            raise InvalidCredentials(f"The token's issuer {quoted(payload['iss'])}is not {self.issuer}.")


def _subject(payload: Mapping[str, Any]) -> str:
    subject = payload["sub"]
    if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT_LENGTH:
        raise InvalidCredentials(f"The token's sub claim must be a string of 1 to {MAX_SUBJECT_LENGTH} characters.")
    return subject


def _date(payload: Mapping[str, Any], name: str) -> float:
    value: object = payload.get(name, 0)
    # The comparison is false for NaN.  A date outside these bounds is a mistake, such as one in milliseconds.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_DATE_S < value < MAX_DATE_S:
        raise InvalidCredentials(f"The token's {name} claim must be a number of seconds.")
    return value


def quoted(value: object) -> str:
    """Return *value* followed by a space if it is safe to quote in a sentence, otherwise an empty string."""
    return f"{value} " if isinstance(value, str) and _QUOTABLE.fullmatch(value) else ""


def _seconds(duration_s: float) -> str:
    return f"{max(1, math.ceil(duration_s))} s"
