"""
`DATABASE_URL`, read by taskd itself.

`databases` drops most parameters of a URL without a word, `sslmode` among them, and would then fall back to plain text.
Here every parameter is either honoured or refused, and a host that is not this machine is reached by TLS or not at all.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

from taskd import Secret, SettingsError, is_loopback
from taskd_sql import tls

__all__ = ["PostgresAddress", "SQLiteAddress", "parse"]

_SQLITE_PREFIX = "sqlite:///"
_POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
_PARAMETERS = ("application_name", "channel_binding", "connect_timeout", "sslmode", "sslrootcert")
_CHANNEL_BINDINGS = ("disable", "prefer", "require")
_MAX_CONNECT_TIMEOUT_S = 600
_HOST = re.compile(r"[\w:][\w.:-]*")
_BRACKETED = re.compile(r"(^|@)\[[^][]*\](:\d*)?$")
_NEVER_RAW = re.compile(r"[\s\x00-\x1f]")
_FORMS = (
    "must be postgresql://USER:PASSWORD@HOST/DATABASE, where other characters of USER and PASSWORD than letters and"
    " digits are percent-encoded, or sqlite:///FILE"
)
# Neon's pooled hosts, ep-…-pooler.REGION.aws.neon.tech, are their direct ones with a suffix to the first label.
_POOLER_SUFFIX = "-pooler"


@attrs.frozen
class SQLiteAddress:
    """An SQLite file."""

    file: Path

    def create(self) -> None:
        """Make the file if it is not there.  Others must not read the tasks; SQLite gives its side files this mode."""
        os.close(os.open(self.file, os.O_RDWR | os.O_CREAT, 0o640))


@attrs.frozen(kw_only=True)
class PostgresAddress:
    """
    A database of a PostgreSQL server.

    Attributes:
        tls: What connections are made with; None is plain text.
        is_binding_wanted: `channel_binding=require` was asked for, which asyncpg cannot do.
        connect_timeout_s: The URL's own, if it has one.
    """

    host: str
    port: int
    user: str | None
    password: Secret | None
    database: str | None
    tls: ssl.SSLContext | None
    is_binding_wanted: bool = False
    connect_timeout_s: int | None = None
    application_name: str = "taskd"

    @property
    def is_local(self) -> bool:
        """Whether the host is this machine."""
        return is_loopback(self.host)

    @property
    def is_neon(self) -> bool:
        """Whether the host is one of Neon's."""
        # With a dot at its end, a name is not looked for in this machine's own domains.
        return self.host.rstrip(".").endswith(".neon.tech")

    @property
    def is_neon_pooler(self) -> bool:
        """Whether the host is called as Neon calls its PgBouncers, which pool by transactions."""
        return self.host.partition(".")[0].endswith(_POOLER_SUFFIX)

    def connect_arguments(self) -> dict[str, Any]:
        """Return what asyncpg is to be told to connect there."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password.value if self.password else "",
            "database": self.database,
            # Without these, and with None for a password, asyncpg would ask the environment or files, and might fall
            # back to plain text.
            "ssl": self.tls or False,
            "direct_tls": False,
            "target_session_attrs": "any",
            "gsslib": "gssapi",
        }

    def direct(self) -> PostgresAddress:
        """Return the same database without Neon's pooler in between."""
        if not (self.is_neon and self.is_neon_pooler):
            return self
        label, dot, domain = self.host.partition(".")
        return attrs.evolve(self, host=label.removesuffix(_POOLER_SUFFIX) + dot + domain)


def parse(
    url: str, *, allow_plaintext: bool = False, variable: str = "DATABASE_URL"
) -> PostgresAddress | SQLiteAddress:
    """
    Read the URL of a database.

    Args:
        url: As consoles and libraries give it.
        allow_plaintext: Whether `sslmode=disable` may be said for a host that is not this machine.
        variable: Where the URL is from, for the errors.

    Raises:
        SettingsError: It is not of a known form, or has a parameter that is not known.  No password is ever quoted.
    """
    try:
        if url.startswith(_SQLITE_PREFIX):
            return _sqlite_address(url.removeprefix(_SQLITE_PREFIX))
        return _postgres_address(url, allow_plaintext)
    except _WrongURLError as error:
        raise SettingsError(variable, str(error)) from None


class _WrongURLError(Exception):
    """The message says what is wrong, without quoting a secret."""


def _sqlite_address(text: str) -> SQLiteAddress:
    if not text or text == ":memory:":
        raise _WrongURLError("must name a file: sqlite:///FILE")
    if "?" in text or "#" in text or "\0" in text:
        raise _WrongURLError("takes no parameters after sqlite:///FILE")
    file = Path(text)
    try:
        is_possible = file.parent.is_dir() and not file.is_dir()
    except OSError:  # the name is too long
        is_possible = False
    if not is_possible:
        # With another scheme in mind, people have a password before an @.
        shown = "FILE" if "@" in text else repr(text)
        raise _WrongURLError(f"{shown} must be a file in a directory that exists")
    return SQLiteAddress(file)


