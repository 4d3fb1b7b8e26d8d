"""
Translate the drivers' errors: what is wrong, what to do about it, and whether the statement may have been run.

The drivers' own messages are never passed on, because they quote values from the statement.
"""

from __future__ import annotations

import socket
import sqlite3
import ssl
from collections.abc import Sequence

from taskd.settings import ALLOW_PLAINTEXT
from taskd.storage import StoreError, StoreUnavailable

__all__ = [
    "Interrupted",
    "Refused",
    "SchemaMismatch",
    "is_unknown_name",
    "no_postgres",
    "postgres_error",
    "remedy_for",
    "remedy_of",
    "sqlite_error",
    "timed_out",
    "wrong_encoding",
]


class SchemaMismatch(StoreUnavailable):
    """The database does not have the tables that this version of taskd needs."""


class Refused(StoreUnavailable):
    """The database refuses this statement; others may work, such as reads when writes are refused."""


class Interrupted(StoreUnavailable):
    """
    The database cannot be reached or did not respond, but the next attempt may succeed.

    Args:
        reason: What is wrong, for the log.
        may_have_run: Whether the statement was sent but got no response, so nobody knows whether it was run.
    """

    def __init__(self, reason: str, *, may_have_run: bool) -> None:
        super().__init__(reason)
        self.may_have_run = may_have_run

    def again(self) -> Interrupted:
        """Return the same error, for another call."""
        made = Interrupted(str(self), may_have_run=self.may_have_run)
        for note in getattr(self, "__notes__", ()):
            made.add_note(note)
        return made


# SQLSTATEs, or prefixes of them (PostgreSQL manual, appendix A).
# The schema is missing, or is a different one.
_SCHEMA_MISMATCH = ("42P01", "42703")
# The schema was created by another user.
_NO_PRIVILEGE = "42501"
# A prepared statement is missing or already exists: a PgBouncer switches connections between transactions.
_POOLER_STATES = ("26000", "42P05")
# The statement is wrong, not the server.
_STATEMENT_ERRORS = ("0A", "21", "22", "23", "42")
# The same statement may succeed if it is retried, after a serialization failure, a deadlock, or a lack of memory or
# connections.  Class 40 is not included as a whole, because 40003 means that nobody knows whether the statement
# completed.
_PASSING = ("40001", "40P01", "532", "533", "57P03")
_UNKNOWN_COMPLETION = "40003"
# A retry cannot succeed until an operator fixes something, such as a wrong user or password, or a missing database.
_LASTING = ("28", "3D")

# How asyncpg's message begins if asyncpg sent nothing, because the server had announced that it would close the
# connection.
_NOT_SENT = "cannot switch to state "

# Descriptions of errors that operators can fix.
_WORDS = {
    "26000": "behind a PgBouncer, set TASKD_SQL_POOLER=yes",
    "42P05": "behind a PgBouncer, set TASKD_SQL_POOLER=yes",
    # PgBouncer does not accept some start-up parameters, or has too many clients.
    "08P01": "behind a PgBouncer, set TASKD_SQL_POOLER=yes, or let it accept more clients",
    "28P01": "the password is wrong, or there is no such user",
    "28000": "this user may not connect",
    "3D000": "there is no such database",
    "25006": "the database is read-only",
    "42501": "this user may not use the tables; as their owner, run GRANT SELECT, INSERT, UPDATE, DELETE ON tasks,"
    " owners, idempotency_keys TO this user, and GRANT SELECT ON taskd_version TO this user",
    "53300": "the server has no connections left",
    "57P03": "the server is starting up or shutting down",
}

# Remedies for `taskd doctor`, by SQLSTATE or error type.
_REACH_IT = (
    "Compare DATABASE_URL with the console, and check that the database is running and that this machine can reach its"
    " port."
)
_REMEDIES = {
    "28P01": "Correct the user and password in DATABASE_URL, and percent-encode characters other than letters and"
    " digits; or give the user that password: ALTER ROLE … PASSWORD '…'.",
    "28000": "Correct the user in DATABASE_URL, or let it connect: in the server's pg_hba.conf, or in the console.",
    "3D000": "Correct the name of the database in DATABASE_URL, or create it: CREATE DATABASE ….",
    "08P01": "Behind a PgBouncer, set TASKD_SQL_POOLER=yes. If it is set, the log of the PgBouncer says why it refuses"
    " the connection, or cannot open its own.",
    "53300": "Lower TASKD_SQL_POOL_SIZE, or raise the server's limit of connections.",
    "57P03": "Wait until the server has started, and try again.",
}
_REMEDIES_BY_TYPE: Sequence[tuple[type[Exception], str]] = (
    (
        ssl.SSLCertVerificationError,
        "Check who signed the server's certificate, and for which host; sslrootcert=FILE trusts other authorities.",
    ),
    (ssl.SSLError, "Check which versions of TLS the server supports: it needs 1.2 or later."),
    (
        socket.gaierror,
        "Correct the host in DATABASE_URL, or check why this machine's name server does not know it.",
    ),
    (
        ConnectionRefusedError,
        "Nothing listens there: start the database, make it listen there, or correct host and port in DATABASE_URL.",
    ),
    (
        TimeoutError,
        "Nothing responds there: check whether the database is running, and whether a firewall blocks the connection.",
    ),
)
_NO_TLS = (
    "Turn on TLS at the server: ssl = on in postgresql.conf. On a network that nobody else can read, sslmode=disable in"
    f" DATABASE_URL, with {ALLOW_PLAINTEXT}=1, turns TLS off."
)


