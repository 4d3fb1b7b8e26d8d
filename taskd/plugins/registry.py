"""
Select plugins, and get what they provide.

The auth and storage plugins are selected by name, never by the order of registration: installing a package must not
change who verifies credentials.  If a plugin fails, taskd does not start; the error names it and its distribution.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import attrs
import msgspec
from starlette.authentication import AuthenticationBackend
from starlette.routing import Route

from taskd import hooks
from taskd.auth import REQUEST_HEADERS, TokenIssuer, TrialSettings
from taskd.closing import close
from taskd.environment import Environ
from taskd.plugins.finder import Plugin, PluginError, find, joined
from taskd.plugins.loader import LoadedPlugin, blaming, one_line
from taskd.settings import Settings, SettingsError, load_settings
from taskd.storage import Located, Location, Migratable, TaskStore
from taskd.time_limit import Timeouts

__all__ = ["Plugins", "Source", "is_serving"]

# Visible ASCII characters, which include all those that a header's name may contain.
_VISIBLE = re.compile(r"[\x21-\x7e]+")


@attrs.frozen
class Source:
    """The provider of a route: its *name*, and the *words* that messages use for it."""

    name: str
    words: str

    def __str__(self) -> str:
        return self.words


# Without slots, so that the instance's dictionary shows which parts have been created.
@attrs.define(eq=False, slots=False)
class Plugins:
    """
    The enabled plugins of one application or command.

    Each plugin is loaded once, and each hook is called at most once.  Methods and properties raise `SettingsError` if a
    setting is wrong, including those that select plugins, and `PluginError` if a plugin is broken.

    Attributes:
        environ: What plugins read their settings from.
        settings: The core's own settings, which enable and select plugins.
        ignored: A sentence for each folder of metadata that names plugins but is ignored.
        timeouts: How long the plugins may take.
        is_closed: Whether `close` has been called.
    """

    environ: Environ
    settings: Settings
    ignored: tuple[str, ...]
    timeouts: Timeouts
    _loaded: Mapping[str, LoadedPlugin]
    is_closed: bool = attrs.field(init=False, default=False)

    @classmethod
    def load(cls, environ: Mapping[str, str], timeouts: Timeouts | None = None) -> Plugins:
        """Find the plugins that *environ* enables, and load them."""
        timeouts = timeouts or Timeouts()
        environ = Environ.of(environ)
        settings = load_settings(Settings, environ)
        installed = find(settings)
        enabled = [plugin for plugin in installed.plugins if plugin.is_enabled]
        loaded = {plugin.name: LoadedPlugin(plugin, timeouts) for plugin in enabled}
        return cls(environ, settings, installed.ignored, timeouts, loaded)

    @property
    def auth_plugin(self) -> Plugin:
        """Return the selected auth plugin."""
        return self._auth().plugin

    @property
    def storage_plugin(self) -> Plugin:
        """Return the selected storage plugin."""
        return self._storage().plugin

    @functools.cached_property
    def backend(self) -> AuthenticationBackend:
        """The backend of the selected auth plugin."""
        return self._auth().call(hooks.taskd_auth, AuthenticationBackend, environ=self.environ)

    @functools.cached_property
    def store(self) -> TaskStore:
        """The store of the selected storage plugin."""
        return self._storage().call(hooks.taskd_storage, TaskStore, environ=self.environ)  # type: ignore[type-abstract]

    @functools.cached_property
    def security_scheme(self) -> Mapping[str, object] | None:
        """How clients send credentials; None if the selected auth plugin does not say."""
        loaded, hook = self._auth(), hooks.taskd_security_scheme
        if not loaded.implements(hook):
            return None
        returned = loaded.call(hook, Mapping)  # type: ignore[type-abstract]
        with loaded.blaming(hook):
            scheme = dict(returned)
        try:
            msgspec.json.encode(scheme)
        # The scheme is not JSON, not UTF-8, or recursive, so taskd does not start.
        except Exception as error:
            raise PluginError(f"{loaded.plugin} did not return JSON from {hook.__name__}: {one_line(error)}") from error
        return scheme

    @property
    def warnings(self) -> list[str]:
        """Warnings about the installation and about the names of settings."""
        return [*self.ignored, *self.environ.mistakes()]

    def request_headers(self, backend: AuthenticationBackend) -> Sequence[str]:
        """Return the names of the request headers from which *backend* reads credentials."""
        plugin = self.auth_plugin
        with blaming(plugin, "failed when its backend was asked for request_headers"):
            names = getattr(backend, "request_headers", REQUEST_HEADERS)
            is_valid = not isinstance(names, str) and all(_VISIBLE.fullmatch(name) for name in names)
        if not is_valid:
            raise PluginError(f"{plugin} must give request_headers as a list of the names of headers")
        return tuple(names)

    def issue_token(self, user_id: str, lifetime_s: int) -> str:
        """Return a token for *user_id*, issued by the selected auth plugin."""
        loaded, backend = self._auth(), self.backend
        if not _is_a(TokenIssuer, backend, loaded.plugin):
            name = loaded.plugin.name
            raise SettingsError(
                "TASKD_AUTH", f"the plugin {name!r} cannot issue tokens: get one from the service that does"
            )
        with loaded.owning_settings(), blaming(loaded.plugin, "failed to issue a token", SettingsError):
            return cast("TokenIssuer", backend).issue_token(user_id, lifetime_s)

    def migratable(self) -> Migratable:
        """Return the store of the selected storage plugin, which must have a schema."""
        if not _is_a(Migratable, self.store, self.storage_plugin):
            name = self.storage_plugin.name
            raise SettingsError("TASKD_STORAGE", f"the plugin {name!r} has no schema to migrate")
        return cast("Migratable", self.store)

    def location(self) -> Location | None:
        """Return where the tasks are; None if the selected storage plugin does not say."""
        plugin = self.storage_plugin
        if not _is_a(Located, self.store, plugin):
            return None
        with blaming(plugin, "failed when its store was asked for its location"):
            location: object = cast("Located", self.store).location
        if not isinstance(location, Location):
            raise PluginError(f"{plugin} must give the location of its store as a taskd.storage.Location")
        return location

    def complete_for_trial(self, file: Path) -> str:
        """
        Add the settings that the selected auth plugin needs for a trial, and return its note about them.

        Args:
            file: The path beside which the plugin may store a file.
        """
        loaded, hook = self._auth(), hooks.taskd_trial_settings
        if not loaded.implements(hook):
            return ""
        trial = loaded.call(hook, TrialSettings, environ=self.environ, file=file)
        with loaded.blaming(hook):
            self.environ = self.environ.completed(trial.settings)
        return trial.note

    def routes(self, store: TaskStore) -> list[tuple[Source, Route]]:
        """Return the routes that all plugins provide for *store*, each with its source."""
        found, hook = [], hooks.taskd_routes
        for loaded in self._loaded.values():
            if loaded.implements(hook):
                source = Source(loaded.plugin.name, str(loaded.plugin))
                returned = loaded.call(hook, Sequence, store=store, environ=self.environ)  # type: ignore[type-abstract]
                with loaded.blaming(hook):
                    routes = list(returned)
                found += [(source, loaded.checked(route, Route, hook)) for route in routes]
        return found

    async def close(self) -> None:
        """Close what plugins have created.  Failures and time-outs are logged, not raised."""
        self.is_closed = True
        made = vars(self)
        try:
            if "backend" in made:
                await close(str(self.auth_plugin), self.backend, self.timeouts.close_s)
        finally:
            if "store" in made:
                await close(str(self.storage_plugin), self.store, self.timeouts.close_s)

    def _auth(self) -> LoadedPlugin:
        return self._selected("TASKD_AUTH", self.settings.auth, hooks.taskd_auth)

    def _storage(self) -> LoadedPlugin:
        return self._selected("TASKD_STORAGE", self.settings.storage, hooks.taskd_storage)

    def _selected(self, variable: str, name: str, hook: Callable[..., object]) -> LoadedPlugin:
        able = [other for other, loaded in self._loaded.items() if loaded.implements(hook)]
        if name not in able:
            message = f"no enabled plugin {name!r} provides this; those that do: {joined(able)}"
            raise SettingsError(variable, message)
        return self._loaded[name]


def is_serving(loaded: LoadedPlugin, settings: Settings) -> bool:
    """Tell whether a plugin provides something that is used with *settings*."""
    name = loaded.plugin.name
    return (
        loaded.implements(hooks.taskd_routes)
        or (loaded.implements(hooks.taskd_auth) and name == settings.auth)
        or (loaded.implements(hooks.taskd_storage) and name == settings.storage)
    )


def _is_a(protocol: type, part: object, plugin: Plugin) -> bool:
    """Tell whether *part*, which *plugin* created, implements *protocol*."""
    failing = f"failed when its {type(part).__name__} was asked for what a {protocol.__name__} has"
    with blaming(plugin, failing):
        return isinstance(part, protocol)
