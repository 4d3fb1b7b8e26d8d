"""
`DATABASE_URL`, read by taskd itself.

`databases` drops most parameters of a URL without a word, `sslmode` among them, and would then fall back to plain text.
Here every parameter is either honoured or refused, and a host that is not this machine is reached by TLS or not at all.
"""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

import attrs
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from taskd import Secret, SettingsError

__all__ = ["PostgresAddress", "SQLiteAddress", "parse"]

_SQLITE_PREFIX = "sqlite:///"
_POSTGRES_DRIVERS = ("postgresql", "postgres", "postgresql+asyncpg")
_FORMS = "must be postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE"


@attrs.frozen
class SQLiteAddress:
    """An SQLite file."""

    file: Path


@attrs.frozen(kw_only=True)
class PostgresAddress:
    """
    A database of a PostgreSQL server.

    Attributes:
        tls: What asyncpg's `ssl` takes: a context that verifies, `"require"` to encrypt without verifying, or False.
        is_pooled: A PgBouncer in transaction mode is in between, so no prepared statement outlives its transaction.
    """

    host: str
    port: int
    user: str | None
    password: Secret | None
    database: str | None
    tls: ssl.SSLContext | str | bool
    is_pooled: bool


def parse(url: str) -> PostgresAddress | SQLiteAddress:
    """
    Read a `DATABASE_URL`.

    Raises:
        SettingsError: It is not of a known form, or has a parameter that is not known.  It is never quoted.
    """
    if url.startswith(_SQLITE_PREFIX):
        return _sqlite_address(url.removeprefix(_SQLITE_PREFIX))
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError("DATABASE_URL", _FORMS) from None
    if parts.drivername not in _POSTGRES_DRIVERS or not parts.host:
        raise SettingsError("DATABASE_URL", _FORMS)
    return PostgresAddress(
        host=parts.host,
        port=parts.port or 5432,
        user=parts.username,
        password=None if parts.password is None else Secret(str(parts.password)),
        database=parts.database or None,
        tls=_tls(parts),
        # Neon's pooled hosts: ep-…-pooler.REGION.aws.neon.tech
        is_pooled=parts.host.partition(".")[0].endswith("-pooler"),
    )


def _sqlite_address(text: str) -> SQLiteAddress:
    if not text or text == ":memory:":
        raise SettingsError("DATABASE_URL", "must name a file: sqlite:///FILE")
    if "?" in text or "#" in text or "\0" in text:
        raise SettingsError("DATABASE_URL", "takes no parameters after sqlite:///FILE")
    file = Path(text)
    if file.is_dir() or not file.parent.is_dir():
        raise SettingsError("DATABASE_URL", f"{text!r} must be a file in a directory that exists")
    return SQLiteAddress(file)


def _tls(parts: URL) -> ssl.SSLContext | str | bool:
    """Return what the URL says of TLS, in the words of libpq's `sslmode`, less its fallbacks to plain text."""
    parameters = dict(parts.query)
    parameters.pop("channel_binding", None)  # asyncpg has none; TLS is what keeps the password
    mode = parameters.pop("sslmode", None)
    if parameters:
        raise SettingsError("DATABASE_URL", f"has parameters that are not known: {', '.join(sorted(parameters))}")
    is_local = _is_loopback(str(parts.host))
    if mode in ("require", "prefer", "allow"):
        return "require"
    if mode == "verify-full" or (mode is None and not is_local):
        return ssl.create_default_context()
    if mode in (None, "disable") and is_local:
        return False
    if mode == "disable":
        raise SettingsError("DATABASE_URL", "must not say sslmode=disable for a host that is not this machine")
    raise SettingsError("DATABASE_URL", "sslmode must be disable, require or verify-full")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
