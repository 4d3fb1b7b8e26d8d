"""
Parse `DATABASE_URL`.

`databases` silently drops most parameters of a URL, including `sslmode`, and would then connect in plain text.  Here,
every parameter is either supported or refused, and connections to other machines use TLS.
"""

from __future__ import annotations

import difflib
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

from taskd.settings import ALLOW_PLAINTEXT, Secret, SettingsError
from taskd.urls import is_loopback
from taskd_sql.engine import tls

__all__ = ["PostgresURL", "SQLiteURL", "parse"]

_SQLITE_PREFIX = "sqlite:///"
_POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
_PARAMETERS = ("application_name", "channel_binding", "connect_timeout", "host", "sslmode", "sslrootcert")
_CHANNEL_BINDINGS = ("disable", "prefer", "require")
_MAX_CONNECT_TIMEOUT_S = 600
_HOST = re.compile(r"[\w:][\w.:-]*")
_BRACKETED = re.compile(r"(^|@)\[[^][]*\](:\d*)?$")
_NEVER_RAW = re.compile(r"[\s\x00-\x1f]")
_FORMS = (
    "must be postgresql://USER:PASSWORD@HOST/DATABASE, where characters of USER and PASSWORD other than letters and"
    " digits are percent-encoded, or sqlite:///FILE"
)
_SOCKET_FORM = "for a Unix socket, append ?host=/FOLDER to the database"
# Neon's pooled hosts, ep-…-pooler.REGION.aws.neon.tech, are the direct ones with this suffix on the first label.
_POOLER_SUFFIX = "-pooler"


@attrs.frozen
class SQLiteURL:
    """The URL of an SQLite file."""

    file: Path


@attrs.frozen(kw_only=True)
class PostgresURL:
    """
    The URL of a database on a PostgreSQL server.

    Attributes:
        host: A name or an IP address, or the folder of a Unix socket, which begins with a slash.
        tls: The context for connections; None connects in plain text.
        requires_channel_binding: Whether the URL has `channel_binding=require`, which asyncpg does not support.
        connect_timeout_s: The URL's `connect_timeout`, if it has one.
    """

    host: str
    port: int
    user: str
    password: Secret | None
    database: str
    tls: ssl.SSLContext | None
    requires_channel_binding: bool = False
    connect_timeout_s: int | None = None
    application_name: str = "taskd"

    @property
    def server(self) -> str:
        """The host and port, or the path of the socket, for display."""
        return f"{self.host}/.s.PGSQL.{self.port}" if self.is_socket else f"{self.host}:{self.port}"

    @property
    def is_socket(self) -> bool:
        """Whether the server is reached through a Unix socket, which has no TLS."""
        return self.host.startswith("/")

    @property
    def is_local(self) -> bool:
        """Whether the host is this machine."""
        return self.is_socket or is_loopback(self.host)

    @property
    def is_neon(self) -> bool:
        """Whether the host belongs to Neon."""
        # A trailing dot makes a name absolute.
        return self.host.rstrip(".").endswith(".neon.tech")

    @property
    def is_neon_pooler(self) -> bool:
        """Whether the host is named like Neon's PgBouncers, which run in transaction mode."""
        return self.host.partition(".")[0].endswith(_POOLER_SUFFIX)

    def connect_arguments(self) -> dict[str, Any]:
        """Return the arguments for `asyncpg.connect`."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password.value if self.password else "",
            "database": self.database,
            # If these were left out or None, asyncpg would take them from the environment, files or the system, and
            # might fall back to plain text.
            "ssl": self.tls or False,
            "direct_tls": False,
            "target_session_attrs": "any",
            "krbsrvname": "postgres",
            "gsslib": "gssapi",
        }

    def direct(self) -> PostgresURL:
        """Return the URL of the same database without Neon's pooler."""
        if not (self.is_neon and self.is_neon_pooler):
            return self
        label, dot, domain = self.host.partition(".")
        return attrs.evolve(self, host=label.removesuffix(_POOLER_SUFFIX) + dot + domain)


