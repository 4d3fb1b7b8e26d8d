"""The commands that plugins add to the command line."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Container

import click

from taskd.plugins import Plugin, PluginError, Plugins
from taskd.settings import read_environ

__all__ = ["added_commands"]

_NAME = re.compile(r"\w[\w-]*", re.ASCII)


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
            name = command.name
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                message = (
                    f"{plugin} adds a command {name!r}: call it a word of letters, digits, hyphens and underscores"
                )
                raise PluginError(message, plugin=plugin.name)
            if name in own:
                message = f"{plugin} adds a command {name!r}, which is taskd's own: rename it"
                raise PluginError(message, plugin=plugin.name)
            if name in found:
                raise PluginError(_claimed_twice(name, makers[name], plugin), plugin=plugin.name)
            found[name], makers[name] = command, plugin
    return found


def _claimed_twice(name: str, first: Plugin, second: Plugin) -> str:
    if first is second:
        return f"{first} adds the command {name!r} twice: rename one of them"
    return f"{first} and {second} both add the command {name!r}: uninstall one of them"
