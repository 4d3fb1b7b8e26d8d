"""Users on the command line."""

from __future__ import annotations

import click

from taskd.auth import IDENTITY, is_identity

__all__ = ["check_user", "counted", "user_option"]


def check_user(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Refuse a *value* that can be no user's id."""
    if value is not None and not is_identity(value):
        raise click.BadParameter(f"must be {IDENTITY}")
    return value


user_option = click.option("--user", metavar="USER", callback=check_user, help="Only this user, by the id in tokens.")


def counted(number: int, noun: str) -> str:
    """Return *number* with *noun*, for display."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
