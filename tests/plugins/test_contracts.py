"""The default plugins pass the contracts that any plugin must pass."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from starlette.authentication import AuthenticationBackend

from taskd.storage import TaskStore
from taskd.testing import AuthContract, StoreContract
from taskd.testing.storage.outages import OutageTests
from taskd_jwt.backend import JWTBackend
from taskd_jwt.plugin import taskd_auth
from taskd_sql.plugin import taskd_storage
from tests.conftest import SECRET, token_for
from tests.support.applications import build_verifying
from tests.support.clock import Clock
from tests.support.issuer import Issuer
from tests.support.key_endpoint import Endpoint
from tests.support.proxy import Proxy


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('contract')}/tasks.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


class TestSQLStore(StoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    async def store(cls, database_url: str) -> AsyncIterator[TaskStore]:
        sql = taskd_storage({"DATABASE_URL": database_url})
        yield sql
        await sql.close()

    @pytest.fixture
    def reopen(self, database_url: str) -> Callable[[], TaskStore]:
        return lambda: taskd_storage({"DATABASE_URL": database_url})


class TestSQLStoreWithoutItsServer(OutageTests):
    """The SQL store while PostgreSQL cannot be reached."""

    @pytest.fixture
    def owner(self, user_id: str) -> str:
        return user_id

    @pytest.fixture
    async def store(self, proxy: Proxy, postgres_url: str) -> AsyncIterator[TaskStore]:
        sql = taskd_storage({"DATABASE_URL": proxy.url_through(postgres_url)})
        yield sql
        await sql.close()

    @pytest.fixture
    def outage(self, proxy: Proxy) -> Callable[[], AbstractAsyncContextManager[None]]:
        @contextlib.asynccontextmanager
        async def down() -> AsyncIterator[None]:
            await proxy.refuse()
            yield
            await proxy.accept()

        return down


class TestJWTBackend(AuthContract):
    @pytest.fixture
    def backend(self) -> JWTBackend:
        return taskd_auth({"BETTER_AUTH_SECRET": SECRET})

    @pytest.fixture
    def credentials(self) -> Callable[[str], dict[str, str]]:
        return lambda user_id: {"Authorization": f"Bearer {token_for(user_id)}"}


class TestJWTBackendWithPublishedKeys(AuthContract):
    """The JWT backend with keys that it fetches, some of the time in vain."""

    @pytest.fixture
    def backend(self, both_schemes: dict[str, str], endpoint: Endpoint, clock: Clock) -> AuthenticationBackend:  # noqa: ARG002
        return build_verifying(both_schemes, clock=clock).backend

    @pytest.fixture
    def credentials(self, issuer: Issuer) -> Callable[[str], dict[str, str]]:
        return lambda user_id: {"Authorization": f"Bearer {issuer.sign({'sub': user_id})}"}

    @pytest.fixture
    def outage(self, endpoint: Endpoint, clock: Clock) -> Callable[[], AbstractAsyncContextManager[None]]:
        @contextlib.asynccontextmanager
        async def down() -> AsyncIterator[None]:
            endpoint.fault = httpx.ConnectError("down")
            yield
            endpoint.fault = None
            # Until the keys may be fetched again.
            clock.now_s += 60

        return down
