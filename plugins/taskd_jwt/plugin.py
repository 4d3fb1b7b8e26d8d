"""The hooks that this plugin implements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from taskd import hookimpl
from taskd.auth import TrialSettings
from taskd.settings import load_settings
from taskd_jwt import trial
from taskd_jwt.backend import JWTBackend
from taskd_jwt.settings import JWTSettings
from taskd_jwt.verifier import Verifier

__all__ = ["taskd_auth", "taskd_security_scheme", "taskd_trial_settings"]


@hookimpl
def taskd_auth(environ: Mapping[str, str]) -> JWTBackend:
    """Return the backend that verifies bearer tokens."""
    return JWTBackend(Verifier.of(load_settings(JWTSettings, environ)))


@hookimpl
def taskd_security_scheme() -> Mapping[str, object]:
    """Return the security scheme for bearer tokens."""
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Send exactly one header `Authorization: Bearer TOKEN`, where TOKEN is a JSON Web Token. Its"
        " `sub` is your user id. Tokens in a query string or in a cookie are ignored. `taskd dev` prints a token of"
        " `dev`.",
    }


@hookimpl
def taskd_trial_settings(environ: Mapping[str, str], file: Path) -> TrialSettings:
    """Return a secret that is kept beside *file*, unless one is already set."""
    return trial.settings(environ, Path(f"{file}.secret"))
