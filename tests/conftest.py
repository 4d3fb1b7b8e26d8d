"""Fixtures: both databases, the application over each, and clients with tokens."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings
from starlette.types import ASGIApp

from taskd import build_app
from taskd.application import Application
from taskd.testing import lifespan
from taskd_jwt.schemes import SecretScheme
from tests.support.clock import Clock
from tests.support.figures import Figures, table
from tests.support.pgbouncer import PREPARING, PgBouncer, pgbouncer
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.processes import child_environ
from tests.support.third_parties import Site
from tests.support.witness import Witness

# Each module has the fixtures for one subject, which several test modules share.
pytest_plugins = [
    "tests.support.databases",
    "tests.support.doctor",
    "tests.support.outages",
    "tests.support.key_endpoint",
    "tests.support.reader",
]

SECRET = "a secret for the tests, of more than 32 bytes"
ORIGIN = "https://app.example.com"
# However slow the machine is, no request is refused for having waited too long.
PATIENT = {"TASKD_QUEUE_TIMEOUT": "60"}
# Test modules that are run only with an option, and that option.
ON_REQUEST = {
    "test_better_auth.py": "--better-auth",
    "test_mcp_oauth.py": "--better-auth",
    "test_clients.py": "--clients",
    "test_generators.py": "--clients",
    "test_nextjs.py": "--clients",
    "test_broken_servers.py": "--authors",
    "test_broken_stores.py": "--authors",
    "test_catalogue.py": "--authors",
    "test_cli.py": "--processes",
    "test_command.py": "--authors",
    "test_containers.py": "--recipes",
    "test_correct_plugins.py": "--authors",
    "test_drain.py": "--processes",
    "test_examples.py": "--examples",
    "test_image.py": "--machines",
    "test_kubernetes.py": "--recipes",
    "test_machine.py": "--machines",
    "test_new_plugins.py": "--authors",
    "test_pgbouncer.py": "--recipes",
    "test_processes.py": "--processes",
    "test_proxies.py": "--recipes",
    "test_reliability.py": "--reliability",
    "test_server.py": "--processes",
    "test_serverless.py": "--recipes",
    "test_systemd.py": "--recipes",
    "test_upgrade.py": "--reliability",
}
FIGURES = pytest.StashKey[list[Figures]]()

# The speed of the machine must not decide, nor what an earlier run has found.
of_any_speed = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.register_profile("brief", of_any_speed, max_examples=40)
settings.register_profile("thorough", of_any_speed, max_examples=1000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough", action="store_true", help="Run the long versions of tests, and those marked `thorough`, too."
    )
    parser.addoption("--better-auth", action="store_true", help="Run the tests with a real Better Auth, too.")
    parser.addoption("--clients", action="store_true", help="Run the tests with other people's clients, too.")
    parser.addoption("--authors", action="store_true", help="Run the tests for authors of plugins and servers, too.")
    parser.addoption("--examples", action="store_true", help="Serve with the plugins in examples/, too.")
    parser.addoption("--processes", action="store_true", help="Start, restart and stop many processes, too.")
    parser.addoption("--reliability", action="store_true", help="Kill, freeze and cut off servers under load, too.")
    parser.addoption("--recipes", action="store_true", help="Check the files in examples/deploy, with proxies, too.")
    parser.addoption("--machines", action="store_true", help="Follow the guide to operations in a fresh Debian, too.")
    parser.addoption("--schemathesis-seed", type=int, default=1, help="The seed of schemathesis's random requests.")
    parser.addoption("--screenshots", type=Path, help="Where to save screenshots; by default, in pytest's own folder.")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out tests that take long, or need Node or a browser, unless an option asks for them."""
    option = ON_REQUEST.get(collection_path.name)
    return True if option is not None and not config.getoption(option) else None


