"""
taskd: a self-hosted task-management REST server whose parts are plugins.

The rest of the public interface is in the modules named after its subjects: `taskd.tasks`, `taskd.storage`,
`taskd.auth`, `taskd.routes`, `taskd.fields`, `taskd.settings`, `taskd.checks`, `taskd.outages`, `taskd.limiter`,
`taskd.urls` and `taskd.tls`; and in `taskd.testing`, which is for the tests of plugins.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  pip refuses older ones, and a checkout may be run without pip
    sys.exit("taskd: needs Python 3.11 or later, and this is Python {}.{}".format(*sys.version_info))

from taskd.application import build_app
from taskd.hooks import hookimpl
from taskd.plugins import PluginError

__all__ = ["PluginError", "__version__", "build_app", "hookimpl"]

__version__ = "0.1.0"
