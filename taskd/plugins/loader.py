"""Load a plugin: import it, check it, and call its hooks."""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

import pluggy

from taskd import hooks
from taskd.environment import Environ
from taskd.plugins.finder import PartError, Plugin, PluginError, joined
from taskd.plugins.provenance import check_requirements
from taskd.settings import SettingsError
from taskd.time_limit import Timeouts

__all__ = ["HOOKS", "Hook", "LoadedPlugin", "blaming", "one_line", "reporting_slowness"]

T = TypeVar("T")
Hook = Callable[..., object]

# The names of all hooks; `taskd.hooks` defines nothing else with this prefix.
HOOKS = tuple(name for name in vars(hooks) if name.startswith("taskd_"))

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def blaming(source: object, failing: str, *passing: type[Exception]) -> Iterator[None]:
    """
    Turn any exception raised in the block into a `PluginError`.

    Args:
        source: Whose code the block runs.
        failing: What to say if it fails, such as "cannot be loaded".
        passing: The exceptions that are let through unchanged.
    """
    try:
        yield
    except BaseException as error:
        # Ctrl+C must be able to stop a plugin that hangs.
        if isinstance(error, (KeyboardInterrupt, *passing)):
            raise
        name = getattr(source, "name", "")
        raise PluginError(f"{source} {failing}: {one_line(error)}", plugin=name) from error


