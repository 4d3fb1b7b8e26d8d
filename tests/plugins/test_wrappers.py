"""Store wrappers and middleware: in which order they are called, what they may do, and which ones are refused."""

from __future__ import annotations

import sys

import pytest

from taskd.settings import SettingsError
from taskd.storage import StoreWrapper
from tests.conftest import client_of
from tests.support.applications import build, get, refusal
from tests.support.memory_store import MemoryStore
from tests.support.third_parties import STORE, Site, hook_source, routes_source

pytestmark = pytest.mark.anyio

# Adds its name to the titles that a list returns.
NAMING = """
class Naming(taskd.storage.StoreWrapper):
    async def list(self, owner, query):
        page = await super().list(owner, query)
        tasks = [attrs.evolve(task, title=f"{task.title}, NAME") for task in page.tasks]
        return attrs.evolve(page, tasks=tasks)

@hookimpl
def taskd_wrap_store(store):
    return Naming(store)
"""
# Adds its name to a response header.
MIDDLEWARE = """
class Naming:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"

        async def add(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-passed", b"NAME")]
            await send(message)

        await self.app(scope, receive, add)

@hookimpl
def taskd_middleware():
    return Naming
"""
REFUSING = """
class Refusing:
    def __init__(self, app):
        pass

    async def __call__(self, scope, receive, send):
        from starlette.exceptions import HTTPException

        raise HTTPException(503, "Too many requests.", {"Retry-After": "7"})

@hookimpl
def taskd_middleware():
    return Refusing
"""

# Refuses new tasks.
QUOTA = """
class Quota(taskd.storage.StoreWrapper):
    async def create(self, owner, new, *, task_id=None, key=None):
        from starlette.exceptions import HTTPException

        raise HTTPException(409, "You have too many tasks.")

@hookimpl
def taskd_wrap_store(store):
    return Quota(store)
"""


@pytest.fixture
def named(site: Site) -> Site:
    """Install plugins that show that they were passed."""
    for name in ("first", "second"):
        site.install(f"{name}-wrapper", NAMING.replace("NAME", name), distribution=f"{name}-wrapper")
        site.install(f"{name}-middleware", MIDDLEWARE.replace("NAME", name), distribution=f"{name}-middleware")
    site.install("one", STORE)
    return site


@pytest.mark.usefixtures("named")
class TestWrappers:
    @pytest.mark.parametrize(
        ("wrappers", "title"),
        [
            ("", "a task of alice"),
            ("first-wrapper", "a task of alice, first"),
            ("second-wrapper, first-wrapper", "a task of alice, first, second"),
        ],
    )
    async def test_calls_pass_through_the_wrappers_in_the_order_of_the_setting(self, wrappers: str, title: str) -> None:
        """Results pass through them in reverse; wrappers that are not named do nothing."""
        app = build(TASKD_STORAGE="one", TASKD_STORE_WRAPPERS=wrappers)

        response = await get(app, "/api/alice/tasks", "alice")

        assert [title] == [task["title"] for task in response.json()]

    def test_a_plugin_that_wraps_nothing_is_refused(self) -> None:
        """The message says which plugins wrap stores."""
        with pytest.raises(SettingsError, match=r"TASKD_STORE_WRAPPERS: .*do: first-wrapper, second-wrapper"):
            build(TASKD_STORE_WRAPPERS="sql")

    def test_a_plugin_that_is_not_installed_is_refused(self) -> None:
        """A misspelt name does not lead to a server without its audit log."""
        with pytest.raises(SettingsError, match="TASKD_STORE_WRAPPERS: no plugin 'frist' is installed"):
            build(TASKD_STORE_WRAPPERS="frist")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("return None", "returned a NoneType from taskd_wrap_store, not a StoreWrapper"),
        (
            "return taskd.storage.StoreWrapper(taskd.storage.StoreWrapper(None))",
            "returned a wrapper of another store from taskd_wrap_store",
        ),
    ],
    ids=["no wrapper", "another store"],
)
def test_a_wrapper_must_wrap_the_store_that_it_was_given(site: Site, statement: str, reason: str) -> None:
    """Otherwise tasks would go elsewhere."""
    site.install("broken", hook_source("taskd_wrap_store", statement))

    assert reason in refusal(TASKD_STORE_WRAPPERS="broken")


async def test_a_wrapper_may_refuse_a_call(site: Site) -> None:
    """Clients get the sentence, as from an endpoint."""
    site.install("quota", QUOTA)
    app = build(TASKD_STORE_WRAPPERS="quota")

    async with client_of(app, "alice") as client:
        response = await client.post("/api/alice/tasks", json={"title": "t"})

    assert (409, "You have too many tasks.") == (response.status_code, response.json()["detail"])


