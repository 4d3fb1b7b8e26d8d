"""`taskd doctor`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import attrs
import click

from taskd.application import Application
from taskd.checks import Check, Outcome
from taskd.cli.commands import print_table
from taskd.closing import bounded, close_in_time
from taskd.environment import Environ
from taskd.plugins import Plugin, PluginError, Plugins
from taskd.settings import SettingsError
from taskd.start import starting
from taskd.storage import StoreError
from taskd.time_limit import TimedOut, Timeouts

__all__ = ["doctor", "examine"]

T = TypeVar("T")

_CORRECT_IT = "Correct it: docs/reference/settings.md lists what each variable may be."
_REPAIR_IT = "Correct the plugin, uninstall it, or leave it out with TASKD_DISABLED_PLUGINS: docs/guides/plugins.md."
_CLEAN_UP = "Do what it says: until then, nobody can tell which plugins are installed."
_REPORT_IT = "Report it to the plugin's authors."


@click.command()
def doctor() -> None:
    """
    Check this deployment from end to end: the settings, the plugins, and everything they depend on.

    It prints a line for each check, and what to do about those that fail.  The exit status is 1 if any check fails.  It
    changes nothing.
    """
    with contextlib.redirect_stdout(sys.stderr), starting() as environ:
        checks = asyncio.run(_listed(examine(environ)))
    print_table((check.outcome.value, check.name, check.finding) for check in checks)
    for check in checks:
        if check.remedy:
            click.echo(f"\n{check.name}: {check.remedy}")
    if any(check.outcome is Outcome.FAILED for check in checks):
        sys.exit(1)


async def _listed(checks: AsyncIterator[Check]) -> list[Check]:
    return [check async for check in checks]


async def examine(environ: Environ, timeouts: Timeouts | None = None) -> AsyncIterator[Check]:
    """Check the settings in *environ*, the plugins that they select, what those plugins need, and the application."""
    try:
        plugins = Plugins.load(environ, timeouts)
    except (SettingsError, PluginError) as error:
        yield _failed("settings", error)
        return
    for folder in plugins.ignored:
        yield Check("plugins", Outcome.NOTE, folder, _CLEAN_UP)
    yield _origins(plugins.settings.frontend_origins)
    auth, backend = _made("auth", plugins.settings.auth, lambda: plugins.backend)
    storage, store = _made("storage", plugins.settings.storage, lambda: plugins.store)
    failed = next((check for check in (auth, storage) if check.outcome is Outcome.FAILED), None)
    whole = _whole(plugins) if failed is None else attrs.evolve(failed, name="settings")
    yield auth
    if backend is not None:
        async for check in _examined("auth", plugins.auth_plugin, backend, plugins.timeouts):
            yield check
    yield storage
    if store is not None:
        ping = functools.partial(_ping, plugins)
        async for check in _examined("storage", plugins.storage_plugin, store, plugins.timeouts, ping):
            yield check
    if failed is None:
        async for check in _of_plugins(plugins):
            yield check
    yield whole
    if names := _unread(environ, is_complete=whole.outcome is Outcome.OK):
        remedy = "Correct or remove the name, unless a disabled plugin uses it."
        yield Check("names", Outcome.NOTE, "; ".join(names), remedy)


async def _of_plugins(plugins: Plugins) -> AsyncIterator[Check]:
    """Run the checks that plugins add, with a store of their own: the first one has been closed after its checks."""
    if not plugins.have_checks:
        return
    own = Plugins.load(plugins.environ, plugins.timeouts)
    try:
        for plugin, checks in own.checks(own.bounded_store()):
            if isinstance(checks, SettingsError | PluginError):
                yield _failed(plugin.name, checks)
                continue
            async for check in _bounded(plugin.name, checks, plugins.timeouts.check_s):
                yield check
    finally:
        await own.close()


def _origins(origins: tuple[str, ...]) -> Check:
    if origins:
        return Check("frontend", Outcome.OK, f"pages of {', '.join(origins)} may read responses")
    remedy = "Set FRONTEND_URL to the frontend's origin, unless only its server calls taskd."
    return Check("frontend", Outcome.NOTE, "no page of another origin may read responses", remedy)


def _made(name: str, plugin: str, make: Callable[[], T]) -> tuple[Check, T | None]:
    """Check whether *plugin* can create its part; return the check, and the part if there is one."""
    try:
        return Check(name, Outcome.OK, f"plugin {plugin}"), make()
    except (SettingsError, PluginError) as error:
        return _failed(name, error), None


def _whole(plugins: Plugins) -> Check:
    """Check the application as a whole, for example for routes that two plugins claim."""
    try:
        Application.of(plugins)
    except (SettingsError, PluginError) as error:
        return _failed("settings", error)
    return Check("settings", Outcome.OK, "complete: the server can start")


def _failed(name: str, error: SettingsError | PluginError) -> Check:
    remedy = _CORRECT_IT if isinstance(error, SettingsError) else _REPAIR_IT
    return Check(name, Outcome.FAILED, str(error), remedy)


def _unread(environ: Environ, *, is_complete: bool) -> list[str]:
    """Return a sentence for each name that nothing reads; *is_complete* says if all parts have read their settings."""
    return [*environ.mistakes(), *(environ.unknown() if is_complete else ())]


async def _examined(
    name: str,
    plugin: Plugin,
    part: object,
    timeouts: Timeouts,
    otherwise: Callable[[], AsyncIterator[Check]] | None = None,
) -> AsyncIterator[Check]:
    """Run the checks of *part*, which *plugin* created, or else those of *otherwise*; then close *part*."""
    try:
        async for check in _guarded(name, part, timeouts.check_s, otherwise):
            yield check
    finally:
        failure = await _failure_to_close(part, timeouts.close_s)
    if failure:
        yield Check(name, Outcome.FAILED, f"{plugin} {failure}", _REPORT_IT)


async def _guarded(
    name: str, part: object, timeout_s: float, otherwise: Callable[[], AsyncIterator[Check]] | None
) -> AsyncIterator[Check]:
    """
    Run the checks of *part*, or, if it has none, those of *otherwise*.

    If a plugin fails or hangs during its checks, the checks of other plugins still run.
    """
    try:
        # Not `isinstance`, which since Python 3.12 does not see what a `StoreWrapper` forwards.
        diagnose = getattr(part, "diagnose", otherwise)
        checks = None if diagnose is None else diagnose()
    except (Exception, SystemExit) as error:  # noqa: BLE001  its text may contain a secret
        yield _during_checks(name, error)
        return
    if checks is not None:
        async for check in _bounded(name, checks, timeout_s):
            yield check


async def _bounded(name: str, checks: AsyncIterator[Check], timeout_s: float) -> AsyncIterator[Check]:
    """Run *checks*, each within *timeout_s* seconds; if one fails to run, say so in place of those that are left."""
    end = object()

    async def step() -> object:
        return await anext(checks, end)

    try:
        while (check := await bounded(step, timeout_s)) is not end:
            yield _on_one_line(check)
    except TimedOut:
        yield Check(name, Outcome.FAILED, f"the checks did not end within {timeout_s:g} s", _REPORT_IT)
    except (Exception, SystemExit) as error:  # noqa: BLE001  as above
        yield _during_checks(name, error)


def _on_one_line(check: Check) -> Check:
    """Return *check* with each of its texts on one line."""
    name, finding, remedy = (" ".join(text.split()) for text in (check.name, check.finding, check.remedy))
    return attrs.evolve(check, name=name, finding=finding, remedy=remedy)


def _during_checks(name: str, error: BaseException) -> Check:
    return Check(name, Outcome.FAILED, f"{type(error).__name__} during the checks", _REPORT_IT)


async def _failure_to_close(part: object, timeout_s: float) -> str:
    """Close *part*; if that fails, return what went wrong, and otherwise an empty string."""
    try:
        await close_in_time(part, timeout_s)
    except TimedOut:
        return f"did not close in {timeout_s:.0f} s, and will not do so when the server stops, either"
    except (Exception, SystemExit) as error:  # noqa: BLE001  as above
        return f"failed to close: {type(error).__name__}"
    return ""


async def _ping(plugins: Plugins) -> AsyncIterator[Check]:
    """Check a store that has no checks of its own."""
    try:
        await plugins.bounded_store().ping()
    except StoreError as error:
        yield Check("ping", Outcome.FAILED, str(error), "See the documentation of the storage plugin.")
    else:
        yield Check("ping", Outcome.OK, "it can serve requests")
