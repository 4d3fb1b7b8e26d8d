"""
taskd: a self-hosted task-management REST server whose parts are plugins.

The other public modules are `taskd.tasks`, `taskd.queries`, `taskd.storage`, `taskd.data`, `taskd.auth`,
`taskd.parts`, `taskd.routes`, `taskd.errors`, `taskd.fields`, `taskd.settings`, `taskd.checks`, `taskd.commands`,
`taskd.telemetry`, `taskd.outages`, `taskd.limiter`, `taskd.time_limit`, `taskd.urls` and `taskd.tls`, each named after
its subject, and `taskd.testing`, which is for testing plugins.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  pip refuses older versions, but a checkout may run without pip
    sys.exit("taskd: needs Python 3.11 or later, and this is Python {}.{}".format(*sys.version_info))

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskd.version import __version__

if TYPE_CHECKING:
    from taskd.application import build_app
    from taskd.hooks import hookimpl
    from taskd.plugins import PluginError

__all__ = ["PluginError", "__version__", "build_app", "hookimpl"]

# Imported when they are needed: a health check starts in a fraction of the time without them.
_MODULES = {"PluginError": "taskd.plugins", "build_app": "taskd.application", "hookimpl": "taskd.hooks"}


def __getattr__(name: str) -> Any:
    """Import one of the names above, or a module of this package."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if not name.startswith("_"):
        try:
            return import_module(f"taskd.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"taskd.{name}":
                raise
    raise AttributeError(f"module 'taskd' has no attribute {name!r}")