async def test_a_wrapper_has_the_attributes_of_the_store() -> None:
    """Commands reach what a store can do beyond its methods, such as migrating, through its wrappers."""

    class Migrating(MemoryStore):
        async def migrate(self) -> list[str]:
            return ["0001"]

    wrapper = StoreWrapper(StoreWrapper(Migrating()))

    assert ["0001"] == await wrapper.migrate()
    assert not hasattr(wrapper, "diagnose")


@pytest.mark.usefixtures("named")
class TestMiddleware:
    @pytest.mark.parametrize(
        ("middleware", "passed"),
        [
            ("", []),
            ("first-middleware,second-middleware", ["second", "first"]),
            ("second-middleware,first-middleware", ["first", "second"]),
        ],
    )
    async def test_requests_pass_through_the_middleware_in_the_order_of_the_setting(
        self, middleware: str, passed: list[str]
    ) -> None:
        """Responses pass through it in reverse, also those to paths that do not exist."""
        app = build(TASKD_MIDDLEWARE=middleware)

        found = [(await get(app, path)).headers.get_list("x-passed") for path in ("/livez", "/nothing")]

        assert [passed, passed] == found

    def test_a_plugin_without_middleware_is_refused(self) -> None:
        """The message says which plugins have some."""
        with pytest.raises(SettingsError, match=r"TASKD_MIDDLEWARE: .*do: first-middleware, second-middleware"):
            build(TASKD_MIDDLEWARE="sql")


async def test_middleware_refuses_as_an_endpoint_does(site: Site) -> None:
    """Its error becomes a JSON response with the headers that all responses have."""
    site.install("refusing", REFUSING)
    app = build(TASKD_MIDDLEWARE="refusing", FRONTEND_URL="https://app.example.com")

    response = await get(app, "/api/alice/tasks", "alice", origin="https://app.example.com")

    assert (503, "7") == (response.status_code, response.headers["retry-after"])
    assert "Too many requests." == response.json()["detail"]
    assert "https://app.example.com" == response.headers["access-control-allow-origin"]
    assert "x-request-id" in response.headers


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("return lambda app: None", "returned middleware from taskd_middleware that makes no application"),
        ("return 5", "failed in taskd_middleware: TypeError"),
    ],
)
def test_middleware_must_make_an_application(site: Site, statement: str, reason: str) -> None:
    """The start fails, and not each request."""
    site.install("broken", hook_source("taskd_middleware", statement))

    assert reason in refusal(TASKD_MIDDLEWARE="broken")


COPYING = """
class Copying:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app({**scope}, receive, send)

@hookimpl
def taskd_middleware():
    return Copying
"""


async def test_middleware_may_pass_on_a_copy_of_the_scope(site: Site) -> None:
    """Responses for a user are not stored by caches, although the copy has the user, and not the original."""
    site.install("copying", COPYING + routes_source("Route('/me', endpoint, methods=['GET'])"))
    app = build(TASKD_MIDDLEWARE="copying")

    response = await get(app, "/me", "alice")

    assert (200, "private, no-cache") == (response.status_code, response.headers["cache-control"])


async def test_middleware_may_refuse_a_user_before_the_endpoint_runs(site: Site) -> None:
    """It is called back once the user is known, even if the scope is copied, and never for public routes."""
    source = MIDDLEWARE.replace(
        "await self.app(scope, receive, add)",
        """
        async def check(user):
            from starlette.exceptions import HTTPException

            raise HTTPException(503, f"{user.identity} must wait.")

        taskd.auth.when_known(scope, check)
        await self.app(scope, receive, send)
        """,
    )
    site.install("checking", source, distribution="checking")
    site.install("copying", COPYING, distribution="copying")
    app = build(TASKD_MIDDLEWARE="checking,copying")

    responses = [await get(app, "/api/alice/tasks", user) for user in ("alice", None)]
    health = await get(app, "/livez")

    assert [(503, "alice must wait."), 401] == [
        (responses[0].status_code, responses[0].json()["detail"]),
        responses[1].status_code,
    ]
    assert 200 == health.status_code


async def test_middleware_cannot_end_the_server(site: Site) -> None:
    """SystemExit becomes a 500, as in an endpoint."""
    site.install("exiting", MIDDLEWARE.replace("await self.app(scope, receive, add)", "sys.exit(3)"))

    response = await get(build(TASKD_MIDDLEWARE="exiting"), "/livez")

    assert 500 == response.status_code


async def test_the_user_is_known_after_the_response(site: Site) -> None:
    """Middleware can count the requests of a user, whatever credentials look like."""
    source = MIDDLEWARE.replace(
        "await self.app(scope, receive, add)",
        "await self.app(scope, receive, send)\n        seen.append(scope['user'].identity)",
    )
    module = site.install("watching", f"seen = []\n{source}")
    app = build(TASKD_MIDDLEWARE="watching")
    async with client_of(app, "alice") as client:
        await client.get("/api/alice/tasks/1")

    assert ["alice"] == sys.modules[module].seen
