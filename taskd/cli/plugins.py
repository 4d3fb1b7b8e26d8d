"""`taskd plugins`."""

from __future__ import annotations

import contextlib
import sys

import click

from taskd.cli.commands import print_table
from taskd.plugins import LoadedPlugin, Plugin, PluginError
from taskd.plugins.finder import find
from taskd.plugins.registry import is_serving
from taskd.settings import Settings, load_settings
from taskd.start import print_warnings, starting
from taskd.time_limit import Timeouts

__all__ = ["plugins"]


@click.command()
def plugins() -> None:
    """List the plugins that are installed, selected and disabled.  The exit status is 1 if one is broken."""
    with contextlib.redirect_stdout(sys.stderr), starting() as environ:
        settings = load_settings(Settings, environ)
        installed = find(settings)
        rows = [(plugin.name, *_status(plugin, settings), plugin.distribution) for plugin in installed.plugins]
        print_warnings([*installed.ignored, *environ.mistakes()])
    print_table(rows)
    if any(status == "broken" for _, _, status, _ in rows):
        sys.exit(1)


def _status(plugin: Plugin, settings: Settings) -> tuple[str, str]:
    """Return what *plugin* provides, and whether it is in use."""
    if not plugin.is_enabled:
        return "?", "disabled"
    try:
        loaded = LoadedPlugin(plugin, Timeouts())
    except PluginError as error:
        click.echo(f"taskd: {error}", err=True)
        return "?", "broken"
    provided = ", ".join(hook.removeprefix("taskd_") for hook in loaded.hooks)
    return provided, "selected" if is_serving(loaded, settings) else "installed"
