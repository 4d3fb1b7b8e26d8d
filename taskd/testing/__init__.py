"""
For the tests of plugins: what a store and an auth backend must do, what an API document must say, and the whole server.

It needs the extra `taskd[testing]`.  Subclass a contract in a test module, give it its fixtures, and pytest runs it.
"""

from taskd.testing.auth import AuthContract
from taskd.testing.documents import undescribed
from taskd.testing.server import RunningServer, lifespan, running_server
from taskd.testing.storage import StoreContract

__all__ = ["AuthContract", "RunningServer", "StoreContract", "lifespan", "running_server", "undescribed"]
