"""The settings of the JWT plugin."""

from __future__ import annotations

import re
import string
from collections.abc import Callable

import attrs
import environ as environ_config
import jwt

from taskd.settings import ALLOW_PLAINTEXT, Secret, SettingsError, plaintext_setting
from taskd.urls import HTTPAddress
from taskd_jwt.algorithms import HS256
from taskd_jwt.claims import ClaimRules

__all__ = ["JWTSettings"]

MIN_SECRET_BYTES = 32
# Better Auth's default, which applies unless its base URL has a path.
BASE_PATH = "/api/auth"
# Matches a list of URLs, which no claim can equal.  A comma alone may be part of one URL.
_SEVERAL_URLS = re.compile(r"[,;\s]\s*https?://", re.IGNORECASE)
_AROUND = string.whitespace + "\"'"


def _secret(text: str | None) -> Secret | None:
    if not text:
        return None
    # PyJWT refuses secrets that look like another kind of key; report that now instead of for each token.
    try:
        jwt.get_algorithm_by_name(HS256).prepare_key(text)
    except (jwt.InvalidKeyError, UnicodeEncodeError):
        raise SettingsError("BETTER_AUTH_SECRET", "must be a UTF-8 string, not the contents of a key file") from None
    # RFC 7518, section 3.2: a key for HS256 must be at least as long as the hash, which has 256 bits.
    if len(text.encode()) < MIN_SECRET_BYTES:
        raise SettingsError("BETTER_AUTH_SECRET", f"must have at least {MIN_SECRET_BYTES} bytes: openssl rand -hex 32")
    return Secret(text)


def _address(variable: str, example: str) -> Callable[[str | None], HTTPAddress | None]:
    """Return a converter for *variable*, which holds a URL."""

    def convert(text: str | None) -> HTTPAddress | None:
        if not text:
            return None
        address = None if _SEVERAL_URLS.search(text) else HTTPAddress.parse(text)
        if address is None:
            # The value is never quoted: if two variables were mixed up, this one holds a password.
            raise SettingsError(variable, f"must be a URL such as {example}, without a user, a query or a fragment")
        return address

    return convert


def _claim(variable: str, claim: str) -> Callable[[str | None], str | None]:
    """Return a converter for *variable*, whose value the *claim* of a token must match exactly."""

    def convert(text: str | None) -> str | None:
        if not text:
            return None
        if _SEVERAL_URLS.search(text):
            raise SettingsError(variable, f"must be the {claim} of the tokens: one value, not a list")
        if text[0] in _AROUND or text[-1] in _AROUND:
            raise SettingsError(variable, f"must be the {claim} of the tokens, without quotes or spaces around it")
        return text

    return convert


@environ_config.config(prefix="TASKD_JWT", frozen=True)
class JWTSettings:
    """
    Who signs tokens, and what their claims must be.

    Attributes:
        secret: The HS256 secret shared with the frontend; None refuses HS256 tokens.
        auth_url: The base URL of the Better Auth server whose keys verify all other tokens; None refuses those.
        jwks_url: Where that server's keys are, if not where Better Auth publishes them by default.
        allow_plaintext: Whether keys may be fetched from another machine without TLS.
        audience: What `aud` must be or contain.
        issuer: What `iss` must be.
    """

    secret: Secret | None = environ_config.var(
        None,
        name="BETTER_AUTH_SECRET",
        converter=_secret,
        help="The HS256 secret shared with the frontend, at least 32 bytes. Set this or `BETTER_AUTH_URL`, or both.",
    )
    auth_url: HTTPAddress | None = environ_config.var(
        None,
        name="BETTER_AUTH_URL",
        converter=_address("BETTER_AUTH_URL", "https://app.example.com"),
        help="The base URL of the Better Auth server whose keys, at `/api/auth/jwks`, verify tokens (EdDSA, ES256,"
        " ES512, RS256, PS256). As in Better Auth itself, a path in the URL replaces `/api/auth`.",
    )
    jwks_url: HTTPAddress | None = environ_config.var(
        None,
        name="TASKD_JWKS_URL",
        converter=_address("TASKD_JWKS_URL", "https://app.example.com/api/auth/jwks"),
        help="Where the keys are, if not below `BETTER_AUTH_URL`; for example inside a private network.",
    )
    allow_plaintext: bool = plaintext_setting()
    audience: str | None = environ_config.var(
        None,
        converter=_claim("TASKD_JWT_AUDIENCE", "aud"),
        help="What a token's `aud` must be or contain: one value, not a list. If it is not set, it is the origin of"
        " `BETTER_AUTH_URL`.",
    )
    issuer: str | None = environ_config.var(
        None,
        converter=_claim("TASKD_JWT_ISSUER", "iss"),
        help="What a token's `iss` must be: one value, not a list. If it is not set, it is the origin of"
        " `BETTER_AUTH_URL`.",
    )

    def key_set_url(self) -> str | None:
        """
        Return the URL of the key set, or None if there is only a secret.

        Raises:
            SettingsError: There is neither a secret nor a key set, or the keys could be changed in transit.
        """
        if self.auth_url is None:
            self._check_secret_alone()
            return None
        variable, address = "BETTER_AUTH_URL", _default_key_set(self.auth_url)
        if self.jwks_url is not None:
            variable, address = "TASKD_JWKS_URL", self.jwks_url
        if not (address.is_confidential or self.allow_plaintext):
            raise SettingsError(
                variable,
                "must begin with https:// unless the host is this machine: an attacker who can change the keys in"
                f" transit can sign in as anyone ({ALLOW_PLAINTEXT}=1 allows it)",
            )
        return str(address)

    def _check_secret_alone(self) -> None:
        if self.jwks_url is not None:
            raise SettingsError("TASKD_JWKS_URL", "needs BETTER_AUTH_URL, the issuer of the tokens")
        if self.secret is None:
            raise SettingsError("BETTER_AUTH_SECRET", "is not set, and neither is BETTER_AUTH_URL: set one of them")

    def key_set_rules(self) -> ClaimRules:
        """Return the rules for the claims of tokens signed with a published key."""
        origin = self.auth_url.origin if self.auth_url else None
        return ClaimRules(
            audience=self.audience or origin, issuer=self.issuer or origin, required=frozenset({"aud", "iss"})
        )

    def secret_rules(self) -> ClaimRules:
        """Return the rules for tokens signed with the secret, which need `aud` or `iss` only if it is configured."""
        configured = {"aud": self.audience, "iss": self.issuer}
        required = frozenset(name for name, value in configured.items() if value is not None)
        return attrs.evolve(self.key_set_rules(), required=required)


def _default_key_set(auth_url: HTTPAddress) -> HTTPAddress:
    """Return where a Better Auth server publishes its keys: a path in its base URL replaces `/api/auth`."""
    return attrs.evolve(auth_url, path=f"{auth_url.path.rstrip('/') or BASE_PATH}/jwks")