def parse(url: str, *, allow_plaintext: bool = False, variable: str = "DATABASE_URL") -> PostgresURL | SQLiteURL:
    """
    Parse the URL of a database.

    Args:
        url: A URL in a form that consoles and libraries use.
        allow_plaintext: Whether `sslmode=disable` is accepted for other machines.
        variable: The variable that holds the URL, for error messages.

    Raises:
        SettingsError: The URL is malformed or has an unknown parameter.  The message never quotes a password.
    """
    try:
        if url.startswith(_SQLITE_PREFIX):
            return _sqlite_url(url.removeprefix(_SQLITE_PREFIX))
        return _postgres_url(url, allow_plaintext)
    except _WrongURLError as error:
        raise SettingsError(variable, str(error)) from None


class _WrongURLError(Exception):
    """The URL is wrong.  The message says why, without quoting a secret."""


def _sqlite_url(text: str) -> SQLiteURL:
    if not text or text == ":memory:":
        raise _WrongURLError("must name a file: sqlite:///FILE")
    if "?" in text or "#" in text or "\0" in text:
        raise _WrongURLError("must have no parameters after sqlite:///FILE")
    file = Path(text)
    try:
        is_possible = file.parent.is_dir() and not file.is_dir()
    except OSError:  # the name is too long
        is_possible = False
    if not is_possible:
        # A URL with another scheme may have a password before the @.
        shown = "FILE" if "@" in text else repr(text)
        raise _WrongURLError(f"{shown} must be a file in a directory that exists")
    return SQLiteURL(file)


def _postgres_url(url: str, allow_plaintext: bool) -> PostgresURL:
    parts = _split(url)
    parameters = _parameters(parts.query)
    host, user = _host(parts, parameters), unquote(parts.username or "")
    try:
        port = 5432 if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not port:
        raise _WrongURLError(f"has a port that is not a number from 1 to 65535; it {_FORMS}")
    if not user:
        raise _WrongURLError(f"has no user; it {_FORMS}")
    return PostgresURL(
        host=host,
        port=port,
        user=user,
        password=None if parts.password is None else Secret(unquote(parts.password)),
        # The default is the user's name, as in PostgreSQL's own clients.
        database=unquote(parts.path.removeprefix("/")) or user,
        tls=_tls(parameters, host, allow_plaintext),
        requires_channel_binding=parameters.get("channel_binding") == "require",
        connect_timeout_s=_connect_timeout_s(parameters.get("connect_timeout")),
        application_name=parameters.get("application_name") or "taskd",
    )


def _split(url: str) -> SplitResult:
    """Check the form of *url*, and return its parts."""
    try:
        parts = urlsplit(url)
        if not _encoded_folder(parts):
            (parts.hostname or "").encode("idna")
        # Neither PostgreSQL nor a log accepts anything but UTF-8.
        unquote(url, errors="strict").encode()
    except ValueError:
        raise _WrongURLError(_FORMS) from None
    # A second @, or one after the host, belongs to a password.  The rest of that password would be mistaken for the
    # host, and shown.
    is_clear = url.count("@") == parts.netloc.count("@") < 2 and not parts.fragment and not _NEVER_RAW.search(url)
    if parts.scheme not in _POSTGRES_SCHEMES or not is_clear or "\0" in unquote(parts.netloc + parts.path):
        raise _WrongURLError(_FORMS)
    return parts


def _host(parts: SplitResult, parameters: Mapping[str, str]) -> str:
    """Return the host, or the folder of a Unix socket, which may be in place of the host or in the parameter `host`."""
    host, folder = parts.hostname or "", parameters.get("host")
    if folder is not None:
        if not folder.startswith("/"):
            raise _WrongURLError("the parameter host must be the folder of a Unix socket, such as /run/postgresql")
        if host:
            raise _WrongURLError("has both a host and the folder of a Unix socket: leave one of them out")
        return folder
    if encoded := _encoded_folder(parts):
        return unquote(encoded)
    if not host:
        raise _WrongURLError(f"has no host; it {_FORMS}; {_SOCKET_FORM}")
    # `hostname` is only the part in brackets; the rest is ignored.
    if not _HOST.fullmatch(host) or ("[" in parts.netloc and not _BRACKETED.search(parts.netloc)):
        raise _WrongURLError(f"does not have exactly one host; it {_FORMS}; {_SOCKET_FORM}")
    return host


