"""Check where a plugin comes from, and which taskd it was written for."""

from __future__ import annotations

from collections.abc import Iterable

from taskd.plugins.finder import Plugin, PluginError
from taskd.version import __version__

__all__ = ["check_defaults", "check_requirements"]


def check_requirements(plugin: Plugin) -> None:
    """
    Refuse *plugin* if its distribution requires another version of taskd.

    pip checks this when it installs the distribution, but not when taskd is upgraded later.

    Raises:
        PluginError: The distribution requires another version.
    """
    if not plugin.requirements:
        return
    # Only plugins of other distributions have requirements.
    from packaging.markers import UndefinedComparison  # noqa: PLC0415
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415

    for text in plugin.requirements:
        try:
            requirement = Requirement(text)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        # UndefinedComparison: a marker compares versions with something else.
        except (InvalidRequirement, UndefinedComparison) as error:
            message = f"{plugin} has a requirement that cannot be read ({text}): reinstall it"
            raise PluginError(message, plugin=plugin.name) from error
        if applies and not requirement.specifier.contains(__version__, prereleases=True):
            message = f"{plugin} requires {requirement.name} {requirement.specifier}, and this is {__version__}"
            raise PluginError(f"{message}: install another version of it", plugin=plugin.name)


def check_defaults(plugins: Iterable[Plugin], unset: dict[str, str]) -> None:
    """
    Refuse plugins that have the name of a default but are not taskd's own.

    Otherwise, a distribution that calls itself taskd's could decide who gets in without being selected.

    Args:
        plugins: All installed plugins.
        unset: The names of the defaults that apply, by the variables that are not set.

    Raises:
        PluginError: A plugin of another origin has the name of a default.
    """
    by_name = {plugin.name: plugin for plugin in plugins if plugin.is_wanted}
    for variable, name in unset.items():
        plugin = by_name.get(name)
        if plugin is not None and not plugin.is_own:
            message = f"{plugin} has the name of a default, but is not taskd's own"
            raise PluginError(f"{message}: uninstall it, or set {variable}={name} to select it", plugin=name)
