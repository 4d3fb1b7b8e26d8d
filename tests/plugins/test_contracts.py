"""The default plugins pass the contracts that any plugin must pass."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable

import attrs
import pytest
from starlette.authentication import AuthCredentials, AuthenticationBackend
from starlette.requests import HTTPConnection

from taskd.auth import InvalidCredentials, MissingCredentials, User
from taskd.storage import TaskStore
from taskd.testing import AuthContract, StoreContract
from taskd.testing.auth import guarded_by
from taskd_jwt.backend import JWTBackend
from taskd_jwt.plugin import taskd_auth
from taskd_sql.plugin import taskd_storage
from tests.conftest import SECRET, token_for


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


class TestJWTBackend(AuthContract):
    @pytest.fixture
    def backend(self) -> JWTBackend:
        return taskd_auth({"BETTER_AUTH_SECRET": SECRET})

    @pytest.fixture
    def credentials(self) -> Callable[[str], dict[str, str]]:
        return lambda user_id: {"Authorization": f"Bearer {token_for(user_id)}"}


KEYS = {
    "digits": "31415926535897932384626433832795",
    "a palindrome": "abcdefghijklmnopqrrqponmlkjihgfedcba",
    "one character": "0" * 32,
    "marks": "-_.~" * 8,
    "short": "7",
    "hexadecimal": "c0ffee" * 6,
}


@attrs.frozen
class KeyBackend(AuthenticationBackend):
    """Accepts alice's key in its own header; *is_same* says which other values are accepted, too."""

    key: str
    is_same: Callable[[str, str], bool] = operator.eq

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, User]:
        sent = conn.headers.get("x-key")
        if sent is None:
            raise MissingCredentials
        if not self.is_same(sent, self.key):
            raise InvalidCredentials
        return AuthCredentials(), User("alice")


class TestKeys(AuthContract):
    """A key may be any text."""

    @pytest.fixture(params=KEYS)
    def key(self, request: pytest.FixtureRequest) -> str:
        return KEYS[request.param]

    @pytest.fixture
    def backend(self, key: str) -> KeyBackend:
        return KeyBackend(key)

    @pytest.fixture
    def credentials(self, key: str) -> Callable[[str], dict[str, str]]:
        return lambda _: {"X-Key": key}


class TestKeysInAnyCase(TestKeys):
    """A key may be case-insensitive."""

    @pytest.fixture
    def backend(self, key: str) -> KeyBackend:
        return KeyBackend(key, lambda sent, own: sent.lower() == own.lower())


@pytest.mark.anyio
@pytest.mark.parametrize(
    "is_same",
    [
        lambda sent, key: sent.startswith(key),
        lambda sent, key: key.startswith(sent),
        lambda sent, key: len(sent) == len(key),
        lambda sent, key: sent[:12] == key[:12],
        lambda sent, key: sorted(sent) == sorted(key),
    ],
    ids=["has the key as prefix", "is a prefix of the key", "same length", "twelve characters", "any order"],
)
@pytest.mark.parametrize("key", ["31415926535897932384626433832795", "f3Zr0vSQ6uZ9tHqkq5pWj2x1yL8n4b7c"])
async def test_a_backend_that_accepts_more_than_the_key_fails_the_contract(
    key: str, is_same: Callable[[str, str], bool]
) -> None:
    """Values that only resemble the key are detected, whatever characters the key consists of."""
    client = guarded_by(KeyBackend(key, is_same))

    with pytest.raises(AssertionError):
        await AuthContract().test_altered_credentials_are_refused(client, lambda _: {"X-Key": key})


@attrs.frozen
class Accusing(KeyBackend):
    """Treats everything that it does not accept as invalid, even a missing key, or a valid key for another's path."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, User]:
        if conn.headers.get("x-key") != self.key or conn.url.path != "/api/alice":
            raise InvalidCredentials
        return AuthCredentials(), User("alice")


@pytest.mark.anyio
async def test_a_backend_that_treats_a_missing_key_as_invalid_fails_the_contract() -> None:
    """Clients could not tell whether to send credentials or to get new ones."""
    with pytest.raises(AssertionError):
        await AuthContract().test_missing_credentials_are_not_invalid(guarded_by(Accusing("key")))


@pytest.mark.anyio
async def test_a_backend_that_compares_the_path_itself_fails_the_contract() -> None:
    """That is up to the guard; otherwise, clients would get new credentials that are no better than the old ones."""
    with pytest.raises(AssertionError):
        await AuthContract().test_credentials_are_only_valid_for_their_user(
            guarded_by(Accusing("key")), lambda _: {"X-Key": "key"}
        )
