"""`taskd openapi`."""

from __future__ import annotations

import click

from taskd.application import Application
from taskd.cli.commands import printing

__all__ = ["openapi"]


@click.command()
def openapi() -> None:
    """
    Print the API document that the server serves at /openapi.json.

    The document depends only on the plugins, not on other settings.  Printing it requires neither the settings of the
    auth plugin nor a running database.
    """
    with printing() as plugins:
        document = Application.of(plugins, verifies_credentials=False).document
    click.echo(document, nl=False)