def one_line(error: BaseException) -> str:
    """Return the type and the message of *error* on one line."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  str() of a plugin's exception may fail
        text = "it does not say why"
    return " ".join(f"{type(error).__name__}: {text}".split())


@contextlib.contextmanager
def reporting_slowness(doing: str, slow_s: float) -> Iterator[None]:
    """Log a warning if the block takes longer than *slow_s* seconds; *doing* says what a plugin is doing."""
    slow = threading.Timer(slow_s, logger.warning, (f"{doing} for {slow_s:.0f} s",))
    slow.daemon = True
    slow.start()
    try:
        yield
    finally:
        slow.cancel()


class LoadedPlugin:
    """
    A plugin that has been imported and checked.

    It has its own pluggy manager, so that other plugins cannot affect it.

    Attributes:
        plugin: The plugin.
        hooks: The names of the hooks that it implements.
        settings: The names of the settings that its hooks have read so far.
    """

    def __init__(self, plugin: Plugin, timeouts: Timeouts) -> None:
        """
        Import *plugin*.

        Raises:
            PluginError: It cannot be imported, implements an unknown hook or none, or does not mark one of its hooks.
        """
        self.plugin = plugin
        self.settings: set[str] = set()
        self._timeouts = timeouts
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        present = self._register()
        self.hooks = [hook for hook in HOOKS if self._implementations(hook)]
        if unmarked := set(present) - set(self.hooks):
            raise self._refusal(f"does not mark {joined(unmarked)} with taskd.hookimpl: add the decorator")
        if not self.hooks:
            raise self._refusal(f"implements no hook: define one of {joined(HOOKS)}")
        for hook in self.hooks:
            self._check(hook)

    def _register(self) -> list[str]:
        """Import the plugin, register it, and return the names of the hooks that it defines, marked or not."""
        plugin = self.plugin
        check_requirements(plugin)
        if not EntryPoint.pattern.match(plugin.entry_point.value):
            raise self._refusal(f"cannot be loaded: {plugin.entry_point.value!r} does not name a module")
        loading = reporting_slowness(f"{plugin} has been being imported", self._timeouts.start_s)
        with _advising(plugin), blaming(plugin, "cannot be loaded"), loading, _printing_to_stderr():
            module = plugin.entry_point.load()
            if inspect.isclass(module):
                # What its hooks keep in `self` belongs to this application alone.
                module = module()
            self._manager.register(module, plugin.name)
            self._manager.check_pending()
            return [hook for hook in HOOKS if hasattr(module, hook)]

    def _check(self, hook: str) -> None:
        """Refuse implementations of *hook* that pluggy accepts, but that would not work as intended here."""
        implementations = self._implementations(hook)
        if any(each.wrapper or each.hookwrapper for each in implementations):
            message = f"wraps {hook}, but hooks of different plugins are not called together"
            raise self._refusal(f"{message}: leave out wrapper=True and hookwrapper=True, and return a value")
        if len(implementations) > 1:
            raise self._refusal(f"defines {hook} more than once: remove all but one")
        [implementation] = implementations
        if inspect.iscoroutinefunction(implementation.function):
            raise self._refusal(f"defines {hook} with async def: hooks are called before anything runs")
        # pluggy does not pass arguments that have a default value.
        arguments = inspect.signature(getattr(hooks, hook)).parameters
        if defaults := set(arguments).intersection(implementation.kwargnames):
            raise self._refusal(f"gives {joined(defaults)} of {hook} a default value: remove it")

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        implementations: list[pluggy.HookImpl] = getattr(self._manager.hook, hook).get_hookimpls()
        return implementations

    def _refusal(self, reason: str) -> PluginError:
        return PluginError(f"{self.plugin} {reason}", plugin=self.plugin.name)

    def implements(self, hook: Hook) -> bool:
        """Tell whether the plugin implements *hook*, a function in `taskd.hooks`."""
        return hook.__name__ in self.hooks

    def call(self, hook: Hook, kind: type[T], **arguments: object) -> T:
        """Call *hook*, a function in `taskd.hooks`, and return the result, which must be an instance of *kind*."""
        name = hook.__name__
        environ = arguments.get("environ")
        recording = environ.recording(self.settings) if isinstance(environ, Environ) else contextlib.nullcontext()
        calling = self._reporting_slowness(hook)
        with self.blaming(hook), self.owning_settings(), calling, recording, _printing_to_stderr():
            results = getattr(self._manager.hook, name)(**arguments)
        # pluggy leaves out results that are None.
        return self.checked(results[0] if results else None, kind, hook)

    @contextlib.contextmanager
    def using(self, hook: Hook) -> Iterator[None]:
        """Turn any exception raised in the block, which uses the result of *hook*, into a `PluginError`."""
        with self.blaming(hook), self._reporting_slowness(hook), _printing_to_stderr():
            yield

    def blaming(self, hook: Hook) -> contextlib.AbstractContextManager[None]:
        """Turn any exception raised in the block, which calls *hook*, into a `PluginError`."""
        return blaming(self.plugin, f"failed in {hook.__name__}", SettingsError, PartError)

    def _reporting_slowness(self, hook: Hook) -> contextlib.AbstractContextManager[None]:
        return reporting_slowness(f"{self.plugin} has been asked for {hook.__name__}", self._timeouts.start_s)

    @contextlib.contextmanager
    def owning_settings(self) -> Iterator[None]:
        """Add the plugin's name to a `SettingsError`, unless it already names another plugin that this one called."""
        try:
            yield
        except SettingsError as error:
            error.owner = error.owner or str(self.plugin)
            raise

    def checked(self, result: Any, kind: type[T], hook: Hook) -> T:
        """Return the *result* of *hook*, which must be an instance of *kind*."""
        # `isinstance` uses the object's `__class__`, which may raise an exception.
        if not issubclass(type(result), kind):
            returned = f"returned a {type(result).__name__} from {hook.__name__}"
            raise self._refusal(f"{returned}, not a {kind.__name__}")
        made: T = result
        return made


def _printing_to_stderr() -> contextlib.AbstractContextManager[object]:
    """Send what a plugin prints to stderr: a program may be reading the output of the command."""
    return contextlib.redirect_stdout(sys.stderr)


@contextlib.contextmanager
def _advising(plugin: Plugin) -> Iterator[None]:
    """Add advice to a `PluginError` if *plugin* itself, rather than something that it imports, is missing."""
    try:
        yield
    except PluginError as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
        if missing != plugin.package:
            raise
        # With editable_mode=compat, setuptools puts only one folder on Python's path, but taskd has two.
        advice = (
            f"reinstall {plugin.distribution.partition(' ')[0]}, and if it is editable, without editable_mode=compat"
        )
        raise PluginError(f"{error.args[0]}; {advice}", plugin=plugin.name) from error.__cause__
