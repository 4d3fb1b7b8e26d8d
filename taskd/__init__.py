"""
taskd: a self-hosted task-management REST server whose parts are plugins.

The other public modules are `taskd.tasks`, `taskd.queries`, `taskd.storage`, `taskd.auth`, `taskd.parts`,
`taskd.routes`, `taskd.errors`, `taskd.fields`, `taskd.settings`, `taskd.checks`, `taskd.commands`, `taskd.outages`,
`taskd.limiter`, `taskd.time_limit`, `taskd.urls` and `taskd.tls`, each named after its subject, and `taskd.testing`,
which is for testing plugins.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  pip refuses older versions, but a checkout may run without pip
    sys.exit("taskd: needs Python 3.11 or later, and this is Python {}.{}".format(*sys.version_info))

from taskd.application import build_app
from taskd.hooks import hookimpl
from taskd.plugins import PluginError
from taskd.version import __version__

__all__ = ["PluginError", "__version__", "build_app", "hookimpl"]
