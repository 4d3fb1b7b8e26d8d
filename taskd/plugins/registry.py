"""
Select plugins, and get what they provide.

The auth and storage plugins are selected by name, never by the order of registration: installing a package must not
change who verifies credentials.  If a plugin fails, taskd does not start; the error names it and its distribution.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
from starlette.authentication import AuthenticationBackend
from starlette.routing import Route
from starlette.types import ASGIApp

from taskd import hooks
from taskd.auth import TokenIssuer, TrialSettings, request_headers_of
from taskd.bounded_store import BoundedStore
from taskd.checks import Check
from taskd.data import Backupable, Portable
from taskd.environment import Environ
from taskd.logs import Logging
from taskd.plugins.finder import Plugin, PluginError, find
from taskd.plugins.loader import Hook, LoadedPlugin, blaming
from taskd.plugins.products import NotProvided, Products
from taskd.plugins.provenance import check_defaults
from taskd.settings import Settings, SettingsError, load_settings
from taskd.storage import Located, Location, Migratable, StoreWrapper, TaskStore
from taskd.telemetry import Measurement, Observer
from taskd.time_limit import Timeouts

if TYPE_CHECKING:
    import click

__all__ = ["Plugins", "Source", "is_serving"]

T = TypeVar("T")


@attrs.frozen
class Source:
    """The provider of a route: its *name*, and the *words* that messages use for it."""

    name: str
    words: str

    def __str__(self) -> str:
        return self.words


@attrs.define(eq=False)
class Plugins:
    """
    The enabled plugins of one application or command.

    Each plugin is loaded once, and each hook is called at most once.  Methods and properties raise `SettingsError` if a
    setting is wrong, including those that select plugins, and `PluginError` if a plugin is broken.

    Attributes:
        settings: The core's own settings, which enable and select plugins.
        ignored: A sentence for each folder of metadata that names plugins but is ignored.
        timeouts: How long the plugins may take.
        products: What the plugins have made.
        is_closed: Whether `close` has been called.
    """

    _environ: Environ
    settings: Settings
    ignored: tuple[str, ...]
    timeouts: Timeouts
    # All enabled plugins, and those of them that have been imported.
    _enabled: Mapping[str, Plugin]
    _loaded: dict[str, LoadedPlugin] = attrs.field(init=False, factory=dict)
    products: Products = attrs.field(init=False)
    is_closed: bool = attrs.field(init=False, default=False)
    _store: TaskStore | None = attrs.field(init=False, default=None)

    @products.default
    def _none_yet(self) -> Products:
        return Products(self._environ, self._find, self._able, self._enabled)

    @classmethod
    def load(cls, environ: Mapping[str, str], timeouts: Timeouts | None = None) -> Plugins:
        """Find the plugins that *environ* enables, and load those that it selects."""
        environ = Environ.of(environ)
        settings = load_settings(Settings, environ)
        installed = find(settings)
        defaults = {"TASKD_AUTH": settings.auth, "TASKD_STORAGE": settings.storage}
        check_defaults(installed.plugins, {name: value for name, value in defaults.items() if name not in environ})
        enabled = {plugin.name: plugin for plugin in installed.plugins if plugin.is_enabled}
        plugins = cls(environ, settings, installed.ignored, timeouts or Timeouts(), enabled)
        for plugin in enabled.values():
            if plugin.is_wanted:
                plugins._find(plugin.name)
        return plugins

    @property
    def environ(self) -> Environ:
        """What plugins read their settings from."""
        return self.products.environ

    @property
    def loaded(self) -> Iterable[LoadedPlugin]:
        """The plugins that have been imported."""
        return self._loaded.values()

    @property
    def auth_plugin(self) -> Plugin:
        """Return the selected auth plugin."""
        return self._auth().plugin

    @property
    def storage_plugin(self) -> Plugin:
        """Return the selected storage plugin."""
        return self._selected("TASKD_STORAGE", self.settings.storage, hooks.taskd_storage).plugin

    @property
    def backend(self) -> AuthenticationBackend:
        """The backend of the selected auth plugin."""
        self._auth()
        return self.products.backend(self.settings.auth)

    @property
    def store(self) -> TaskStore:
        """The store of the selected storage plugin, in the wrappers that the settings name."""
        if self._store is None:
            names = reversed(self.settings.store_wrappers)
            wrappers = [self._selected("TASKD_STORE_WRAPPERS", name, hooks.taskd_wrap_store) for name in names]
            plugin = self.storage_plugin
            self._store = functools.reduce(self._wrapped, wrappers, self.products.store(plugin.name))
        return self._store

    def bounded_store(self) -> BoundedStore:
        """Return the store with a limit on how long its calls may take."""
        return BoundedStore(self.store, self._store_words, self.timeouts)

    @property
    def _store_words(self) -> str:
        """What messages call the store and its wrappers: from outside, nobody can tell which of them has failed."""
        plugin, wrappers = str(self.storage_plugin), ", ".join(self.settings.store_wrappers)
        return f"{plugin} or a wrapper of it ({wrappers})" if wrappers else plugin

    def _wrapped(self, store: TaskStore, loaded: LoadedPlugin) -> TaskStore:
        hook = hooks.taskd_wrap_store
        wrapper = loaded.call(hook, StoreWrapper, store=store, environ=self.environ)
        # A wrapper whose `__init__` does not call the base class's has no `store`.
        if getattr(wrapper, "store", None) is not store:
            message = f"{loaded.plugin} returned a wrapper of another store from {hook.__name__}"
            raise PluginError(message, plugin=loaded.plugin.name)
        return wrapper

    @property
    def security_schemes(self) -> Sequence[Mapping[str, object]]:
        """How clients send credentials; none if the selected auth plugin does not say."""
        self._auth()
        return self.products.security_schemes(self.settings.auth)

    def middleware(self) -> list[Callable[[ASGIApp], ASGIApp]]:
        """Return the middleware that the settings name, each checked when it is applied."""
        return [self._middleware_of(name) for name in self.settings.middleware]

    def _middleware_of(self, name: str) -> Callable[[ASGIApp], ASGIApp]:
        hook = hooks.taskd_middleware
        loaded = self._selected("TASKD_MIDDLEWARE", name, hook)
        wrap: Any = loaded.call(hook, object, environ=self.environ)

        def wrapped(app: ASGIApp) -> ASGIApp:
            with loaded.using(hook):
                outer = wrap(app)
            if not callable(outer):
                message = f"{loaded.plugin} returned middleware from {hook.__name__} that makes no application"
                raise PluginError(message, plugin=name)
            made: ASGIApp = outer
            return made

        return wrapped

    def lifespans(self, store: TaskStore) -> list[tuple[Plugin, AbstractAsyncContextManager[object]]]:
        """Return what must run as long as the server does, each with the plugin that provides it."""
        hook: Hook = hooks.taskd_lifespan
        kind: Any = AbstractAsyncContextManager
        able = self._implementing(hook)
        return [(each.plugin, each.call(hook, kind, store=store, environ=self.environ)) for each in able]

    def observers(self, measurements: Callable[[], Iterable[Measurement]]) -> list[Observer]:
        """Return what plugins call at the end of each response; *measurements* is for them."""
        hook: Hook = hooks.taskd_observer
        kind: Any = Callable
        arguments = {"measurements": measurements, "environ": self.environ}
        return [each.call(hook, kind, **arguments) for each in self._implementing(hook)]

    def measurements(self) -> Iterator[Measurement]:
        """Yield the numbers of all that plugins have made."""
        return self.products.measurements(self._store)

    @property
    def have_checks(self) -> bool:
        """Whether any plugin adds checks to `taskd doctor`."""
        return any(self._implementing(hooks.taskd_checks))

    def checks(self, store: TaskStore) -> Iterator[tuple[Plugin, AsyncIterator[Check] | PluginError | SettingsError]]:
        """Yield the checks of each plugin that has some, or the error that keeps them from being run."""
        hook: Hook = hooks.taskd_checks
        kind: Any = AsyncIterator
        for each in self._implementing(hook):
            try:
                yield each.plugin, each.call(hook, kind, store=store, environ=self.environ)
            except (PluginError, SettingsError) as error:
                yield each.plugin, error

    def commands(self) -> Iterator[tuple[Plugin, click.Command]]:
        """Yield the commands that plugins add to the command line."""
        from click import Command  # noqa: PLC0415  a server has no use for it

        for loaded, command in self._added(hooks.taskd_commands, Command, environ=self.environ):
            yield loaded.plugin, command

    @property
    def logs(self) -> Logging:
        """How the server and the plugins log."""
        packages = sorted({each.plugin.package for each in self.loaded})
        return attrs.evolve(self.settings.logs, packages=tuple(packages))

    @property
    def warnings(self) -> list[str]:
        """Warnings about the installation and about the names of settings."""
        return [*self.ignored, *self.environ.mistakes()]

    def request_headers(self, backend: AuthenticationBackend) -> Sequence[str]:
        """Return the names of the request headers from which *backend* reads credentials."""
        plugin = self.auth_plugin
        with blaming(plugin, "failed when its backend was asked for request_headers"):
            return request_headers_of(backend)

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
        return cast("Migratable", self._able_store(Migratable, "has no schema to migrate"))

    def portable(self) -> Portable:
        """Return the store of the selected storage plugin, whose tasks can be exported and imported."""
        return cast("Portable", self._able_store(Portable, "cannot export, import, count or erase tasks"))

    def backupable(self) -> Backupable:
        """Return the store of the selected storage plugin, which makes backups."""
        return cast("Backupable", self._able_store(Backupable, "makes no backups: try taskd export"))

    def _able_store(self, protocol: type, lack: str) -> TaskStore:
        """Return the store, which must implement *protocol*; otherwise, *lack* says what the plugin does not do."""
        if not _is_a(protocol, self.store, self.storage_plugin):
            raise SettingsError("TASKD_STORAGE", f"the plugin {self.storage_plugin.name!r} {lack}")
        return self.store

    def location(self) -> Location | None:
        """Return where the tasks are; None if the selected storage plugin does not say."""
        plugin = self.storage_plugin
        if not _is_a(Located, self.store, plugin):
            return None
        with blaming(plugin, "failed when its store was asked for its location"):
            location: object = cast("Located", self.store).location
        if not isinstance(location, Location):
            message = f"{plugin} must give the location of its store as a taskd.storage.Location"
            raise PluginError(message, plugin=plugin.name)
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
        with loaded.using(hook):
            self.products.environ = self.environ.completed(trial.settings)
        return trial.note

    def routes(self, store: TaskStore) -> list[tuple[Source, Route]]:
        """Return the routes that all plugins provide for *store*, each with its source."""
        added = self._added(hooks.taskd_routes, Route, store=store, environ=self.environ)
        return [(Source(loaded.plugin.name, str(loaded.plugin)), route) for loaded, route in added]

    async def close(self) -> None:
        """Close what plugins have created.  Failures and time-outs are logged, not raised."""
        self.is_closed = True
        name = "" if self._store is None else self._store_words
        await self.products.close(self.timeouts.close_s, self._store, name)

    def _find(self, name: str) -> LoadedPlugin | None:
        """Return the plugin *name*, and import it first if necessary; None if it is not enabled."""
        if name not in self._loaded and name in self._enabled:
            self._loaded[name] = LoadedPlugin(self._enabled[name], self.timeouts)
        return self._loaded.get(name)

    def _added(self, hook: Hook, kind: type[T], **arguments: object) -> Iterator[tuple[LoadedPlugin, T]]:
        """Yield what the plugins return from *hook*, each a sequence of instances of *kind*."""
        for each in self._implementing(hook):
            returned: Any = each.call(hook, Sequence, **arguments)  # type: ignore[type-abstract]
            with each.using(hook):
                items = list(returned)
            for item in items:
                yield each, each.checked(item, kind, hook)

    def _implementing(self, hook: Hook) -> list[LoadedPlugin]:
        return [each for each in self.loaded if each.implements(hook)]

    def _able(self, hook: Hook) -> list[str]:
        return [each.plugin.name for each in self._implementing(hook)]

    def _auth(self) -> LoadedPlugin:
        return self._selected("TASKD_AUTH", self.settings.auth, hooks.taskd_auth)

    def _selected(self, variable: str, name: str, hook: Hook) -> LoadedPlugin:
        try:
            return self.products.maker(hook, name)
        except NotProvided as error:
            raise SettingsError(variable, str(error)) from None


# The hooks that are called for every enabled plugin.
_ALWAYS: tuple[Hook, ...] = (
    hooks.taskd_routes,
    hooks.taskd_lifespan,
    hooks.taskd_observer,
    hooks.taskd_commands,
    hooks.taskd_checks,
)


def is_serving(loaded: LoadedPlugin, settings: Settings) -> bool:
    """Tell whether a plugin provides something that is used with *settings*."""
    selected: dict[Hook, Sequence[str]] = {
        hooks.taskd_auth: (settings.auth,),
        hooks.taskd_storage: (settings.storage,),
        hooks.taskd_wrap_store: settings.store_wrappers,
        hooks.taskd_middleware: settings.middleware,
    }
    return any(map(loaded.implements, _ALWAYS)) or any(
        loaded.implements(hook) and loaded.plugin.name in names for hook, names in selected.items()
    )


def _is_a(protocol: type, part: object, plugin: Plugin) -> bool:
    """Tell whether *part*, which *plugin* created, implements *protocol*."""
    failing = f"failed when its {type(part).__name__} was asked for what a {protocol.__name__} has"
    with blaming(plugin, failing):
        # Not `isinstance`, which since Python 3.12 does not see what a `StoreWrapper` forwards.
        return all(hasattr(part, name) for name in _members(protocol))


def _members(protocol: type) -> list[str]:
    """Return the names of what *protocol* requires."""
    return [name for name in vars(protocol) if not name.startswith("_")]
