"""What an error of asyncpg's means: what was not done for certain, and what may be tried again."""

from __future__ import annotations

import ssl

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd import StoreError, StoreUnavailable
from taskd_sql.faults import Interrupted, Refused, SchemaUnfit, postgres_fault
from tests.faults import SECRET_TEXT

CLASSES = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=5, max_size=5)
STATES = st.sampled_from(["00000", "08003", "08P01", "26000", "40001", "40P01", "42P05", "53300", "57P01", "XX000"])
SEVERITIES = st.sampled_from([None, "DEBUG", "ERROR", "FATAL", "PANIC", "WARNING"])


class TestFault:
    """`postgres_fault`, for whatever asyncpg may raise."""

    @given(state=CLASSES | STATES, severity=SEVERITIES, is_connected=st.booleans())
    def test_only_what_certainly_was_not_run_is_said_to_be_so(
        self, state: str, severity: str | None, is_connected: bool
    ) -> None:
        """Without a connection nothing can have been run, and with one only an ERROR takes everything back."""
        error = asyncpg.PostgresError(SECRET_TEXT)
        error.sqlstate, error.severity_en = state, severity
        error.detail = error.hint = SECRET_TEXT
        fault = postgres_fault(error, is_connected=is_connected)

        if isinstance(fault, Interrupted):
            assert not is_connected or severity == "ERROR" or fault.may_have_run
        assert SECRET_TEXT not in str(fault)
        assert is_connected or isinstance(fault, StoreUnavailable)

    @given(state=CLASSES | STATES, is_connected=st.booleans())
    def test_whatever_ends_the_connection_is_not_the_client_s_fault(self, state: str, is_connected: bool) -> None:
        """The outcome of a connection that ends is in doubt; it is no statement that was refused."""
        error = asyncpg.PostgresError(SECRET_TEXT)
        error.sqlstate, error.severity_en = f"57{state[2:]}", "FATAL"

        assert isinstance(postgres_fault(error, is_connected=is_connected), StoreUnavailable)

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
        """If there was a connection, the statement may have been run; a read is tried again in either case."""
        fault = postgres_fault(error, is_connected=is_connected)

        assert isinstance(fault, Interrupted)
        assert is_connected == fault.may_have_run
        assert SECRET_TEXT not in str(fault)

    @pytest.mark.parametrize(("state", "may_have_run"), [(None, False), ("57P01", True)])
    def test_what_asyncpg_did_not_send_was_not_run(self, state: str | None, may_have_run: bool) -> None:
        """asyncpg's own words are believed, and the same ones from a server are not."""
        error = asyncpg.PostgresError("cannot switch to state 11; another operation (2) is in progress")
        error.sqlstate = state
        fault = postgres_fault(error, is_connected=True)

        assert isinstance(fault, Interrupted)
        assert may_have_run == fault.may_have_run

    @pytest.mark.parametrize("state", ["26000", "42P05", "08P01"])
    @pytest.mark.parametrize("is_connected", [True, False])
    def test_a_pooler_is_pointed_at(self, state: str, is_connected: bool) -> None:
        """What a PgBouncer makes of named statements says which setting is missing, and is never a 500."""
        fault = postgres_fault(made(state), is_connected=is_connected)

        assert isinstance(fault, StoreUnavailable)
        assert "with a PgBouncer in between, set TASKD_SQL_POOLER=yes" in str(fault)

    @pytest.mark.parametrize("state", ["28P01", "28000", "3D000"])
    def test_what_somebody_must_mend_is_not_tried_again(self, state: str) -> None:
        """A wrong password does not become right: repeating it would lock the account where there are such rules."""
        fault = postgres_fault(made(state, "FATAL"), is_connected=False)

        assert isinstance(fault, StoreUnavailable)
        assert not isinstance(fault, Interrupted)

    @pytest.mark.parametrize(
        ("state", "kind"),
        [
            ("42P01", SchemaUnfit),
            ("42501", Refused),
            ("42703", SchemaUnfit),
            ("23505", StoreError),
            ("42601", StoreError),
        ],
    )
    def test_a_refused_statement_is_the_schema_s_fault_or_ours(self, state: str, kind: type[StoreError]) -> None:
        """A schema that is missing can be mended, while the server serves; another refusal is a defect."""
        assert kind is type(postgres_fault(made(state), is_connected=True))

    def test_an_argument_that_asyncpg_refuses_is_our_fault(self) -> None:
        """It was not sent: the server is well."""
        assert StoreError is type(postgres_fault(asyncpg.DataError(SECRET_TEXT), is_connected=True))


def made(state: str, severity: str = "ERROR") -> asyncpg.PostgresError:
    error = asyncpg.PostgresError(SECRET_TEXT)
    error.sqlstate, error.severity_en = state, severity
    return error
