"""`taskd token`."""

from __future__ import annotations

import click

from taskd.auth import IDENTITY, is_identity
from taskd.cli.commands import printing

__all__ = ["token"]


@click.command()
@click.argument("user")
@click.option(
    "--lifetime", type=click.IntRange(1, 10**9), default=3600, show_default=True, metavar="SECONDS",
    help="How long the token is valid.",
)  # fmt: skip
def token(user: str, lifetime: int) -> None:
    """Print a token for USER, made by the selected auth plugin, for trying things out."""
    if not is_identity(user):
        raise click.BadParameter(f"must be {IDENTITY}", param_hint="USER")
    with printing() as plugins:
        issued = plugins.issue_token(user, lifetime)
    click.echo(issued)
