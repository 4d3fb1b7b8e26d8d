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
from taskd.cli.dev import dev
from taskd.cli.doctor import doctor
from taskd.cli.migrate import migrate
from taskd.cli.openapi import openapi
from taskd.cli.plugins import plugins
from taskd.cli.serve import serve
from taskd.cli.token import token
from taskd.plugins import PluginError
from taskd.settings import SettingsError
from taskd.storage import StoreError

__all__ = ["main"]


class _Commands(click.Group):
    """taskd's own commands, and those of plugins, which are only looked for if they are needed."""

    _of_plugins: Mapping[str, click.Command] | None = None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *self._added()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if there is none of that name."""
        return super().get_command(ctx, cmd_name) or self._added().get(cmd_name)

    def _added(self) -> Mapping[str, click.Command]:
        """Return the commands of plugins; none, after saying why, if they cannot be loaded."""
        if self._of_plugins is None:
            try:
                self._of_plugins = added_commands(self.commands)
            except (PluginError, SettingsError) as error:
                click.echo(f"taskd: commands of plugins are not available: {error}", err=True)
                self._of_plugins = {}
        return self._of_plugins

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


for _command in (dev, doctor, migrate, openapi, plugins, serve, token):
    main.add_command(_command)