def remedy_for(error: Exception) -> str:
    """Return what an operator can do about *error*, which a driver raised."""
    if _is_tls_refused(error):
        return _NO_TLS
    by_type = next((remedy for kind, remedy in _REMEDIES_BY_TYPE if isinstance(error, kind)), _REACH_IT)
    return _REMEDIES.get(getattr(error, "sqlstate", None) or "", by_type)


def remedy_of(error: StoreError) -> str:
    """Return what an operator can do about *error*, which this module created."""
    return " ".join(getattr(error, "__notes__", ())) or _REACH_IT


def is_unknown_name(error: BaseException) -> bool:
    """Tell whether *error* is about the name of a prepared statement: poolers cause this that do not know names."""
    return getattr(error, "sqlstate", None) in _POOLER_STATES


def timed_out(stage: str, *, may_have_run: bool) -> Interrupted:
    """Return the error for a *stage* that took too long."""
    made = Interrupted(f"{stage} in time", may_have_run=may_have_run)
    made.add_note(remedy_for(TimeoutError()))
    return made


def no_postgres(error: Exception, *, may_have_run: bool) -> Interrupted:
    """Return the error for a server that is not PostgreSQL, to which asyncpg may react with any *error*."""
    name = type(error).__name__
    made = Interrupted(f"no PostgreSQL responds there ({name}): check host and port", may_have_run=may_have_run)
    made.add_note(_REACH_IT)
    return made


def wrong_encoding(encoding: str) -> StoreUnavailable:
    """Return the error for a database whose *encoding* cannot represent every character."""
    made = StoreUnavailable(f"the database's encoding is {encoding}, but must be UTF8")
    made.add_note(
        "Create a database with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, copy this one into it with"
        " pg_dump, and name it in DATABASE_URL."
    )
    return made


def postgres_error(error: Exception, *, is_connected: bool) -> StoreError:
    """
    Translate an error from asyncpg.

    Args:
        error: One of asyncpg's own errors, or an `OSError`.
        is_connected: Whether there was a connection, so that the statement may have been sent.
    """
    translated = _postgres_error(error, is_connected=is_connected)
    translated.add_note(remedy_for(error))
    return translated


def _postgres_error(error: Exception, *, is_connected: bool) -> StoreError:
    state = getattr(error, "sqlstate", None) or ""
    reason = _reason(error, state)
    if not is_connected:
        is_lasting = state.startswith(_LASTING) or isinstance(error, ssl.SSLCertVerificationError)
        return StoreUnavailable(reason) if is_lasting else Interrupted(reason, may_have_run=False)
    if state in _SCHEMA_MISMATCH:
        return SchemaMismatch(f"{reason}: the tables are missing, or are not taskd's: run taskd migrate")
    if state == _NO_PRIVILEGE:
        return Refused(reason)
    if (state.startswith(_STATEMENT_ERRORS) and state not in _POOLER_STATES) or isinstance(error, ValueError):
        return StoreError(reason)
    # An ERROR ends the statement's transaction and rolls it back.  An error that ends the connection may arrive after
    # the commit.
    if getattr(error, "severity_en", None) == "ERROR" and state != _UNKNOWN_COMPLETION:
        is_passing = state.startswith(_PASSING)
        return Interrupted(reason, may_have_run=False) if is_passing else Refused(reason)
    return Interrupted(reason, may_have_run=bool(state) or not str(error).startswith(_NOT_SENT))


def _reason(error: Exception, state: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not valid: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "the host name is unknown"
    if _is_tls_refused(error):
        return "the server refuses TLS, or closes the connection before it"
    # Several addresses failed, each for its own reason.
    if type(error) is OSError and error.errno is None:
        return "no address of the host accepts connections"
    name = f"{type(error).__name__} {state}".rstrip()
    return f"{name}: {_WORDS[state]}" if state in _WORDS else name


def _is_tls_refused(error: Exception) -> bool:
    # What asyncpg raises if a server refuses TLS; every other connection error is an instance of a subclass.
    return type(error) is ConnectionError


# SQLite's result codes for a file that cannot be written at the moment.
_SQLITE_REFUSALS = ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC")
# SQLite's result codes for a wrong statement.
_SQLITE_STATEMENT_ERRORS = ("SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_RANGE", "SQLITE_TOOBIG")


def sqlite_error(error: Exception) -> StoreError:
    """Translate an error from SQLite, or an `OSError` about its file."""
    name = getattr(error, "sqlite_errorname", None) or getattr(error, "strerror", None) or type(error).__name__
    # SQLite has no code for this; the message is only matched, not passed on.
    if name == "SQLITE_ERROR" and str(error).startswith(("no such table", "no such column")):
        return SchemaMismatch("its tables are not those of this taskd: run taskd migrate")
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError) or name in _SQLITE_STATEMENT_ERRORS:
        return StoreError(name)
    return Refused(name) if name.startswith(_SQLITE_REFUSALS) else StoreUnavailable(name)
