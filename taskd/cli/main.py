"""The `taskd` command."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from taskd.cli.added import added_commands
from taskd.cli.config import config
from taskd.cli.conformance import conformance
from taskd.cli.dev import dev
from taskd.cli.doctor import doctor
from taskd.cli.migrate import migrate
from taskd.cli.new import new
from taskd.cli.openapi import openapi
from taskd.cli.plugins import plugins
from taskd.cli.serve import serve
from taskd.cli.token import token
from taskd.plugins import PluginError
from taskd.settings import SettingsError
from taskd.storage import StoreError

__all__ = ["main"]

# Where click's context keeps the commands of plugins.
ADDED = "taskd.added_commands"


class _Commands(click.Group):
    """taskd's own commands, and those of plugins, which are only looked for if they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *self._added(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if there is none of that name."""
        return super().get_command(ctx, cmd_name) or self._added(ctx).get(cmd_name)

    def _added(self, ctx: click.Context) -> Mapping[str, click.Command]:
        """Return the commands of plugins; none, after saying why, if they cannot be loaded."""
        if ADDED not in ctx.meta:
            try:
                ctx.meta[ADDED] = added_commands(self.commands)
            except (PluginError, SettingsError) as error:
                click.echo(f"taskd: commands of plugins are not available: {error}", err=True)
                ctx.meta[ADDED] = {}
        found: Mapping[str, click.Command] = ctx.meta[ADDED]
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; if it fails for a reason that a user can change, say so in one line."""
        try:
            return super().invoke(ctx)
        except (PluginError, SettingsError, StoreError) as error:
            sys.exit(f"taskd: {error}")
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


for _command in (config, conformance, dev, doctor, migrate, new, openapi, plugins, serve, token):
    main.add_command(_command)
