"""
What the errors of the drivers mean: whose fault it is, and whether the statement may have been run all the same.

Messages of drivers are never passed on: they quote what was in the statement.
"""

from __future__ import annotations

import socket
import sqlite3
import ssl

from taskd import StoreError, StoreUnavailable

__all__ = ["Interrupted", "Refused", "SchemaUnfit", "postgres_fault", "sqlite_fault"]


class SchemaUnfit(StoreUnavailable):
    """The database answers, and has not the tables that this taskd needs."""


class Refused(StoreUnavailable):
    """The database answers, and does not do this; other statements it may well run: reads, where writes are refused."""


class Interrupted(StoreUnavailable):
    """
    The database cannot be reached, or has not answered, for a reason that may be gone at the next attempt.

    Args:
        reason: What is wrong, for the log.
        may_have_run: The statement was sent, and no answer came: whether it was run is not known.
    """

    def __init__(self, reason: str, *, may_have_run: bool) -> None:
        super().__init__(reason)
        self.may_have_run = may_have_run


# SQLSTATEs, or their first letters (PostgreSQL manual, appendix A).
# What is seen where the schema has not been made.
_SCHEMA_FAULTS = ("42P01", "42703")
# What is seen where it was made for somebody else.
_NO_RIGHT = "42501"
# What is seen behind a PgBouncer that gives every transaction another connection: a prepared statement that is not
# there, or is there already.
_POOLER_FAULTS = ("26000", "42P05")
# The statement, not the server, is at fault.
_STATEMENT_FAULTS = ("0A", "21", "22", "23", "42")
# Another attempt at the same statement may well succeed: serialisation, deadlock, no memory, no connection left.  Not
# all of class 40: 40003 says that nobody knows whether the statement was completed.
_PASSING_FAULTS = ("40001", "40P01", "532", "533", "57P03")
_UNKNOWN_COMPLETION = "40003"
# No attempt will succeed before somebody mends something: wrong user or password, no such database.
_LASTING_FAULTS = ("28", "3D")

# How asyncpg refuses to send anything on a connection where the server has said farewell and has not hung up yet.
_NOT_SENT = "cannot switch to state "

# In words, what an operator can do something about.
_WORDS = {
    "26000": "with a PgBouncer in between, set TASKD_SQL_POOLER=yes",
    "42P05": "with a PgBouncer in between, set TASKD_SQL_POOLER=yes",
    # Start-up parameters that it does not take; or it has clients enough.
    "08P01": "with a PgBouncer in between, set TASKD_SQL_POOLER=yes, or let it have more clients",
    "28P01": "the password is wrong, or there is no such user",
    "28000": "this user may not connect",
    "3D000": "there is no such database",
    "25006": "it takes no writes",
    "42501": "this user may not use the tables; their owner can say GRANT SELECT, INSERT, UPDATE, DELETE ON tasks"
    " TO it, and GRANT SELECT ON taskd_version TO it",
    "53300": "no connection is left",
    "57P03": "it is starting or stopping",
}


def postgres_fault(error: Exception, *, is_connected: bool) -> StoreError:
    """
    Translate what asyncpg raised.

    Args:
        error: asyncpg's own, or an `OSError`.
        is_connected: A connection was there, and the statement may have been sent.
    """
    state = getattr(error, "sqlstate", None) or ""
    reason = _reason(error, state)
    if not is_connected:
        is_lasting = state.startswith(_LASTING_FAULTS) or isinstance(error, ssl.SSLCertVerificationError)
        return StoreUnavailable(reason) if is_lasting else Interrupted(reason, may_have_run=False)
    if state in _SCHEMA_FAULTS:
        return SchemaUnfit(f"{reason}: the tables are not there, or are others: run taskd migrate")
    if state == _NO_RIGHT:
        return Refused(reason)
    if (state.startswith(_STATEMENT_FAULTS) and state not in _POOLER_FAULTS) or isinstance(error, ValueError):
        return StoreError(reason)
    # An ERROR ends the statement's transaction, and nothing of it stays.  Whatever ends the connection may come
    # after the commit.
    if getattr(error, "severity_en", None) == "ERROR" and state != _UNKNOWN_COMPLETION:
        is_passing = state.startswith(_PASSING_FAULTS)
        return Interrupted(reason, may_have_run=False) if is_passing else Refused(reason)
    return Interrupted(reason, may_have_run=bool(state) or not str(error).startswith(_NOT_SENT))


def _reason(error: Exception, state: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not good: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "the name of the host is not known"
    # asyncpg's answer to a server that says no to TLS; all others are of a subclass.
    if type(error) is ConnectionError:
        return "the server refuses TLS, or ends the connection before it"
    name = f"{type(error).__name__} {state}".rstrip()
    return f"{name}: {_WORDS[state]}" if state in _WORDS else name


# Result codes of SQLite that say that it cannot write now.
_SQLITE_REFUSALS = ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC")
# ... and that the statement is at fault.
_SQLITE_STATEMENT_FAULTS = ("SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_RANGE", "SQLITE_TOOBIG")


def sqlite_fault(error: Exception) -> StoreError:
    """Translate what SQLite raised, or the `OSError` of its file."""
    name = getattr(error, "sqlite_errorname", None) or getattr(error, "strerror", None) or type(error).__name__
    # The one message that is looked at, and it is not passed on.
    if name == "SQLITE_ERROR" and str(error).startswith(("no such table", "no such column")):
        return SchemaUnfit("its tables are not those of this taskd: run taskd migrate")
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError) or name in _SQLITE_STATEMENT_FAULTS:
        return StoreError(name)
    return Refused(name) if name.startswith(_SQLITE_REFUSALS) else StoreUnavailable(name)
