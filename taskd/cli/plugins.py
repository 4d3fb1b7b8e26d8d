"""`taskd plugins`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import click

from taskd.application import Application
from taskd.cli.commands import closing, print_json, print_table
from taskd.environment import Environ
from taskd.plugins import LoadedPlugin, Plugin, PluginError, Plugins
from taskd.plugins.finder import find
from taskd.plugins.registry import is_serving
from taskd.routes.router import endpoints_of
from taskd.settings import Settings, SettingsError, load_settings
from taskd.start import print_warnings, starting
from taskd.time_limit import Timeouts

__all__ = ["plugins"]

BROKEN = "broken"


@attrs.frozen
class _Row:
    """
    What is known of an installed plugin.

    Attributes:
        plugin: The plugin.
        provides: The hooks that it implements, without their prefix; None if that is not known.
        status: Whether it is used.
        used_by: The names of the plugins that use what it makes.
        routes: The routes that it adds, such as "GET /livez".
        settings: The names of the settings that it reads.
    """

    plugin: Plugin
    provides: Sequence[str] | None
    status: str
    used_by: Sequence[str] = ()
    routes: Sequence[str] = ()
    settings: Sequence[str] = ()

    def cells(self) -> tuple[str, ...]:
        """Return what the table shows."""
        provides = "?" if self.provides is None else ", ".join(self.provides)
        return (self.plugin.name, provides, self.status, self.plugin.distribution)

    def details(self) -> Iterator[tuple[str, str]]:
        """Yield what is shown below the table, each with its name."""
        yield "file", str(self.plugin.file or "?")
        for name, values in (("used by", self.used_by), ("routes", self.routes), ("settings", self.settings)):
            if values:
                yield name, ", ".join(values)

    def as_json(self) -> dict[str, Any]:
        """Return everything, for a program."""
        own = attrs.asdict(self, filter=attrs.filters.exclude(attrs.fields(_Row).plugin))
        plugin = self.plugin
        distribution = plugin.distribution.removesuffix(f" {plugin.version}")
        named = {"name": plugin.name, "distribution": distribution, "version": plugin.version}
        return {**named, "file": None if plugin.file is None else str(plugin.file), **own}


@click.command()
@click.option("--details", is_flag=True, help="Also show files, routes, settings, and what uses what.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def plugins(*, details: bool, as_json: bool) -> None:
    """List the plugins that are installed, selected and disabled.  The exit status is 1 if one is broken."""
    with contextlib.redirect_stdout(sys.stderr), starting() as environ:
        settings = load_settings(Settings, environ)
        installed = find(settings)
        rows = [_row(plugin, settings) for plugin in installed.plugins]
        print_warnings([*installed.ignored, *environ.mistakes()])
        is_broken = any(row.status == BROKEN for row in rows)
        if (details or as_json) and not is_broken:
            rows, is_broken = _completed(rows, environ)
    if as_json:
        print_json({"plugins": [row.as_json() for row in rows], "selected": _selected(settings)})
    else:
        _print_text(rows, settings, details=details)
    if is_broken:
        sys.exit(1)


def _row(plugin: Plugin, settings: Settings) -> _Row:
    """Return what *plugin* provides, and whether it is in use."""
    if not plugin.is_enabled:
        return _Row(plugin, None, "disabled")
    if not plugin.is_wanted:
        return _Row(plugin, None, "on demand")
    try:
        loaded = LoadedPlugin(plugin, Timeouts())
    except PluginError as error:
        click.echo(f"taskd: {error}", err=True)
        return _Row(plugin, None, BROKEN)
    provides = [hook.removeprefix("taskd_") for hook in loaded.hooks]
    return _Row(plugin, provides, "selected" if is_serving(loaded, settings) else "installed")


def _completed(rows: Sequence[_Row], environ: Environ) -> tuple[list[_Row], bool]:
    """
    Return *rows* with what is only known once the application is assembled, and whether a plugin turns out broken.

    If the application cannot be assembled, say why.
    """
    try:
        with closing(Plugins.load(environ)) as loaded:
            routes = _routes_by_plugin(Application.of(loaded))
    except (PluginError, SettingsError) as error:
        click.echo(f"taskd: routes, settings and uses are not shown: {error}", err=True)
        # Settings may be missing where the plugins are only looked at.
        broken = error.plugin if isinstance(error, PluginError) else ""
        marked = [attrs.evolve(row, status=BROKEN) if row.plugin.name == broken else row for row in rows]
        return marked, isinstance(error, PluginError)
    imported = {each.plugin.name: each for each in loaded.loaded}
    return [_with_use(row, loaded, imported.get(row.plugin.name), routes) for row in rows], False


def _routes_by_plugin(app: Application) -> dict[str, list[str]]:
    routes: dict[str, list[str]] = {}
    for route in app.routes:
        for method, endpoint in endpoints_of(route).items():
            routes.setdefault(endpoint.source.name, []).append(f"{method} {endpoint.path}")
    return routes


def _with_use(row: _Row, plugins: Plugins, loaded: LoadedPlugin | None, routes: dict[str, list[str]]) -> _Row:
    """Return *row* with what the plugin is used for."""
    if loaded is None:
        return row
    name = row.plugin.name
    used_by = sorted(plugins.products.users(name))
    return attrs.evolve(
        row,
        provides=[hook.removeprefix("taskd_") for hook in loaded.hooks],
        status="selected" if used_by else row.status,
        used_by=used_by,
        routes=sorted(routes.get(name, ())),
        settings=sorted(loaded.settings),
    )


def _print_text(rows: Sequence[_Row], settings: Settings, *, details: bool) -> None:
    print_table(row.cells() for row in rows)
    if not details:
        return
    for row in rows:
        click.echo(f"\n{row.plugin.name}")
        print_table((f"  {name}", text) for name, text in row.details())
    click.echo("\nselected")
    print_table((f"  {name}", ", ".join(names) or "none") for name, names in _selected(settings).items())


def _selected(settings: Settings) -> dict[str, Sequence[str]]:
    """Return which plugins the settings select, by purpose; wrappers and middleware in the order that calls take."""
    return {
        "auth": [settings.auth],
        "storage": [settings.storage],
        "store wrappers": settings.store_wrappers,
        "middleware": settings.middleware,
    }
