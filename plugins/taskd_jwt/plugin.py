"""What taskd calls at start."""

from __future__ import annotations

from collections.abc import Mapping

from taskd import hookimpl, load_settings
from taskd_jwt.backend import JWTBackend
from taskd_jwt.settings import JWTSettings
from taskd_jwt.verification import Verifier

__all__ = ["taskd_auth"]


@hookimpl
def taskd_auth(environ: Mapping[str, str]) -> JWTBackend:
    """Return the backend that verifies bearer tokens."""
    settings = load_settings(JWTSettings, environ)
    return JWTBackend(Verifier(settings.secret.value, settings.audience, settings.issuer))
