"""Checking one deployment from end to end, as `taskd doctor` does."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar

import attrs

from taskd.app import build_app
from taskd.diagnosis import Check, Diagnosable, Outcome
from taskd.plugins import PluginError, Plugins
from taskd.settings import SettingsError
from taskd.storage import StoreError, TaskStore

__all__ = ["examine"]

T = TypeVar("T")

# For one check; a database that does not answer takes its time.
CHECK_TIMEOUT_S = 60

_CORRECT_IT = "Correct it: docs/configuration.md lists what each variable may be."


async def examine(environ: Mapping[str, str]) -> AsyncIterator[Check]:
    """Check the settings in *environ*, the plugins that they select, whatever those need, and the whole."""
    try:
        plugins = Plugins.load(environ)
    except (SettingsError, PluginError) as error:
        yield Check("settings", Outcome.FAILED, str(error), _CORRECT_IT)
        return
    yield _origins(plugins.settings.frontend_origins)
    async for check in _auth(plugins):
        yield check
    async for check in _storage(plugins):
        yield check
    yield _whole(environ)


def _origins(origins: tuple[str, ...]) -> Check:
    if origins:
        return Check("frontend", Outcome.OK, f"pages of {', '.join(origins)} may read answers")
    remedy = "Set FRONTEND_URL to the frontend's origin, unless only its server calls taskd."
    return Check("frontend", Outcome.NOTE, "no page of another origin may read answers", remedy)


async def _auth(plugins: Plugins) -> AsyncIterator[Check]:
    check, backend = _made("auth", plugins.settings.auth, plugins.auth)
    yield check
    if backend is not None and isinstance(backend, Diagnosable):
        async for check in _guarded("auth", backend.diagnose):
            yield check


async def _storage(plugins: Plugins) -> AsyncIterator[Check]:
    check, store = _made("storage", plugins.settings.storage, plugins.storage)
    yield check
    if store is None:
        return
    try:
        diagnose = store.diagnose if isinstance(store, Diagnosable) else functools.partial(_ping, store)
        async for check in _guarded("storage", diagnose):
            yield check
    finally:
        # Nothing that is said of it then may hold a secret.
        with contextlib.suppress(Exception):
            await store.close()


def _made(part: str, plugin: str, make: Callable[[], T]) -> tuple[Check, T | None]:
    """Return the check of whether *plugin* can make its *part*, and what it made."""
    try:
        return Check(part, Outcome.OK, f"plugin {plugin}"), make()
    except (SettingsError, PluginError) as error:
        return Check(part, Outcome.FAILED, str(error), _CORRECT_IT), None


async def _guarded(name: str, diagnose: Callable[[], AsyncIterator[Check]]) -> AsyncIterator[Check]:
    """Pass checks on; a plugin that breaks down, or hangs, in the middle of them ends its own, and not the others'."""
    try:
        checks = diagnose()
        while (check := await asyncio.wait_for(anext(checks, None), CHECK_TIMEOUT_S)) is not None:
            yield attrs.evolve(check, finding=" ".join(check.finding.split()))
    except Exception as error:  # noqa: BLE001  whatever it is, its text may hold a secret
        finding = f"{type(error).__name__} during the checks"
        yield Check(name, Outcome.FAILED, finding, "Report it to those who make the plugin.")


async def _ping(store: TaskStore) -> AsyncIterator[Check]:
    """Check a store that has no checks of its own."""
    try:
        await store.ping()
    except StoreError as error:
        yield Check("answer", Outcome.FAILED, str(error), "See the documentation of the storage plugin.")
    else:
        yield Check("answer", Outcome.OK, "it would serve a request now")


def _whole(environ: Mapping[str, str]) -> Check:
    """Check what only shows when all the parts are put together, as routes that two plugins claim."""
    try:
        build_app(environ)
    except (SettingsError, PluginError) as error:
        return Check("settings", Outcome.FAILED, str(error), _CORRECT_IT)
    return Check("settings", Outcome.OK, "whole: the server would start")
