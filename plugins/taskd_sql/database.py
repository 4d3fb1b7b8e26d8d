"""What the store asks of a database, whichever kind it is, and how long it may take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import Dialect

__all__ = ["CALL_TIMEOUT_S", "CANCEL_TIMEOUT_S", "Database"]

# The whole of a call: waiting for a turn, connecting, running, and trying again.  With the time for cancelling, and
# what comes on top under load, less than the ten seconds that clients are promised.
CALL_TIMEOUT_S = 8.0
CANCEL_TIMEOUT_S = 1.0


class Database(Protocol):
    """A database that takes compiled statements.  It connects at the first use, in the event loop of that moment."""

    @property
    def name(self) -> str:
        """Return what to call it in the log."""
        ...

    @property
    def dialect(self) -> Dialect:
        """Return the dialect for which statements are to be compiled."""
        ...

    async def fetch(self, sql: str, arguments: Sequence[Any] = (), *, is_read: bool = True) -> Sequence[Sequence[Any]]:
        """
        Run one statement and return its rows.  What it changed is durable by then.

        Args:
            sql: The statement, with placeholders as the dialect has them.
            arguments: The values for the placeholders.
            is_read: It changes nothing, so that it may be run again when no answer comes.

        Raises:
            StoreUnavailable: It could not be run, or did not answer, in `CALL_TIMEOUT_S` and a second.
            StoreError: The database refuses the statement.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
