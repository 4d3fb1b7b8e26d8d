import pytest
from acme_taskd.memory import MemoryStore

from taskd.testing import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()
