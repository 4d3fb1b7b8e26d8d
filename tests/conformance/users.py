"""The two users whose tokens the checks get."""

from __future__ import annotations

import functools

from tests.conftest import token_for

__all__ = ["ME", "OTHER", "bearer", "token"]

ME, OTHER = "alice", "bob"


@functools.cache
def token(user: str) -> str:
    """Return the same token of *user* each time."""
    return token_for(user)


def bearer(user: str) -> str:
    """Return the value of the header with that token."""
    return f"Bearer {token(user)}"