def pytest_configure(config: pytest.Config) -> None:
    """Let properties be tried with few examples, unless the option asks for many."""
    settings.load_profile("thorough" if config.getoption("--thorough") else "brief")
    config.addinivalue_line("markers", "thorough: repeats what other tests prove; only run with --thorough")
    config.stash[FIGURES] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that only repeat what others prove, unless an option asks for them."""
    if not config.getoption("--thorough"):
        repeated = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=repeated)
        items[:] = [item for item in items if item not in repeated]


def pytest_xdist_auto_num_workers() -> int:
    """Use two processes per core: half of the time, tests are waiting for a server or a database."""
    return 2 * (os.cpu_count() or 1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the figures of a thorough run; those of other runs are not meaningful."""
    measured = config.stash[FIGURES] if config.getoption("--thorough") else []
    terminalreporter.write("\n" + table(measured))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def is_thorough(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--thorough"))


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> list[Figures]:
    """The lines to print at the end of the session; tests append to them."""
    return pytestconfig.stash[FIGURES]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the developer's own settings out of the tests, and the tests' files out of the repository."""
    settings = {"DATABASE_URL", "BETTER_AUTH_SECRET", "BETTER_AUTH_URL", "FRONTEND_URL"}
    for name in settings | {name for name in os.environ if name.startswith("TASKD_")}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def witness() -> Iterator[Witness]:
    """Check all responses of taskd to httpx clients."""
    application = Application.assemble({"TASKD_PLUGINS": "docs,jwt,sql,tasks"}, verifies_credentials=False)
    made = Witness.of(application.document)
    with pytest.MonkeyPatch.context() as monkeypatch:
        made.watch(monkeypatch)
        yield made


@pytest.fixture(autouse=True)
def _declared_only(witness: Witness) -> Iterator[None]:
    """Check that no test gets a response that the API document does not declare."""
    yield
    assert [] == witness.undeclared()


@pytest.fixture
def clock() -> Clock:
    """A clock for everything that ages; it only advances when a test says so."""
    return Clock()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder in which tests install third-party plugins."""
    with Site.at(tmp_path / "site", monkeypatch) as made:
        yield made


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    return postgres.create_database("tests")


@pytest.fixture(scope="session")
def pooler(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """A pooler in front of the PostgreSQL server, in transaction mode."""
    with pgbouncer(postgres) as running:
        yield running


@pytest.fixture(scope="session")
def preparing_pooler(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """A pooler like the other one, except that it supports prepared statements."""
    with pgbouncer(postgres, PREPARING, max_prepared_statements=100) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a working database: tests that use it run on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/tasks.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def embedded_child(sqlite_file: Path) -> dict[str, str]:
    """The environment of a server over an SQLite file, for tests that do not depend on the store."""
    settings = {"DATABASE_URL": f"sqlite:///{sqlite_file}", "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN}
    return child_environ({**settings, **PATIENT})


@pytest.fixture
def environ(database_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN, **PATIENT}


@pytest.fixture
async def app(environ: dict[str, str]) -> AsyncIterator[ASGIApp]:
    application = build_app(environ)
    async with lifespan(application):
        yield application


def client_of(app: ASGIApp, user_id: str | None = None) -> httpx.AsyncClient:
    """Return a client of *app*, with a valid token for *user_id* or without a token."""
    headers = {} if user_id is None else {"Authorization": f"Bearer {token_for(user_id)}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://taskd", headers=headers)


def token_for(user_id: str, lifetime_s: int = 3600) -> str:
    return SecretScheme((SECRET,)).issue(user_id, lifetime_s)


@pytest.fixture
def user_id() -> str:
    """A user id that no other test uses, so tests can share a database."""
    return uuid.uuid4().hex


@pytest.fixture
def tasks_url(user_id: str) -> str:
    return f"/api/{user_id}/tasks"


@pytest.fixture
async def client(app: ASGIApp, user_id: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a valid token for `user_id`."""
    async with client_of(app, user_id) as connected:
        yield connected


@pytest.fixture
async def stranger(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    async with client_of(app) as connected:
        yield connected
