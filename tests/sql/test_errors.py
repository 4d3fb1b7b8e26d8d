"""Translate asyncpg's errors: what was certainly not run, and what may be retried."""

from __future__ import annotations

import ssl

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.storage import StoreError, StoreUnavailable
from taskd_sql.engine.errors import Interrupted, Refused, SchemaMismatch, postgres_error
from tests.support.outages import SECRET_TEXT

CLASSES = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=5, max_size=5)
STATES = st.sampled_from(["00000", "08003", "08P01", "26000", "40001", "40P01", "42P05", "53300", "57P01", "XX000"])
SEVERITIES = st.sampled_from([None, "DEBUG", "ERROR", "FATAL", "PANIC", "WARNING"])


class TestPostgresError:
    """`postgres_error`, for anything that asyncpg may raise."""

    @given(state=CLASSES | STATES, severity=SEVERITIES, is_connected=st.booleans())
    def test_only_errors_that_undo_a_statement_rule_out_that_it_was_run(
        self, state: str, severity: str | None, is_connected: bool
    ) -> None:
        """Without a connection nothing can have been run; with one, only an ERROR undoes everything."""
        error = asyncpg.PostgresError(SECRET_TEXT)
        error.sqlstate, error.severity_en = state, severity
        error.detail = error.hint = SECRET_TEXT
        translated = postgres_error(error, is_connected=is_connected)

        if isinstance(translated, Interrupted):
            assert not is_connected or severity == "ERROR" or translated.may_have_run
        assert SECRET_TEXT not in str(translated)
        assert is_connected or isinstance(translated, StoreUnavailable)

    @given(state=CLASSES | STATES, is_connected=st.booleans())
    def test_the_end_of_a_connection_is_an_outage(self, state: str, is_connected: bool) -> None:
        """The statement may have been run; it was not rejected."""
        error = asyncpg.PostgresError(SECRET_TEXT)
        error.sqlstate, error.severity_en = f"57{state[2:]}", "FATAL"

        assert isinstance(postgres_error(error, is_connected=is_connected), StoreUnavailable)

    @pytest.mark.parametrize(
        "error",
        [
            ConnectionResetError(SECRET_TEXT),
            BrokenPipeError(SECRET_TEXT),
            OSError(SECRET_TEXT),
            ssl.SSLError(SECRET_TEXT),
            asyncpg.InterfaceError(SECRET_TEXT),
            asyncpg.InternalClientError(SECRET_TEXT),
            asyncpg.ConnectionDoesNotExistError(SECRET_TEXT),
        ],
    )
    @pytest.mark.parametrize("is_connected", [True, False])
    def test_a_lost_connection_leaves_a_statement_in_doubt(self, error: Exception, is_connected: bool) -> None:
        """If there was a connection, the statement may have been run."""
        translated = postgres_error(error, is_connected=is_connected)

        assert isinstance(translated, Interrupted)
        assert is_connected == translated.may_have_run
        assert SECRET_TEXT not in str(translated)

    @pytest.mark.parametrize(("state", "may_have_run"), [(None, False), ("57P01", True)])
    def test_a_statement_that_asyncpg_did_not_send_was_not_run(self, state: str | None, may_have_run: bool) -> None:
        """asyncpg's own message is trusted, but not the same message from a server."""
        error = asyncpg.PostgresError("cannot switch to state 11; another operation (2) is in progress")
        error.sqlstate = state
        translated = postgres_error(error, is_connected=True)

        assert isinstance(translated, Interrupted)
        assert may_have_run == translated.may_have_run

    @pytest.mark.parametrize("state", ["26000", "42P05", "08P01"])
    @pytest.mark.parametrize("is_connected", [True, False])
    def test_a_pooler_is_suggested(self, state: str, is_connected: bool) -> None:
        """Errors that a PgBouncer causes name the missing setting, and are never a 500."""
        translated = postgres_error(made(state), is_connected=is_connected)

        assert isinstance(translated, StoreUnavailable)
        assert "behind a PgBouncer, set TASKD_SQL_POOLER=yes" in str(translated)

    @pytest.mark.parametrize("state", ["28P01", "28000", "3D000"])
    def test_lasting_errors_are_not_retried(self, state: str) -> None:
        """Retrying with a wrong password could lock the account."""
        translated = postgres_error(made(state, "FATAL"), is_connected=False)

        assert isinstance(translated, StoreUnavailable)
        assert not isinstance(translated, Interrupted)

    @pytest.mark.parametrize(
        ("state", "kind"),
        [
            ("42P01", SchemaMismatch),
            ("42501", Refused),
            ("42703", SchemaMismatch),
            ("23505", StoreError),
            ("42601", StoreError),
        ],
    )
    def test_a_rejected_statement_is_the_schema_s_fault_or_taskd_s(self, state: str, kind: type[StoreError]) -> None:
        """A wrong schema can be fixed while the server runs; any other rejection is a bug."""
        assert kind is type(postgres_error(made(state), is_connected=True))

    def test_an_argument_that_asyncpg_rejects_is_taskd_s_fault(self) -> None:
        """It was not sent, so the server is fine."""
        assert StoreError is type(postgres_error(asyncpg.DataError(SECRET_TEXT), is_connected=True))


def made(state: str, severity: str = "ERROR") -> asyncpg.PostgresError:
    error = asyncpg.PostgresError(SECRET_TEXT)
    error.sqlstate, error.severity_en = state, severity
    return error
