"""`taskd openapi`."""

from __future__ import annotations

import click

from taskd.application import Application
from taskd.cli.commands import printing

__all__ = ["openapi"]


@click.command()
def openapi() -> None:
    """
    Print the API document, as the server has it at /openapi.json.

    The document only depends on the plugins, not on other settings.  It needs neither the settings of the auth plugin
    nor a running database.
    """
    with printing() as plugins:
        document = Application.of(plugins, verifies_credentials=False).document
    click.echo(document, nl=False)
