"""The settings of the JWT plugin."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence

import attrs
import environ as environ_config
import jwt

from taskd.settings import ALLOW_PLAINTEXT, Secret, SettingsError, plaintext_setting
from taskd.urls import HTTPAddress
from taskd_jwt.algorithms import HS256
from taskd_jwt.claims import ClaimRules

__all__ = ["IssuerSettings", "JWTSettings"]

MIN_SECRET_BYTES = 32
# Better Auth's default, which applies unless its base URL has a path.
BASE_PATH = "/api/auth"
# Matches what is between two URLs of a list.  A comma alone may be part of one URL, or of a claim.
_BETWEEN_URLS = re.compile(r",\s*(?=https?://)", re.IGNORECASE)
# Matches a list that is written in another way, which no claim can equal.
_SEVERAL_URLS = re.compile(r"[,;\s]\s*https?://", re.IGNORECASE)
_AROUND = string.whitespace + "\"'"
_FOR_EACH = "must have one value for each URL in BETTER_AUTH_URL, in the same order"


def _secret(variable: str) -> Callable[[str | None], Secret | None]:
    """Return a converter for *variable*, which holds a secret for HS256."""

    def convert(text: str | None) -> Secret | None:
        if not text:
            return None
        # PyJWT refuses secrets that look like another kind of key; report that now instead of for each token.
        try:
            jwt.get_algorithm_by_name(HS256).prepare_key(text)
        except (jwt.InvalidKeyError, UnicodeEncodeError):
            raise SettingsError(variable, "must be a UTF-8 string, not the contents of a key file") from None
        # RFC 7518, section 3.2: a key for HS256 must be at least as long as the hash, which has 256 bits.
        if len(text.encode()) < MIN_SECRET_BYTES:
            raise SettingsError(variable, f"must have at least {MIN_SECRET_BYTES} bytes: openssl rand -hex 32")
        return Secret(text)

    return convert


def _addresses(variable: str, example: str) -> Callable[[str | None], tuple[HTTPAddress, ...]]:
    """Return a converter for *variable*, which holds a URL, or several with commas between them."""

    def convert(text: str | None) -> tuple[HTTPAddress, ...]:
        addresses = [HTTPAddress.parse(each) for each in _BETWEEN_URLS.split(text)] if text else []
        if None in addresses:
            # The value is never quoted: if two variables were mixed up, this one holds a password.
            raise SettingsError(variable, f"must be a URL such as {example}, without a user, a query or a fragment")
        return tuple(address for address in addresses if address is not None)

    return convert


def _claims(variable: str, claim: str) -> Callable[[str | None], tuple[str, ...]]:
    """Return a converter for *variable*, whose value, or each of whose URLs, the *claim* of a token must match."""

    def convert(text: str | None) -> tuple[str, ...]:
        if not text:
            return ()
        if text[0] in _AROUND or text[-1] in _AROUND:
            raise SettingsError(variable, f"must be the {claim} of the tokens, without quotes or spaces around it")
        claims = tuple(_BETWEEN_URLS.split(text)) if _SEVERAL_URLS.search(text) else (text,)
        if any(map(_SEVERAL_URLS.search, claims)):
            raise SettingsError(variable, f"must be the {claim} of the tokens: one value, not a list")
        return claims

    return convert


@attrs.frozen
class IssuerSettings:
    """
    An issuer that publishes its keys.

    Attributes:
        key_set_url: Where its keys are.
        rules: The rules for the claims of tokens signed with them.
    """

    key_set_url: str
    rules: ClaimRules


@environ_config.config(prefix="TASKD_JWT", frozen=True)
class JWTSettings:
    """
    Who signs tokens, and what their claims must be.

    Attributes:
        secret: The HS256 secret shared with the frontend; None refuses HS256 tokens.
        previous_secret: The secret before that one, which verifies tokens, too.
        auth_urls: The base URLs of the Better Auth servers whose keys verify all other tokens; none refuses those.
        jwks_urls: Where those servers' keys are, if not where Better Auth publishes them by default.
        allow_plaintext: Whether keys may be fetched from another machine without TLS.
        audiences: What `aud` must be or contain: one for all issuers, or one for each.
        issuer_names: What `iss` must be, for each issuer.
    """

    secret: Secret | None = environ_config.var(
        None,
        name="BETTER_AUTH_SECRET",
        converter=_secret("BETTER_AUTH_SECRET"),
        help="The HS256 secret shared with the frontend, at least 32 bytes. Set this or `BETTER_AUTH_URL`, or both.",
    )
    previous_secret: Secret | None = environ_config.var(
        None,
        name="BETTER_AUTH_SECRET_PREVIOUS",
        converter=_secret("BETTER_AUTH_SECRET_PREVIOUS"),
        help="The secret before that one, while it is being replaced: tokens signed with it are accepted, too.",
    )
    auth_urls: tuple[HTTPAddress, ...] = environ_config.var(
        None,
        name="BETTER_AUTH_URL",
        converter=_addresses("BETTER_AUTH_URL", "https://app.example.com"),
        help="The base URL of the Better Auth server whose keys, at `/api/auth/jwks`, verify tokens (EdDSA, ES256,"
        " ES512, RS256, PS256). As in Better Auth itself, a path in the URL replaces `/api/auth`. Several, with commas"
        " between them, are several issuers.",
    )
    jwks_urls: tuple[HTTPAddress, ...] = environ_config.var(
        None,
        name="TASKD_JWKS_URL",
        converter=_addresses("TASKD_JWKS_URL", "https://app.example.com/api/auth/jwks"),
        help="Where the keys are, if not below `BETTER_AUTH_URL`; for example inside a private network. For several"
        " issuers, one URL for each, in the same order.",
    )
    allow_plaintext: bool = plaintext_setting()
    audiences: tuple[str, ...] = environ_config.var(
        None,
        name="TASKD_JWT_AUDIENCE",
        converter=_claims("TASKD_JWT_AUDIENCE", "aud"),
        help="What a token's `aud` must be or contain: one value, not a list. If it is not set, it is the origin of"
        " `BETTER_AUTH_URL`. For several issuers, one value for all, or a URL for each, in the same order.",
    )
    issuer_names: tuple[str, ...] = environ_config.var(
        None,
        name="TASKD_JWT_ISSUER",
        converter=_claims("TASKD_JWT_ISSUER", "iss"),
        help="What a token's `iss` must be: one value, not a list. If it is not set, it is the origin of"
        " `BETTER_AUTH_URL`. For several issuers, a URL for each, in the same order.",
    )

    def issuers(self) -> tuple[IssuerSettings, ...]:
        """
        Return the issuers that publish their keys; none if there is only a secret.

        Raises:
            SettingsError: There is neither a secret nor an issuer, the settings do not say which value is whose, or the
                keys could be changed in transit.
        """
        self._check_counts()
        if not self.auth_urls:
            self._check_secret_alone()
            return ()
        variable = "TASKD_JWKS_URL" if self.jwks_urls else "BETTER_AUTH_URL"
        for address in self._key_sets():
            self._check_confidential(variable, address)
        rules = self._rules()
        names = [each.issuer for each in rules]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SettingsError(
                "BETTER_AUTH_URL", f"has the issuer {twice} twice: set TASKD_JWT_ISSUER to one for each"
            )
        return tuple(IssuerSettings(str(url), each) for url, each in zip(self._key_sets(), rules, strict=True))

    def _check_counts(self) -> None:
        """Check that there is one value for each issuer."""
        claims = {"TASKD_JWT_AUDIENCE": ("aud", self.audiences), "TASKD_JWT_ISSUER": ("iss", self.issuer_names)}
        count = len(self.auth_urls)
        for variable, (claim, values) in claims.items():
            if count <= 1 < len(values):
                raise SettingsError(variable, f"must be the {claim} of the tokens: one value, not a list")
            is_for_all = claim == "aud" and len(values) == 1
            if count > 1 and values and len(values) != count and not is_for_all:
                raise SettingsError(variable, _FOR_EACH)
        if self.auth_urls and self.jwks_urls and len(self.jwks_urls) != count:
            raise SettingsError("TASKD_JWKS_URL", _FOR_EACH)

    def _key_sets(self) -> Sequence[HTTPAddress]:
        return self.jwks_urls or [_default_key_set(each) for each in self.auth_urls]

    def _check_confidential(self, variable: str, address: HTTPAddress) -> None:
        if not (address.is_confidential or self.allow_plaintext):
            raise SettingsError(
                variable,
                "must begin with https:// unless the host is this machine: an attacker who can change the keys in"
                f" transit can sign in as anyone ({ALLOW_PLAINTEXT}=1 allows it)",
            )

    def _check_secret_alone(self) -> None:
        if self.jwks_urls:
            raise SettingsError("TASKD_JWKS_URL", "needs BETTER_AUTH_URL, the issuer of the tokens")
        if self.secret is None:
            raise SettingsError("BETTER_AUTH_SECRET", "is not set, and neither is BETTER_AUTH_URL: set one of them")

    def _rules(self) -> Sequence[ClaimRules]:
        """Return the rules for tokens signed with a published key, for each issuer."""
        origins = [each.origin for each in self.auth_urls]
        audiences = self.audiences * len(origins) if len(self.audiences) == 1 else self.audiences
        pairs = zip(audiences or origins, self.issuer_names or origins, strict=True)
        required = frozenset({"aud", "iss"})
        return [ClaimRules(audience=audience, issuer=issuer, required=required) for audience, issuer in pairs]

    def secrets(self) -> tuple[str, ...]:
        """
        Return the secrets, the current one first.

        Raises:
            SettingsError: There is a previous one that is not needed.
        """
        variable = "BETTER_AUTH_SECRET_PREVIOUS"
        if self.previous_secret is not None and self.secret is None:
            raise SettingsError(variable, "needs BETTER_AUTH_SECRET, the secret that takes its place")
        if self.previous_secret is not None and self.previous_secret == self.secret:
            raise SettingsError(
                variable, "must be another secret than BETTER_AUTH_SECRET: the one that was used before"
            )
        return tuple(each.value for each in (self.secret, self.previous_secret) if each is not None)

    def secret_rules(self) -> ClaimRules:
        """
        Return the rules for tokens signed with the secret, which need `aud` or `iss` only if it is configured.

        If there are several issuers, the secret is the first one's.
        """
        configured = {"aud": next(iter(self.audiences), None), "iss": next(iter(self.issuer_names), None)}
        required = frozenset(name for name, value in configured.items() if value is not None)
        if self.auth_urls:
            return attrs.evolve(self._rules()[0], required=required)
        return ClaimRules(audience=configured["aud"], issuer=configured["iss"], required=required)


def _default_key_set(auth_url: HTTPAddress) -> HTTPAddress:
    """Return where a Better Auth server publishes its keys: a path in its base URL replaces `/api/auth`."""
    return attrs.evolve(auth_url, path=f"{auth_url.path.rstrip('/') or BASE_PATH}/jwks")
