"""
`DATABASE_URL`, read by taskd itself.

`databases` drops most parameters of a URL without a word, `sslmode` among them, and would then fall back to plain text.
Here every parameter is either honoured or refused, and a host that is not this machine is reached by TLS or not at all.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from taskd import Secret, SettingsError

__all__ = ["PostgresAddress", "SQLiteAddress", "parse"]

_SQLITE_PREFIX = "sqlite:///"
_POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
_NEVER_RAW = re.compile(r"[\s\x00-\x1f]")
_FORMS = (
    "must be postgresql://USER:PASSWORD@HOST/DATABASE, where other characters of USER and PASSWORD than letters and"
    " digits are percent-encoded, or sqlite:///FILE"
)


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
        SettingsError: It is not of a known form, or has a parameter that is not known.  No password is ever quoted.
    """
    if url.startswith(_SQLITE_PREFIX):
        return _sqlite_address(url.removeprefix(_SQLITE_PREFIX))
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", 5432 if parts.port is None else parts.port
        host.encode("idna")
    except ValueError:
        raise SettingsError("DATABASE_URL", _FORMS) from None
    # A second @, or one after the host, is a password's: the rest of it would be taken for the host, and be shown.
    is_clear = url.count("@") == parts.netloc.count("@") < 2 and not parts.fragment and not _NEVER_RAW.search(url)
    if parts.scheme not in _POSTGRES_SCHEMES or not host or not port or not is_clear:
        raise SettingsError("DATABASE_URL", _FORMS)
    return PostgresAddress(
        host=host,
        port=port,
        user=unquote(parts.username) if parts.username else None,
        password=None if parts.password is None else Secret(unquote(parts.password)),
        database=unquote(parts.path.removeprefix("/")) or None,
        tls=_tls(host, parse_qsl(parts.query, keep_blank_values=True)),
        # Neon's pooled hosts: ep-…-pooler.REGION.aws.neon.tech
        is_pooled=host.partition(".")[0].endswith("-pooler"),
    )


def _sqlite_address(text: str) -> SQLiteAddress:
    if not text or text == ":memory:":
        raise SettingsError("DATABASE_URL", "must name a file: sqlite:///FILE")
    if "?" in text or "#" in text or "\0" in text:
        raise SettingsError("DATABASE_URL", "takes no parameters after sqlite:///FILE")
    file = Path(text)
    try:
        is_possible = file.parent.is_dir() and not file.is_dir()
    except OSError:  # the name is too long
        is_possible = False
    if not is_possible:
        raise SettingsError("DATABASE_URL", f"{text!r} must be a file in a directory that exists")
    return SQLiteAddress(file)


def _tls(host: str, parameters: list[tuple[str, str]]) -> ssl.SSLContext | str | bool:
    """Return what the URL says of TLS, in the words of libpq's `sslmode`, less its fallbacks to plain text."""
    names = [name for name, _ in parameters]
    # asyncpg has no channel binding; TLS is what keeps the password.
    if unknown := sorted(set(names) - {"channel_binding", "sslmode"}):
        raise SettingsError("DATABASE_URL", f"has parameters that are not known: {', '.join(unknown)}")
    if len(names) > len(set(names)):
        raise SettingsError("DATABASE_URL", "has a parameter twice")
    mode = dict(parameters).get("sslmode")
    is_local = _is_loopback(host)
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
