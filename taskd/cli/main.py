"""The `taskd` command."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import click

from taskd.cli.conformance import conformance
from taskd.cli.dev import dev
from taskd.cli.doctor import doctor
from taskd.cli.migrate import migrate
from taskd.cli.openapi import openapi
from taskd.cli.plugins import plugins
from taskd.cli.serve import serve
from taskd.cli.token import token

__all__ = ["main"]


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; if the operating system makes it fail, say so in one line."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            # If the reader of the output is gone, click exits quietly.
            if error.errno == errno.EPIPE:
                raise
            # Otherwise Python would try again, at exit, to write the rest of the output.
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
            where = f": {error.filename}" if error.filename else ""
            sys.exit(f"taskd: the operating system reported an error: {error.strerror}{where}")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="taskd-server")
def main() -> None:
    """A self-hosted task-management server whose parts are plugins."""


for _command in (conformance, dev, doctor, migrate, openapi, plugins, serve, token):
    main.add_command(_command)
