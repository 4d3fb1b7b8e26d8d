"""
Find installed plugins by the metadata of their distributions, without importing them.

`importlib.metadata.entry_points` would include every folder of metadata, even those left behind by an interrupted pip,
and would fail if one file of any distribution were broken.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path

import attrs

from taskd.settings import Settings, SettingsError

__all__ = ["Installed", "PartError", "Plugin", "PluginError", "find", "joined"]

# The groups of plugins' entry points.  Those in the second group are imported only if a setting names them, or if
# another plugin asks for what they make.
GROUP = "taskd"
ON_DEMAND = "taskd.on_demand"
# The distribution that taskd is installed from.
DISTRIBUTION = "taskd-server"
_OF_TASKD = re.compile(r"taskd[-_.]+server(?![\w.-])", re.IGNORECASE | re.ASCII)


class PluginError(Exception):
    """
    A plugin is broken or ambiguous, so the server does not start.

    Args:
        message: What is wrong, and what to do about it, on one line.  It must not quote a secret.
        plugin: The name of the plugin that could be disabled instead, if there is one.
    """

    def __init__(self, message: str, *, plugin: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin

    def __str__(self) -> str:
        """Return the message, with a remedy that always works."""
        remedy = f"; or set TASKD_DISABLED_PLUGINS={self.plugin}" if self.plugin else ""
        return f"{super().__str__()}{remedy}"


class PartError(PluginError):
    """What one plugin asks another for is not there, or cannot be made; the message names both."""


@attrs.frozen
class Plugin:
    """
    An installed plugin.

    Attributes:
        name: The name of its entry point, by which settings select it.
        distribution: The name and the version of the distribution that contains it, in words.
        version: The version of the distribution; empty if it is unknown.
        entry_point: What to import.
        requirements: Which versions of taskd its distribution requires, such as "taskd-server>=1".
        is_own: Whether it is in taskd's own distribution.
        is_enabled: Whether the settings allow the plugin to be imported.
        is_wanted: Whether to import it even if no other plugin asks for it.
    """

    name: str
    distribution: str
    entry_point: EntryPoint = attrs.field(repr=False)
    version: str = ""
    requirements: tuple[str, ...] = attrs.field(repr=False, default=())
    is_own: bool = False
    is_enabled: bool = True
    is_wanted: bool = True

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.distribution}"

    @property
    def is_on_demand(self) -> bool:
        """Whether it is imported only if a setting names it, or another plugin asks for it."""
        return self.entry_point.group == ON_DEMAND

    @property
    def package(self) -> str:
        """The name of the top-level package, or module, that is imported."""
        return self.entry_point.value.partition(":")[0].partition(".")[0].strip()

    @property
    def file(self) -> Path | None:
        """The file that is imported, as far as is known without importing it."""
        _, _, rest = self.entry_point.value.partition(":")[0].strip().partition(".")
        try:
            spec = importlib.util.find_spec(self.package)
        except (ImportError, ValueError):
            return None
        if spec is None or spec.origin is None:
            return None
        inner = Path(spec.origin).parent.joinpath(*rest.split("."))
        candidates = [inner.with_suffix(".py"), inner / "__init__.py"] if rest else [Path(spec.origin)]
        return next((file for file in candidates if file.is_file()), None)


@attrs.frozen
class Installed:
    """
    The installed plugins.

    Attributes:
        plugins: All of them, sorted by name.
        ignored: A sentence for each folder of metadata that names plugins but is ignored.
    """

    plugins: tuple[Plugin, ...]
    ignored: tuple[str, ...]


def find(settings: Settings) -> Installed:
    """
    Find all installed plugins.

    If a distribution is found twice, for example both installed and as sources on `sys.path`, the first one counts, as
    it does for imports.

    Raises:
        PluginError: Two distributions claim the same name, or entry points cannot be read.
        SettingsError: `TASKD_PLUGINS` or `TASKD_DISABLED_PLUGINS` names a plugin that is not installed.
    """
    found, ignored = _discover()
    names = {plugin.name for plugin in found}
    _check_names("TASKD_PLUGINS", settings.plugins or (), names)
    _check_names("TASKD_DISABLED_PLUGINS", settings.disabled_plugins, names)
    _check_names("TASKD_STORE_WRAPPERS", settings.store_wrappers, names)
    _check_names("TASKD_MIDDLEWARE", settings.middleware, names)
    plugins = [_with_settings(plugin, settings) for plugin in found]
    plugins.sort(key=lambda plugin: (plugin.name, plugin.distribution))
    _check_unique(plugins)
    return Installed(tuple(plugins), tuple(ignored))


def joined(names: Iterable[str]) -> str:
    """Join *names* for a message."""
    return ", ".join(sorted(names)) or "none"


def _check_names(variable: str, wanted: Iterable[str], installed: set[str]) -> None:
    for name in sorted(set(wanted) - installed):
        raise SettingsError(variable, f"no plugin {name!r} is installed, only {joined(installed)}")


def _with_settings(plugin: Plugin, settings: Settings) -> Plugin:
    """Return *plugin* with what the settings say about it."""
    is_allowed = settings.plugins is None or plugin.name in settings.plugins
    is_enabled = is_allowed and plugin.name not in settings.disabled_plugins
    is_wanted = is_enabled and (not plugin.is_on_demand or plugin.name in settings.selected)
    return attrs.evolve(plugin, is_enabled=is_enabled, is_wanted=is_wanted)


def _check_unique(plugins: Iterable[Plugin]) -> None:
    """Refuse enabled plugins whose names are not unique, or cannot appear in a setting."""
    counts = Counter(plugin.name for plugin in plugins)
    for plugin in plugins:
        name = plugin.name
        if not plugin.is_enabled:
            continue
        if "," in name or not name:
            message = f"{plugin} has a name that no setting can hold: rename it, without commas, or uninstall it"
            raise PluginError(message)
        if counts[name] > 1:
            claimed_by = joined(other.distribution for other in plugins if other.name == name)
            raise PluginError(f"plugin {name!r} is claimed by {claimed_by}: uninstall all but one")


def _discover() -> tuple[list[Plugin], list[str]]:
    """Return the plugins of all distributions, and a sentence for each folder that is ignored."""
    found: dict[str, list[Plugin]] = {}
    ignored = []
    for distribution in distributions():
        folder = _folder(distribution)
        # pip renames folders like this before it removes them.
        is_leftover = folder.name.startswith("~")
        entry_points = _entry_points(distribution, folder, is_leftover=is_leftover)
        if entry_points is None:
            ignored.append(f"{folder} has a broken entry_points.txt, and is ignored: reinstall what it belongs to")
        if not entry_points:
            continue
        name = _read(distribution, "Name")
        if is_leftover:
            ignored.append(f"{folder} was left behind by pip when it was interrupted, and is ignored: delete it")
        elif not name:
            ignored.append(f"{folder} has no METADATA with a name in it, and is ignored: reinstall it, or delete it")
        else:
            version = _read(distribution, "Version")
            described = f"{name} {version or 'of an unknown version'}"
            required = _requirements(distribution)
            is_own = _normalized(name) == DISTRIBUTION
            plugins = [Plugin(each.name, described, each, version, required, is_own) for each in entry_points]
            first = found.setdefault(_normalized(name), plugins)
            if _values(first) != _values(plugins):
                if is_own:
                    # Only one of them can be, and which one is found first proves nothing.
                    raise PluginError(f"{folder} is another {name} than the one found first: delete one of them")
                ignored.append(f"{folder} is another {name} than the one found first, and is ignored: uninstall one")
    return [plugin for plugins in found.values() for plugin in plugins], ignored


def _values(plugins: Iterable[Plugin]) -> set[tuple[str, str]]:
    return {(plugin.name, plugin.entry_point.value) for plugin in plugins}


def _folder(distribution: Distribution) -> Path:
    # `_path` is private, but only messages and the check for leftovers need it.
    return Path(str(getattr(distribution, "_path", "") or distribution.locate_file("")))


def _entry_points(distribution: Distribution, folder: Path, *, is_leftover: bool) -> list[EntryPoint] | None:
    """Return the entry points of plugins; None if those of a distribution without plugins cannot be read."""
    try:
        return [each for each in distribution.entry_points if each.group in (GROUP, ON_DEMAND)]
    except Exception as error:
        if is_leftover or not _mentions_group(folder):
            return [] if is_leftover else None
        reason = f"{type(error).__name__}: {error}"
        message = f"{folder / 'entry_points.txt'} is broken: reinstall what it belongs to, or uninstall it ({reason})"
        raise PluginError(message) from error


def _requirements(distribution: Distribution) -> tuple[str, ...]:
    """Return which versions of taskd *distribution* requires."""
    # How reading a missing or invalid file fails depends on the version of Python.
    with contextlib.suppress(Exception):
        return tuple(each for each in distribution.requires or () if _OF_TASKD.match(each.lstrip()))
    return ()


def _mentions_group(folder: Path) -> bool:
    """Tell whether the broken `entry_points.txt` in *folder* has a section for plugins of taskd."""
    try:
        content = (folder / "entry_points.txt").read_bytes()
    except OSError:
        return False
    return re.search(rb"^\s*\[\s*taskd(\.on_demand)?\s*\]", content, re.MULTILINE) is not None


def _read(distribution: Distribution, key: str) -> str:
    """Return a value from METADATA, or an empty string if there is none or it cannot be read."""
    # How reading a missing or invalid file fails depends on the version of Python.
    with contextlib.suppress(Exception):
        return distribution.metadata[key] or ""
    return ""


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
