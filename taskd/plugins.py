"""
Plugins: find them, check them, load them, and select those that serve.

Finding reads metadata only; what is not allowed is never imported.  Auth and storage are selected by the plugin's name,
never by the order of registration: installing a package must not change who verifies tokens.  Every failure stops the
start and names the plugin and the distribution that it came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
import pluggy
from starlette.authentication import AuthenticationBackend
from starlette.routing import Route

from taskd import hooks
from taskd.settings import Settings, SettingsError
from taskd.storage import TaskStore

__all__ = ["Plugin", "PluginError", "Plugins", "find"]

HOOKS = ("taskd_auth", "taskd_storage", "taskd_routes")


@attrs.frozen
class Plugin:
    """An installed plugin: its entry point's *name*, where it comes from, and whether it may be imported."""

    name: str
    distribution: str
    enabled: bool
    entry_point: EntryPoint = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.distribution}"


class PluginError(Exception):
    """A plugin is broken or ambiguous, and the server does not start."""


def find(settings: Settings) -> list[Plugin]:
    """
    Return all installed plugins by name, without importing any.

    Raises:
        PluginError: Two distributions claim one name.
        SettingsError: `TASKD_PLUGINS` or `TASKD_DISABLED_PLUGINS` names a plugin that is not installed.
    """
    installed = [_describe(entry_point, settings) for entry_point in entry_points(group=hooks.PROJECT)]
    installed.sort(key=lambda plugin: (plugin.name, plugin.distribution))
    names = Counter(plugin.name for plugin in installed)
    for variable, wanted in (
        ("TASKD_PLUGINS", settings.plugins or ()),
        ("TASKD_DISABLED_PLUGINS", settings.disabled_plugins),
    ):
        for name in sorted(set(wanted) - set(names)):
            raise SettingsError(variable, f"no plugin {name!r} is installed, only {_join(names)}")
    for name, count in names.items():
        claimants = [plugin.distribution for plugin in installed if plugin.name == name and plugin.enabled]
        if count > 1 and claimants:
            raise PluginError(f"plugin {name!r} is claimed by {_join(claimants)}: uninstall all but one")
    return installed


def _describe(entry_point: EntryPoint, settings: Settings) -> Plugin:
    allowed = settings.plugins is None or entry_point.name in settings.plugins
    distribution = entry_point.dist
    return Plugin(
        name=entry_point.name,
        distribution=f"{distribution.name} {distribution.version}" if distribution else "an unknown distribution",
        enabled=allowed and entry_point.name not in settings.disabled_plugins,
        entry_point=entry_point,
    )


def _join(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


class Plugins:
    """The enabled plugins, imported and checked; the calls of the hooks go through here."""

    def __init__(self, found: Iterable[Plugin]) -> None:
        """
        Import those of *found* that are enabled.

        Raises:
            PluginError: One cannot be imported, implements an unknown hook or none, or an argument that no hook has.
        """
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        self._loaded = {plugin.name: plugin for plugin in found if plugin.enabled}
        for plugin in self._loaded.values():
            self._load(plugin)

    def _load(self, plugin: Plugin) -> None:
        try:
            module = plugin.entry_point.load()
            self._manager.register(module, plugin.name)
            self._manager.check_pending()
        except (Exception, SystemExit) as error:
            raise PluginError(f"{plugin} cannot be loaded: {type(error).__name__}: {error}") from error
        unmarked = [name for name in HOOKS if hasattr(module, name) and not self._implements(plugin.name, name)]
        if unmarked:
            raise PluginError(f"{plugin} does not mark {_join(unmarked)} with taskd.hookimpl")
        if not self.hooks_of(plugin.name):
            raise PluginError(f"{plugin} implements no hook; there are {_join(HOOKS)}")

    def _implements(self, name: str, hook: str) -> bool:
        return any(impl.plugin_name == name for impl in getattr(self._manager.hook, hook).get_hookimpls())

    def hooks_of(self, name: str) -> list[str]:
        """Return the hooks that the plugin called *name* implements."""
        return [hook for hook in HOOKS if self._implements(name, hook)]

    def auth(self, name: str, environ: Mapping[str, str]) -> AuthenticationBackend:
        """Return the backend of the auth plugin called *name*."""
        backend: AuthenticationBackend = self._selected(
            "TASKD_AUTH", name, "taskd_auth", AuthenticationBackend, environ
        )
        return backend

    def storage(self, name: str, environ: Mapping[str, str]) -> TaskStore:
        """Return the store of the storage plugin called *name*."""
        store: TaskStore = self._selected("TASKD_STORAGE", name, "taskd_storage", TaskStore, environ)
        return store

    def routes(self, store: TaskStore, environ: Mapping[str, str]) -> list[tuple[str, Route]]:
        """Return the routes of all plugins, each with words for the plugin that brought it."""
        found = []
        for plugin in self._loaded.values():
            if self._implements(plugin.name, "taskd_routes"):
                routes = self._call(plugin, "taskd_routes", store=store, environ=environ)
                found += [(str(plugin), _checked(route, Route, plugin, "taskd_routes")) for route in routes]
        return found

    def _selected(self, variable: str, name: str, hook: str, kind: type[Any], environ: Mapping[str, str]) -> Any:
        """Return what the *hook* of the plugin called *name* makes, and of no other plugin."""
        if not self._implements(name, hook):
            able = _join(other for other in self._loaded if self._implements(other, hook))
            raise SettingsError(variable, f"no enabled plugin {name!r} provides this; those that do: {able}")
        plugin = self._loaded[name]
        return _checked(self._call(plugin, hook, environ=environ), kind, plugin, hook)

    def _call(self, plugin: Plugin, hook: str, **arguments: object) -> Any:
        # Without the others not even a hook wrapper of theirs has a say.
        others = [module for name, module in self._manager.list_name_plugin() if name != plugin.name]
        try:
            [result] = self._manager.subset_hook_caller(hook, remove_plugins=others)(**arguments)
        except SettingsError:
            raise
        except Exception as error:
            raise PluginError(f"{plugin} failed in {hook}: {type(error).__name__}: {error}") from error
        return result


def _checked(result: Any, kind: type[Any], plugin: Plugin, hook: str) -> Any:
    if not isinstance(result, kind):
        raise PluginError(f"{plugin} returned a {type(result).__name__} from {hook}, not a {kind.__name__}")
    return result
