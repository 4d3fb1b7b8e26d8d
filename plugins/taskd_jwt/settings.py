"""The settings of the JWT plugin."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import environ as environ_config
import jwt

from taskd import HTTPAddress, Secret, SettingsError, one_of
from taskd_jwt.algorithms import HS256
from taskd_jwt.claims import ClaimRules

__all__ = ["JWTSettings"]

MIN_SECRET_BYTES = 32
# Better Auth's own, unless its base URL has a path.
BASE_PATH = "/api/auth"


def _secret(text: str | None) -> Secret | None:
    if not text:
        return None
    # PyJWT refuses what looks like the file of another kind of key; so that it is said now, and not of each token.
    try:
        jwt.encode({}, text.ljust(MIN_SECRET_BYTES), HS256)
    except (jwt.InvalidKeyError, UnicodeEncodeError):
        raise SettingsError("BETTER_AUTH_SECRET", "must be a text in UTF-8, and not the file of a key") from None
    # RFC 7518, section 3.2: a key for HS256 has at least the 256 bits of the hash.
    if len(text.encode()) < MIN_SECRET_BYTES:
        raise SettingsError("BETTER_AUTH_SECRET", f"must have at least {MIN_SECRET_BYTES} bytes: openssl rand -hex 32")
    return Secret(text)


def _address(variable: str, example: str) -> Callable[[str | None], HTTPAddress | None]:
    """Return the converter of *variable*, a URL."""

    def convert(text: str | None) -> HTTPAddress | None:
        if not text:
            return None
        address = HTTPAddress.parse(text)
        if address is None:
            # It is not quoted: who mixes up two variables has a password here.
            raise SettingsError(variable, f"must be a URL such as {example}, without user, query and fragment")
        return address

    return convert


def _unless_empty(text: str | None) -> str | None:
    return text or None


@environ_config.config(prefix="TASKD_JWT", frozen=True)
class JWTSettings:
    """
    Who signs tokens, and what they must look like.

    Attributes:
        secret: The key of HS256 signatures, shared with the frontend; None accepts none.
        auth_url: The base URL of the Better Auth server whose keys verify all other signatures; None accepts none.
        jwks_url: Where its keys are, if not where Better Auth has them.
        allow_plaintext: Whether keys may come from a host that is not this machine without TLS.
        audience: What `aud` must be or hold.
        issuer: What `iss` must be.
    """

    secret: Secret | None = environ_config.var(None, name="BETTER_AUTH_SECRET", converter=_secret)
    auth_url: HTTPAddress | None = environ_config.var(
        None, name="BETTER_AUTH_URL", converter=_address("BETTER_AUTH_URL", "https://app.example.com")
    )
    jwks_url: HTTPAddress | None = environ_config.var(
        None, name="TASKD_JWKS_URL", converter=_address("TASKD_JWKS_URL", "https://app.example.com/api/auth/jwks")
    )
    allow_plaintext: bool = environ_config.var(
        "0", name="TASKD_ALLOW_PLAINTEXT", converter=one_of("TASKD_ALLOW_PLAINTEXT", {"0": False, "1": True})
    )
    audience: str | None = environ_config.var(None, converter=_unless_empty)
    issuer: str | None = environ_config.var(None, converter=_unless_empty)

    def key_set_url(self) -> str | None:
        """
        Return where the keys are, or None if none are to be used.

        Raises:
            SettingsError: There is neither a secret nor a key set, or the keys could be changed on their way here.
        """
        if self.auth_url is None:
            if self.jwks_url is not None:
                raise SettingsError("TASKD_JWKS_URL", "needs BETTER_AUTH_URL: who issues the tokens")
            if self.secret is None:
                raise SettingsError("BETTER_AUTH_SECRET", "is not set, and neither is BETTER_AUTH_URL: set one of them")
            return None
        # As Better Auth reads its own base URL: a path stands for /api/auth, and is not a part of `iss` and `aud`.
        default = f"{self.auth_url.origin}{self.auth_url.path.rstrip('/') or BASE_PATH}/jwks"
        variable, address = "BETTER_AUTH_URL", self.auth_url
        if self.jwks_url is not None:
            variable, address = "TASKD_JWKS_URL", self.jwks_url
        if not (address.is_confidential or self.allow_plaintext):
            raise SettingsError(
                variable,
                "must begin with https:// for a host that is not this machine: who changes the keys on their way gets"
                " in as anybody (TASKD_ALLOW_PLAINTEXT=1 allows it)",
            )
        return default if self.jwks_url is None else str(self.jwks_url)

    def key_set_rules(self) -> ClaimRules:
        """Return what the claims of tokens signed with a published key must be."""
        origin = self.auth_url.origin if self.auth_url else None
        return ClaimRules(
            audience=self.audience or origin, issuer=self.issuer or origin, required=frozenset({"aud", "iss"})
        )

    def secret_rules(self) -> ClaimRules:
        """Return what the claims of tokens signed with the secret must be: those of key sets, if they are there."""
        configured = {"aud": self.audience, "iss": self.issuer}
        required = frozenset(name for name, value in configured.items() if value is not None)
        return attrs.evolve(self.key_set_rules(), required=required)
