"""What the commands that plugins add to the command line need."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from taskd.plugins import Plugins
from taskd.storage import TaskStore

__all__ = ["open_store"]


@contextlib.asynccontextmanager
async def open_store(environ: Mapping[str, str]) -> AsyncIterator[TaskStore]:
    """
    Open the store that the settings in *environ* select, in its wrappers, and close it at the end of the block.

    The settings of other parts, such as authentication, are not needed, and nothing that plugins run beside requests
    (`taskd_lifespan`) is running.  A command need not handle the errors: it
    exits with status 1 after printing them on one line.

    Raises:
        SettingsError: A setting is missing or wrong.
        PluginError: A plugin is broken or ambiguous.
    """
    plugins = Plugins.load(environ)
    try:
        yield plugins.bounded_store()
    finally:
        await plugins.close()
