"""The `taskd` command."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import click

__all__ = ["main"]

# taskd's own commands, and where each is imported from when it is needed: a health check must start quickly.
OWN = {
    "backup": "taskd.cli.data.backup:backup",
    "config": "taskd.cli.config:config",
    "conformance": "taskd.cli.conformance:conformance",
    "dev": "taskd.cli.dev:dev",
    "doctor": "taskd.cli.doctor:doctor",
    "erase": "taskd.cli.data.erase:erase",
    "export": "taskd.cli.data.export:export",
    "healthcheck": "taskd.cli.healthcheck:healthcheck",
    "import": "taskd.cli.data.importing:import_",
    "migrate": "taskd.cli.migrate:migrate",
    "new": "taskd.cli.new:new",
    "openapi": "taskd.cli.openapi:openapi",
    "plugins": "taskd.cli.plugins:plugins",
    "restore": "taskd.cli.data.backup:restore",
    "serve": "taskd.cli.serve:serve",
    "stats": "taskd.cli.data.stats:stats",
    "token": "taskd.cli.token:token",
}
# Where click's context keeps the commands of plugins.
ADDED = "taskd.added_commands"


class _Commands(click.Group):
    """taskd's own commands, and those of plugins, each of which is only imported or looked for if it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*OWN, *self._added(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if there is none of that name."""
        if cmd_name in OWN:
            command: click.Command = resolve_name(OWN[cmd_name])
            return command
        return self._added(ctx).get(cmd_name)

    def _added(self, ctx: click.Context) -> Mapping[str, click.Command]:
        """Return the commands of plugins; none, after saying why, if they cannot be loaded."""
        if ADDED not in ctx.meta:
            from taskd.cli.added import added_commands  # noqa: PLC0415  imports the core
            from taskd.plugins import PluginError  # noqa: PLC0415
            from taskd.settings import SettingsError  # noqa: PLC0415

            try:
                ctx.meta[ADDED] = added_commands(OWN)
            except (PluginError, SettingsError) as error:
                click.echo(f"taskd: commands of plugins are not available: {error}", err=True)
                ctx.meta[ADDED] = {}
        found: Mapping[str, click.Command] = ctx.meta[ADDED]
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; if it fails for a reason that a user can change, say so in one line."""
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
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except Exception as error:
            if not _is_correctable(error):
                raise
            sys.exit(f"taskd: {error}")


def _is_correctable(error: Exception) -> bool:
    """Tell whether the message of *error* says what a user can do about it."""
    from taskd.plugins import PluginError  # noqa: PLC0415  imports the core
    from taskd.settings import SettingsError  # noqa: PLC0415
    from taskd.storage import StoreError  # noqa: PLC0415

    return isinstance(error, (PluginError, SettingsError, StoreError))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="taskd-server")
def main() -> None:
    """A self-hosted task-management server whose parts are plugins."""
