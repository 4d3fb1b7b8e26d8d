"""The settings of the metrics plugin."""

from __future__ import annotations

from pathlib import Path

import environ as environ_config

from taskd.settings import Secret, SettingsError

__all__ = ["MetricsSettings"]

MIN_TOKEN_LENGTH = 16


def _token(text: str) -> Secret:
    if len(text) < MIN_TOKEN_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
        wanted = f"must have at least {MIN_TOKEN_LENGTH} ASCII characters, without spaces"
        raise SettingsError("TASKD_METRICS_TOKEN", f"{wanted}: openssl rand -hex 32")
    return Secret(text)


def _folder(text: str | None) -> Path | None:
    if text is None:
        return None
    if not Path(text).is_absolute():
        raise SettingsError("TASKD_METRICS_FOLDER", "must be an absolute path")
    return Path(text)


@environ_config.config(prefix="TASKD_METRICS", frozen=True)
class MetricsSettings:
    """
    Who may read the metrics, and how processes share theirs.

    Attributes:
        token: The bearer token that the metrics are read with.
        folder: The folder in which processes share their numbers; None if taskd itself starts all of them.
    """

    token: Secret = environ_config.var(
        converter=_token,
        help="The bearer token with which `/metrics` can be read, at least 16 characters. Without it, the plugin does"
        " not start.",
    )
    folder: Path | None = environ_config.var(
        None,
        converter=_folder,
        help="A folder of the server's own in which its processes share their numbers. Set it only if a program other"
        " than `taskd serve` starts several processes.",
    )
