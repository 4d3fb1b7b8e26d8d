"""The settings of the JWT plugin."""

from __future__ import annotations

import environ as environ_config
import jwt

from taskd import Secret, SettingsError

__all__ = ["JWTSettings"]

MIN_SECRET_BYTES = 32


def _secret(text: str) -> Secret:
    try:
        jwt.encode({}, text.ljust(MIN_SECRET_BYTES), "HS256")
    except (jwt.InvalidKeyError, UnicodeEncodeError):
        raise SettingsError("BETTER_AUTH_SECRET", "must be a text in UTF-8, and not the file of a key") from None
    # RFC 7518, section 3.2: a key for HS256 has at least the 256 bits of the hash.
    if len(text.encode()) < MIN_SECRET_BYTES:
        raise SettingsError("BETTER_AUTH_SECRET", f"must have at least {MIN_SECRET_BYTES} bytes: openssl rand -hex 32")
    return Secret(text)


def _unless_empty(text: str | None) -> str | None:
    return text or None


@environ_config.config(prefix="TASKD_JWT", frozen=True)
class JWTSettings:
    """
    What tokens must look like.

    Attributes:
        secret: The key of the HS256 signature, shared with the frontend.
        audience: What `aud` must be or hold; None refuses every token that has an `aud`.
        issuer: What `iss` must be; None takes any.
    """

    secret: Secret = environ_config.var(name="BETTER_AUTH_SECRET", converter=_secret)
    audience: str | None = environ_config.var(None, converter=_unless_empty)
    issuer: str | None = environ_config.var(None, converter=_unless_empty)
