"""Find, load and select plugins."""

from taskd.plugins.finder import Plugin, PluginError
from taskd.plugins.loader import LoadedPlugin, blaming
from taskd.plugins.registry import Plugins, Source

__all__ = ["LoadedPlugin", "Plugin", "PluginError", "Plugins", "Source", "blaming"]
