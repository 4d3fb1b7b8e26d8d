"""The default plugins pass the contracts that any plugin must pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from taskd import TaskStore
from taskd.testing import AuthContract, StoreContract
from taskd_jwt.backend import JWTBackend
from taskd_jwt.plugin import taskd_auth
from taskd_sql.plugin import taskd_storage
from tests.conftest import SECRET, token_for


class TestSQLStore(StoreContract):
    @pytest.fixture
    async def store(self, database_url: str) -> AsyncIterator[TaskStore]:
        sql = taskd_storage({"DATABASE_URL": database_url})
        yield sql
        await sql.close()


class TestJWTBackend(AuthContract):
    @pytest.fixture
    def backend(self) -> JWTBackend:
        return taskd_auth({"BETTER_AUTH_SECRET": SECRET})

    @pytest.fixture
    def credentials(self) -> Callable[[str], dict[str, str]]:
        return lambda user_id: {"Authorization": f"Bearer {token_for(user_id)}"}
