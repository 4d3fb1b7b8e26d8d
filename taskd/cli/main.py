"""The `taskd` command."""

from __future__ import annotations

import click

from taskd.cli.dev import dev
from taskd.cli.doctor import doctor
from taskd.cli.migrate import migrate
from taskd.cli.openapi import openapi
from taskd.cli.plugins import plugins
from taskd.cli.serve import serve
from taskd.cli.token import token

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="taskd-server")
def main() -> None:
    """A self-hosted task-management server whose parts are plugins."""


for _command in (dev, doctor, migrate, openapi, plugins, serve, token):
    main.add_command(_command)