def _encoded_folder(parts: SplitResult) -> str:
    """Return the folder, percent-encoded, that is in place of the host; otherwise an empty string."""
    # `hostname` is in lower case.
    host = parts.netloc.rpartition("@")[2].partition(":")[0]
    return host if host[:3].upper() == "%2F" and "," not in host else ""


def _parameters(query: str) -> Mapping[str, str]:
    # As in libpq, a plus does not stand for a space.
    pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    names = [name for name, _ in pairs]
    if unknown := sorted(set(names) - set(_PARAMETERS)):
        raise _WrongURLError(f"has unknown parameters: {', '.join(map(_shown, unknown))}")
    if any("\0" in value for _, value in pairs):
        raise _WrongURLError(_FORMS)
    if len(names) > len(set(names)):
        raise _WrongURLError("has a parameter twice")
    return dict(pairs)


def _shown(name: str) -> str:
    """Return the *name* of an unknown parameter, with a suggestion if it resembles a known one."""
    if not name.isidentifier() or len(name) >= 40:
        return "(not a name)"
    similar = difflib.get_close_matches(name.lower(), _PARAMETERS, 1)
    return f"{name} (did you mean {similar[0]}?)" if similar else name


def _connect_timeout_s(text: str | None) -> int | None:
    if text is None:
        return None
    if not (re.fullmatch("[0-9]{1,9}", text) and 1 <= int(text) <= _MAX_CONNECT_TIMEOUT_S):
        raise _WrongURLError(f"connect_timeout must be a number of seconds from 1 to {_MAX_CONNECT_TIMEOUT_S}")
    return int(text)


def _tls(parameters: Mapping[str, str], host: str, allow_plaintext: bool) -> ssl.SSLContext | None:
    """Return the context that the URL asks for, or a safe one if it asks for none."""
    is_socket = host.startswith("/")
    is_local = is_socket or is_loopback(host)
    root, mode = parameters.get("sslrootcert"), _tls_mode(parameters, is_local)
    if is_socket and mode != "disable":
        raise _WrongURLError("asks for TLS, which a Unix socket does not have: leave out sslmode and sslrootcert")
    if mode == "disable":
        if not is_local and not allow_plaintext:
            raise _WrongURLError(
                "must not have sslmode=disable for another machine: others on the network could read the password and"
                f" the tasks ({ALLOW_PLAINTEXT}=1 allows it)"
            )
        if root is not None:
            raise _WrongURLError("sslrootcert needs an sslmode other than disable")
        return None
    if root == "system" and mode != "verify-full":
        raise _WrongURLError("sslrootcert=system needs sslmode=verify-full")
    no_file = "sslrootcert must be system or a file of certificates in PEM"
    if root == "":
        raise _WrongURLError(no_file)
    try:
        return tls.context(mode, None if root == "system" else root)
    except (OSError, ValueError):
        raise _WrongURLError(no_file) from None


def _tls_mode(parameters: Mapping[str, str], is_local: bool) -> str:
    """Return the mode, one of `tls.MODES`."""
    mode, binding = parameters.get("sslmode"), parameters.get("channel_binding", "prefer")
    if mode is not None and mode not in tls.MODES:
        raise _WrongURLError(f"sslmode must be one of {', '.join(tls.MODES)}")
    if binding not in _CHANNEL_BINDINGS:
        raise _WrongURLError(f"channel_binding must be one of {', '.join(_CHANNEL_BINDINGS)}")
    is_bound, has_root = binding == "require", "sslrootcert" in parameters
    if mode == "disable" and is_bound:
        raise _WrongURLError("channel_binding=require needs an sslmode other than disable")
    if mode is None and is_local and not has_root:
        return "require" if is_bound else "disable"
    # Channel binding protects against impersonation of the server, and so does verifying the certificate.
    if mode is None or (is_bound and (has_root or not is_local) and mode in tls.ENCRYPTING_MODES):
        return "verify-full"
    return mode
