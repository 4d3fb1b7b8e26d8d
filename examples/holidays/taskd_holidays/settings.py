"""Find the database in taskd's own settings."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import environ as environ_config
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from taskd.settings import ALLOW_PLAINTEXT, Secret, SettingsError, plaintext_setting
from taskd.tls import tls_context
from taskd.urls import is_loopback

__all__ = ["Settings"]

SQLITE = "sqlite:///"
VARIABLE = "DATABASE_URL"
# Parameters that are obeyed, and others that make no difference here.
PARAMETERS = {"host", "sslmode", "sslrootcert"}
IGNORED = {"application_name", "channel_binding", "connect_timeout"}
CONNECT_TIMEOUT_S = 5


@environ_config.config(prefix="", frozen=True)
class Settings:
    """
    Where the table is: in the database with the tasks.

    Attributes:
        migrate_url: The same database, for a user that may create tables.
    """

    database_url: Secret = environ_config.var("sqlite:///taskd.db", name=VARIABLE, converter=Secret)
    migrate_url: Secret | None = environ_config.var(
        None, name="TASKD_MIGRATE_URL", converter=lambda text: Secret(text) if text else None
    )
    allow_plaintext: bool = plaintext_setting()

    def engine(self, *, may_migrate: bool = False) -> dict[str, Any]:
        """Return the arguments for `create_async_engine`, or raise `SettingsError`."""
        url = (self.migrate_url if may_migrate and self.migrate_url else self.database_url).value
        if url.startswith(SQLITE):
            database = URL.create("sqlite+aiosqlite", database=url.removeprefix(SQLITE))
            return {"url": database, "connect_args": {"timeout": CONNECT_TIMEOUT_S}}
        return _postgres(url, self.allow_plaintext)


def _postgres(text: str, allow_plaintext: bool) -> dict[str, Any]:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise SettingsError(VARIABLE, "must be a URL such as postgresql://USER:PASSWORD@HOST/DATABASE") from None
    if unknown := sorted(set(url.query) - PARAMETERS - IGNORED):
        raise SettingsError(VARIABLE, f"has parameters that the holidays do not know: {', '.join(unknown)}")
    arguments = {
        "ssl": _tls(url, allow_plaintext),
        "timeout": CONNECT_TIMEOUT_S,
        # Behind a pooler, a connection may already have other clients' prepared statements.
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"holidays_{uuid4().hex}",
    }
    kept = {name: value for name, value in url.query.items() if name == "host"}
    return {"url": url.set(drivername="postgresql+asyncpg", query=kept), "connect_args": arguments}


def _tls(url: URL, allow_plaintext: bool) -> object:
    """Return asyncpg's `ssl`.  Other machines are verified, whatever the URL says, unless plain text is allowed."""
    mode, root = url.query.get("sslmode"), url.query.get("sslrootcert")
    is_local = "host" in url.query or is_loopback(url.host or "localhost")
    if mode == "disable" and not (is_local or allow_plaintext):
        raise SettingsError(VARIABLE, f"must not have sslmode=disable for another machine ({ALLOW_PLAINTEXT}=1 allows)")
    if mode == "disable" or (is_local and mode is None):
        return False
    if is_local and mode != "verify-full":
        return "require"
    return tls_context(None if root in (None, "system") else str(root))
