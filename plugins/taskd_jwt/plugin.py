"""What taskd calls at start."""

from __future__ import annotations

from collections.abc import Mapping

from taskd import hookimpl, load_settings
from taskd_jwt.backend import JWTBackend
from taskd_jwt.jwks import RemoteKeySet
from taskd_jwt.lanes import KeySetLane, SecretLane
from taskd_jwt.memory import VerifiedTokens
from taskd_jwt.settings import JWTSettings
from taskd_jwt.verification import Verifier

__all__ = ["taskd_auth"]


@hookimpl
def taskd_auth(environ: Mapping[str, str]) -> JWTBackend:
    """Return the backend that verifies bearer tokens."""
    settings = load_settings(JWTSettings, environ)
    url, verified = settings.key_set_url(), VerifiedTokens()
    by_secret = SecretLane(settings.secret.value, settings.secret_rules()) if settings.secret else None
    by_key_set = KeySetLane(RemoteKeySet(url, verified.forget_all), settings.key_set_rules()) if url else None
    return JWTBackend(Verifier(by_secret, by_key_set, verified))
