"""The secret that tokens are signed with under `taskd dev`."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

from taskd.auth import TrialSettings
from taskd.settings import SettingsError, source_of

__all__ = ["settings"]

_SECRET = "BETTER_AUTH_SECRET"  # noqa: S105  the name of the variable


def settings(environ: Mapping[str, str], file: Path) -> TrialSettings:
    """Return the secret in *file*, which is created if it is missing, unless *environ* already has a secret."""
    if _SECRET in environ:
        return TrialSettings(note=f"signed with {_SECRET} in {source_of(_SECRET, environ)}")
    return TrialSettings({_SECRET: _kept_secret(file)}, f"signed with the secret in {file}")


def _kept_secret(file: Path) -> str:
    """Return the secret in *file*; if the file is missing, create it, readable only by its owner."""
    try:
        if not file.exists():
            # Creating a link is atomic, so two processes that start together use the same secret.
            with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f"{file.name}.") as temporary:
                temporary.write(secrets.token_hex(32))
                temporary.flush()
                with contextlib.suppress(FileExistsError):
                    os.link(temporary.name, file)
        file.chmod(0o600)
        secret = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(_SECRET, f"cannot be kept in {file}: {reason}") from None
    if not secret:
        raise SettingsError(_SECRET, f"{file} is empty: delete it, and the next start writes a new secret")
    return secret