def _postgres_address(url: str, allow_plaintext: bool) -> PostgresAddress:
    parts, host = _split(url)
    try:
        port = 5432 if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not port:
        raise _WrongURLError(f"must have a number from 1 to 65535 as its port, if any; it {_FORMS}")
    parameters = _parameters(parts.query)
    return PostgresAddress(
        host=host,
        port=port,
        user=unquote(parts.username) if parts.username else None,
        password=None if parts.password is None else Secret(unquote(parts.password)),
        database=unquote(parts.path.removeprefix("/")) or None,
        tls=_tls(parameters, is_loopback(host), allow_plaintext),
        is_binding_wanted=parameters.get("channel_binding") == "require",
        connect_timeout_s=_connect_timeout_s(parameters.get("connect_timeout")),
        application_name=parameters.get("application_name") or "taskd",
    )


def _split(url: str) -> tuple[SplitResult, str]:
    """Return the parts of *url*, and its host."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")
        # Neither PostgreSQL nor a log takes what is not UTF-8.
        unquote(url, errors="strict").encode()
    except ValueError:
        raise _WrongURLError(_FORMS) from None
    # A second @, or one after the host, is a password's: the rest of it would be taken for the host, and be shown.
    is_clear = url.count("@") == parts.netloc.count("@") < 2 and not parts.fragment and not _NEVER_RAW.search(url)
    if parts.scheme not in _POSTGRES_SCHEMES or not is_clear or "\0" in unquote(parts.netloc + parts.path):
        raise _WrongURLError(_FORMS)
    if not host:
        raise _WrongURLError(f"names no host; it {_FORMS}")
    # `hostname` is only what is within brackets, whatever comes behind them.
    if not _HOST.fullmatch(host) or ("[" in parts.netloc and not _BRACKETED.search(parts.netloc)):
        raise _WrongURLError(f"names something else than one host; it {_FORMS}")
    return parts, host


def _parameters(query: str) -> Mapping[str, str]:
    # As for libpq, a plus is a plus.
    pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    names = [name for name, _ in pairs]
    if unknown := sorted(set(names) - set(_PARAMETERS)):
        shown = ", ".join(name if name.isidentifier() and len(name) < 40 else "(not a name)" for name in unknown)
        raise _WrongURLError(f"has parameters that are not known: {shown}")
    if any("\0" in value for _, value in pairs):
        raise _WrongURLError(_FORMS)
    if len(names) > len(set(names)):
        raise _WrongURLError("has a parameter twice")
    return dict(pairs)


def _connect_timeout_s(text: str | None) -> int | None:
    if text is None:
        return None
    if not (re.fullmatch("[0-9]{1,9}", text) and 1 <= int(text) <= _MAX_CONNECT_TIMEOUT_S):
        raise _WrongURLError(f"connect_timeout must be a number of seconds from 1 to {_MAX_CONNECT_TIMEOUT_S}")
    return int(text)


def _tls(parameters: Mapping[str, str], is_local: bool, allow_plaintext: bool) -> ssl.SSLContext | None:
    """Return what the URL says of TLS, or what is safe where it says nothing."""
    root, mode = parameters.get("sslrootcert"), _tls_mode(parameters, is_local)
    if mode == "disable":
        if not is_local and not allow_plaintext:
            raise _WrongURLError(
                "must not say sslmode=disable for a host that is not this machine: tasks and password would be readable"
                " on the way (TASKD_ALLOW_PLAINTEXT=1 allows it)"
            )
        if root is not None:
            raise _WrongURLError("sslrootcert needs another sslmode than disable")
        return None
    if root == "system" and mode != "verify-full":
        raise _WrongURLError("sslrootcert=system needs sslmode=verify-full")
    no_file = "sslrootcert must be a file of certificates in PEM, or system"
    if root == "":
        raise _WrongURLError(no_file)
    try:
        return tls.context(mode, None if root == "system" else root)
    except (OSError, ValueError):
        raise _WrongURLError(no_file) from None


def _tls_mode(parameters: Mapping[str, str], is_local: bool) -> str:
    """Return which of `tls.MODES` is meant."""
    mode, binding = parameters.get("sslmode"), parameters.get("channel_binding", "prefer")
    if mode is not None and mode not in tls.MODES:
        raise _WrongURLError(f"sslmode must be one of {', '.join(tls.MODES)}")
    if binding not in _CHANNEL_BINDINGS:
        raise _WrongURLError(f"channel_binding must be one of {', '.join(_CHANNEL_BINDINGS)}")
    is_bound, has_root = binding == "require", "sslrootcert" in parameters
    if mode == "disable" and is_bound:
        raise _WrongURLError("channel_binding=require needs another sslmode than disable")
    if mode is None and is_local and not has_root:
        return "require" if is_bound else "disable"
    # Channel binding is to keep others from posing as the server.  Where it is asked for, the certificate does that.
    if mode is None or (is_bound and (has_root or not is_local) and mode in tls.ENCRYPTING_MODES):
        return "verify-full"
    return mode
