"""The commands that plugins add to the command line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Container

import click

from taskd.plugins import Plugin, PluginError, Plugins
from taskd.settings import read_environ

__all__ = ["added_commands"]


def added_commands(own: Container[str]) -> dict[str, click.Command]:
    """
    Return the commands of the enabled plugins, by name.

    Args:
        own: The names of taskd's own commands.

    Raises:
        SettingsError: A setting is wrong.
        PluginError: A plugin is broken, or two claim the same command.
    """
    found: dict[str, click.Command] = {}
    makers: dict[str, Plugin] = {}
    with contextlib.redirect_stdout(sys.stderr):
        for plugin, command in Plugins.load(read_environ()).commands():
            name = command.name or ""
            if not name or name in own:
                message = f"{plugin} adds a command {name!r}, which is taskd's own: rename it"
                raise PluginError(message, plugin=plugin.name)
            if makers.setdefault(name, plugin) is not plugin:
                both = f"{makers[name]} and {plugin} both add the command {name!r}"
                raise PluginError(f"{both}: uninstall one of them", plugin=plugin.name)
            found[name] = command
    return found
