"""
Tools for testing plugins: contracts for stores and auth backends, a check of API documents, and servers to run.

These tools need the extra `taskd-server[testing]`.  To test a plugin, subclass a contract and define its fixtures;
pytest then runs its tests.
"""

import pytest

# Must come before these modules are imported, so that failed assertions show values.
pytest.register_assert_rewrite("taskd.testing.auth", "taskd.testing.storage")

from taskd.testing.auth import AuthContract
from taskd.testing.documents import undescribed
from taskd.testing.server import RunningServer, lifespan, running_server
from taskd.testing.storage import StoreContract
from taskd.testing.trial import trial_client

__all__ = [
    "AuthContract",
    "RunningServer",
    "StoreContract",
    "lifespan",
    "running_server",
    "trial_client",
    "undescribed",
]
