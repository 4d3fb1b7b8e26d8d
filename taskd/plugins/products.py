"""What plugins make: auth backends and stores, each made once, whoever asks for it."""

from __future__ import annotations

import contextlib
import difflib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import attrs
import msgspec
from starlette.authentication import AuthenticationBackend

from taskd import hooks
from taskd.closing import close
from taskd.environment import Environ
from taskd.plugins.finder import PartError, PluginError, joined
from taskd.plugins.loader import Hook, LoadedPlugin, one_line
from taskd.storage import StoreWrapper, TaskStore
from taskd.telemetry import Measurement

__all__ = ["NotProvided", "Products"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


class NotProvided(Exception):
    """No enabled plugin of that name provides what was asked for; the message says which ones do."""


@attrs.frozen
class _Product:
    """
    An auth backend or a store.

    Attributes:
        maker: The plugin that has made it.
        made: The object itself.
        users: The names of the plugins that have asked for it.
    """

    maker: LoadedPlugin
    made: Any
    users: set[str] = attrs.field(factory=set)


@attrs.define(eq=False)
class Products:
    """
    Makes what plugins provide.

    Attributes:
        environ: What plugins read their settings from.
        find: Returns the plugin of a name, and imports it if necessary; None if it is not enabled.
        able: Returns the names of the plugins that implement a hook.
        enabled: The names of the plugins that `find` finds.
    """

    environ: Environ
    find: Callable[[str], LoadedPlugin | None]
    able: Callable[[Hook], Iterable[str]]
    enabled: Iterable[str]
    _made: dict[tuple[Hook, str], _Product] = attrs.field(init=False, factory=dict)
    _schemes: dict[str, list[Mapping[str, object]]] = attrs.field(init=False, factory=dict)
    # What is being made at the moment: each asks for the next.
    _making: list[tuple[Hook, str]] = attrs.field(init=False, factory=list)
    # The types of the parts that have failed to say what they measure.
    _failing: set[type] = attrs.field(init=False, factory=set)

    def maker(self, hook: Hook, name: str) -> LoadedPlugin:
        """
        Return the plugin *name*, which implements *hook*.

        Raises:
            NotProvided: No enabled plugin of that name does.
        """
        loaded = self.find(name)
        if loaded is None or not loaded.implements(hook):
            similar = [] if loaded else difflib.get_close_matches(name, self.enabled, 1)
            hint = f" (did you mean {similar[0]}?)" if similar else ""
            able = joined(self.able(hook))
            raise NotProvided(f"no enabled plugin {name!r} provides this{hint}; those that do: {able}")
        return loaded

    def backend(self, name: str, user: str = "") -> AuthenticationBackend:
        """Return the auth backend of the plugin *name*; *user* is the plugin that asks for it, if one does."""
        return self._product(hooks.taskd_auth, name, AuthenticationBackend, user)

    def store(self, name: str, user: str = "") -> TaskStore:
        """Return the store of the plugin *name*; *user* is the plugin that asks for it, if one does."""
        return self._product(hooks.taskd_storage, name, TaskStore, user)  # type: ignore[type-abstract]

    def security_schemes(self, name: str) -> list[Mapping[str, object]]:
        """Return how clients send the credentials that the plugin *name* verifies; none if it does not say."""
        if name not in self._schemes:
            self._schemes[name] = self._schemes_of(self.maker(hooks.taskd_auth, name))
        return self._schemes[name]

    def _schemes_of(self, loaded: LoadedPlugin) -> list[Mapping[str, object]]:
        hook, name = hooks.taskd_security_scheme, loaded.plugin.name
        if not loaded.implements(hook):
            return []
        with self._making_one((hook, name)):
            returned: Any = loaded.call(hook, object, environ=self.environ, parts=_PartsOf(name, self))
        with loaded.using(hook):
            several = [returned] if isinstance(returned, Mapping) else list(returned)
        schemes: list[Mapping[str, object]] = [dict(loaded.checked(each, Mapping, hook)) for each in several]  # type: ignore[type-abstract]
        try:
            msgspec.json.encode(schemes)
        # A scheme is not JSON, not UTF-8, or recursive, so taskd does not start.
        except Exception as error:
            message = f"{loaded.plugin} did not return JSON from {hook.__name__}"
            raise PluginError(f"{message}: {one_line(error)}", plugin=loaded.plugin.name) from error
        return schemes

    def keep(self, hook: Hook, maker: LoadedPlugin, made: object) -> None:
        """Keep what *maker* has made in *hook*, for all who ask for it."""
        self._made[hook, maker.plugin.name] = _Product(maker, made)

    def users(self, name: str) -> set[str]:
        """Return the names of the plugins that have asked for what the plugin *name* makes."""
        return {user for (_, maker), product in self._made.items() if maker == name for user in product.users}

    async def close(self, timeout_s: float, outermost: TaskStore | None, name: str = "") -> None:
        """
        Close everything that was made, each part once, and the last first.

        Wrappers close what they wrap.  Failures and time-outs are logged, not raised.

        Args:
            timeout_s: How long each part may take.
            outermost: The store in the wrappers that the settings name, if it was made.
            name: What the log calls it.
        """
        wrapped = [*_layers(outermost)]
        closed: list[object] = []
        for product in reversed(self._made.values()):
            is_wrapped = any(product.made is layer for layer in wrapped)
            part, maker = (outermost, name) if is_wrapped else (product.made, str(product.maker.plugin))
            if not any(part is each for each in closed):
                await close(maker, part, timeout_s)
                closed += _layers(part)

    def measurements(self, outermost: TaskStore | None) -> Iterator[Measurement]:
        """
        Yield the numbers of everything that was made.  A part that fails is logged, and left out from then on.

        Args:
            outermost: The store in the wrappers that the settings name, if it was made.
        """
        made = (outermost, *(product.made for product in self._made.values()))
        for part in {id(layer): layer for each in made for layer in _layers(each)}.values():
            # Asked of the type: a wrapper has the attributes of what it wraps, too.
            if hasattr(type(part), "measurements") and type(part) not in self._failing:
                yield from self._measured(part)

    def _measured(self, part: Any) -> list[Measurement]:
        try:
            found = list(part.measurements())
            if not all(isinstance(each, Measurement) for each in found):
                raise TypeError("it must return taskd.telemetry.Measurement objects")  # noqa: TRY301  logged below
        except Exception:
            self._failing.add(type(part))
            logger.exception("The %s of a plugin failed to say what it measures", type(part).__name__)
            return []
        return found

    def _product(self, hook: Hook, name: str, kind: type[T], user: str = "") -> T:
        """Return what the plugin *name* makes in *hook*, for the plugin *user*."""
        loaded = self.maker(hook, name)
        if (hook, name) not in self._made:
            with self._making_one((hook, name)):
                made = loaded.call(hook, kind, environ=self.environ, parts=_PartsOf(name, self))
            self.keep(hook, loaded, made)
        product = self._made[hook, name]
        product.users.update([user] if user else [])
        found: T = product.made
        return found

    @contextlib.contextmanager
    def _making_one(self, key: tuple[Hook, str]) -> Iterator[None]:
        """Refuse to make something in order to make itself."""
        if key in self._making:
            cycle = " -> ".join(name for _, name in [*self._making[self._making.index(key) :], key])
            message = f"plugins ask for each other's parts ({cycle}): change the settings of one of them"
            raise PartError(message, plugin=key[1])
        self._making.append(key)
        try:
            yield
        finally:
            self._making.pop()


def _layers(part: object) -> Iterator[object]:
    """Yield *part* and, if it is a wrapper, what it wraps, down to the store."""
    while isinstance(part, StoreWrapper):
        yield part
        part = part.store
    yield part


@attrs.frozen
class _PartsOf:
    """The `taskd.parts.Parts` for the plugin *asker*."""

    asker: str
    products: Products

    def auth(self, name: str) -> AuthenticationBackend:
        with self._naming_asker():
            return self.products.backend(name, self.asker)

    def security_schemes(self, name: str) -> list[Mapping[str, object]]:
        with self._naming_asker():
            return self.products.security_schemes(name)

    def store(self, name: str) -> TaskStore:
        with self._naming_asker():
            return self.products.store(name, self.asker)

    @contextlib.contextmanager
    def _naming_asker(self) -> Iterator[None]:
        try:
            yield
        except PartError:
            raise
        except (NotProvided, PluginError) as error:
            raise PartError(f"plugin {self.asker!r} asks for a part of another: {error}") from error
