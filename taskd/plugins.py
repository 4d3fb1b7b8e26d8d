"""
Plugins: find them, check them, load them, and select those that serve.

Finding reads metadata only; what is not allowed is never imported.  Auth and storage are selected by the plugin's name,
never by the order of registration: installing a package must not change who verifies tokens.  Every failure stops the
start and names the plugin and the distribution that it came from.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
import pluggy
from starlette.authentication import AuthenticationBackend
from starlette.routing import Route

from taskd import hooks
from taskd.conversion import encode
from taskd.settings import Settings, SettingsError, load_settings
from taskd.storage import TaskStore

__all__ = ["Claimant", "LoadedPlugin", "Plugin", "PluginError", "Plugins", "find"]

HOOKS = ("taskd_auth", "taskd_security_scheme", "taskd_storage", "taskd_routes")


@attrs.frozen
class Claimant:
    """Who brought a route: a *name* for programs, and *words* for people."""

    name: str
    words: str

    def __str__(self) -> str:
        return self.words


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


class LoadedPlugin:
    """A plugin that is imported and checked.  It has a pluggy manager of its own: no other plugin has a say in it."""

    def __init__(self, plugin: Plugin) -> None:
        """
        Import *plugin*.

        Raises:
            PluginError: It cannot be imported, or implements an unknown hook or none, or one that it does not mark.
        """
        self.plugin = plugin
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        try:
            module = plugin.entry_point.load()
            self._manager.register(module, plugin.name)
            self._manager.check_pending()
        except (Exception, SystemExit) as error:
            raise PluginError(f"{plugin} cannot be loaded: {_one_line(error)}") from error
        unmarked = [hook for hook in HOOKS if hasattr(module, hook) and hook not in self.hooks]
        if unmarked:
            raise PluginError(f"{plugin} does not mark {_join(unmarked)} with taskd.hookimpl")
        if not self.hooks:
            raise PluginError(f"{plugin} implements no hook; there are {_join(HOOKS)}")
        for hook in self.hooks:
            if any(inspect.iscoroutinefunction(implementation.function) for implementation in self._of(hook)):
                raise PluginError(f"{plugin} defines {hook} with async def: hooks are called before anything runs")

    def _of(self, hook: str) -> list[pluggy.HookImpl]:
        implementations: list[pluggy.HookImpl] = getattr(self._manager.hook, hook).get_hookimpls()
        return implementations

    @property
    def hooks(self) -> list[str]:
        """The hooks that the plugin implements."""
        return [hook for hook in HOOKS if self._of(hook)]

    def call(self, hook: str, kind: type[Any], **arguments: object) -> Any:
        """Return what the plugin's *hook* makes, which must be a *kind*."""
        try:
            results = getattr(self._manager.hook, hook)(**arguments)
        except SettingsError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(f"{self.plugin} failed in {hook}: {_one_line(error)}") from error
        # pluggy leaves None out, and a plugin may have given two functions the name of one hook.
        return self.checked(results[0] if len(results) == 1 else results or None, kind, hook)

    def checked(self, result: Any, kind: type[Any], hook: str) -> Any:
        """Return *result* of *hook*, which must be a *kind*."""
        if not isinstance(result, kind):
            raise PluginError(f"{self.plugin} returned a {type(result).__name__} from {hook}, not a {kind.__name__}")
        return result


@attrs.frozen
class Plugins:
    """
    The enabled plugins, and what is selected of them.

    Each method raises `SettingsError` if a setting is wrong, the selection itself among them, and `PluginError` if a
    plugin is broken.

    Attributes:
        environ: What plugins read their settings from.
        settings: The core's own, by which plugins are enabled and selected.
    """

    environ: Mapping[str, str]
    settings: Settings
    _loaded: Mapping[str, LoadedPlugin]

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Plugins:
        """Find the plugins that *environ* enables, and load them."""
        settings = load_settings(Settings, environ)
        loaded = {plugin.name: LoadedPlugin(plugin) for plugin in find(settings) if plugin.enabled}
        return cls(environ, settings, loaded)

    def auth(self) -> AuthenticationBackend:
        """Return the backend of the auth plugin that is selected."""
        plugin = self._selected("TASKD_AUTH", self.settings.auth, "taskd_auth")
        backend: AuthenticationBackend = plugin.call("taskd_auth", AuthenticationBackend, environ=self.environ)
        return backend

    def storage(self) -> TaskStore:
        """Return the store of the storage plugin that is selected."""
        plugin = self._selected("TASKD_STORAGE", self.settings.storage, "taskd_storage")
        store: TaskStore = plugin.call("taskd_storage", TaskStore, environ=self.environ)
        return store

    def security_scheme(self) -> Mapping[str, object] | None:
        """Return how the auth plugin that is selected wants to be sent credentials, if it says so."""
        plugin = self._selected("TASKD_AUTH", self.settings.auth, "taskd_auth")
        if "taskd_security_scheme" not in plugin.hooks:
            return None
        scheme = dict(plugin.call("taskd_security_scheme", Mapping))
        try:
            encode(scheme)
        # No JSON, no UTF-8, no end: a broken plugin stops the start.
        except Exception as error:
            reason = _one_line(error)
            raise PluginError(f"{plugin.plugin} returned no JSON from taskd_security_scheme: {reason}") from error
        return scheme

    def routes(self, store: TaskStore) -> list[tuple[Claimant, Route]]:
        """Return the routes of all plugins, each with the plugin that brought it."""
        found = []
        for loaded in self._loaded.values():
            if "taskd_routes" in loaded.hooks:
                claimant = Claimant(loaded.plugin.name, str(loaded.plugin))
                routes = loaded.call("taskd_routes", Sequence, store=store, environ=self.environ)
                found += [(claimant, loaded.checked(route, Route, "taskd_routes")) for route in routes]
        return found

    def _selected(self, variable: str, name: str, hook: str) -> LoadedPlugin:
        able = [other for other, loaded in self._loaded.items() if hook in loaded.hooks]
        if name not in able:
            message = f"no enabled plugin {name!r} provides this; those that do: {_join(able)}"
            raise SettingsError(variable, message)
        return self._loaded[name]


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
