"""
Test plugins: contracts for stores and auth backends, checks of API documents, and a server to run.

They need the extra `taskd-server[testing]`.  Subclass a contract, give it its fixtures, and pytest runs it.
"""

from taskd.testing.auth import AuthContract
from taskd.testing.documents import undescribed
from taskd.testing.server import RunningServer, lifespan, running_server
from taskd.testing.storage import StoreContract

__all__ = ["AuthContract", "RunningServer", "StoreContract", "lifespan", "running_server", "undescribed"]
