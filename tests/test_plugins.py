"""Plugins of third parties: which are found, which are refused, and what they cannot do to each other."""

from __future__ import annotations

import inspect
import sys
from types import FunctionType

import pytest

from taskd import SettingsError, hooks
from taskd.plugins import HOOKS
from taskd.testing import lifespan
from taskd_jwt.lanes import SecretLane
from tests.applications import build, get, refusal
from tests.conftest import client_of
from tests.third_parties import STORE, Site, hook_source, routes_source

pytestmark = pytest.mark.anyio

# Believes whoever says a name: nothing that it says may be heard unless it is selected.
GULLIBLE = """
class Gullible(AuthenticationBackend):
    async def authenticate(self, conn):
        return AuthCredentials(), taskd.User(conn.headers["x-user"])
"""


def wrong_setting(**environ: str) -> str:
    """Why no application is built because of a setting."""
    with pytest.raises(SettingsError) as caught:
        build(**environ)
    return str(caught.value)


class TestFound:
    async def test_a_third_partys_route_is_served(self, site: Site) -> None:
        """Installing a plugin is all that its routes need."""
        module = site.install("hello", routes_source("Route('/hello', open_endpoint)"))

        answer = await get(build(), "/hello")

        assert (200, f"{module}: anyone") == (answer.status_code, answer.text)

    async def test_a_third_partys_auth_serves_when_selected(self, site: Site) -> None:
        """The backend of the plugin that `TASKD_AUTH` names tells who a request is from."""
        module = site.install(
            "gullible",
            GULLIBLE + hook_source("taskd_auth", "return Gullible()") + routes_source("Route('/me', endpoint)"),
        )

        answer = await get(build(TASKD_AUTH="gullible"), "/me", **{"X-User": "alice"})

        assert (200, f"{module}: alice") == (answer.status_code, answer.text)

    async def test_a_third_partys_storage_serves_when_selected(self, site: Site) -> None:
        """The store of the plugin that `TASKD_STORAGE` names keeps the tasks."""
        site.install("memory", STORE)

        answer = await get(build(TASKD_STORAGE="memory"), "/api/alice/tasks", "alice")

        assert (200, ["a task of alice"]) == (answer.status_code, answer.json())

    async def test_a_plugin_may_be_any_object(self, site: Site) -> None:
        """An entry point may name an object with hooks for methods, of a class that has no hash too."""
        source = """
@attrs.define
class Plugin:
    @hookimpl
    def taskd_routes(self):
        return [Route("/hello", open_endpoint)]

plugin = Plugin()
"""
        site.install("hello", source, attribute=":plugin")

        assert 200 == (await get(build(), "/hello")).status_code

    async def test_hooks_get_the_store_and_the_environment(self, site: Site) -> None:
        """A hook for routes is handed the selected store and the settings of the process."""
        source = """
@hookimpl
def taskd_routes(environ, store):
    async def show(request):
        return PlainTextResponse(f"{environ['GREETING']} {type(store).__name__}")

    return [Route("/hello", taskd.public(show))]
"""
        site.install("hello", source)

        assert "Hi SQLTaskStore" == (await get(build(GREETING="Hi"), "/hello")).text

    async def test_two_apps_share_nothing(self) -> None:
        """Of two applications in one process neither knows the other's tasks nor takes its tokens."""
        theirs = SecretLane("the secret of the other app, of more than 32 bytes").issue("alice", 60)
        first = build(DATABASE_URL="sqlite:///first.db")
        second = build(
            DATABASE_URL="sqlite:///second.db",
            BETTER_AUTH_SECRET="the secret of the other app, of more than 32 bytes",
        )
        async with lifespan(first), lifespan(second), client_of(first, "alice") as alice:
            made = await alice.post("/api/alice/tasks", json={"title": "t"})

            assert [made.json()] == (await get(first, "/api/alice/tasks", "alice")).json()
            assert [] == (await get(second, "/api/alice/tasks", Authorization=f"Bearer {theirs}")).json()
            assert 401 == (await get(first, "/api/alice/tasks", Authorization=f"Bearer {theirs}")).status_code
            assert 401 == (await get(second, "/api/alice/tasks", "alice")).status_code


class TestRefused:
    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            pytest.param("@hookimpl\ndef taskd_rutes():\n    return []", "taskd_rutes", id="misspelt"),
            pytest.param("def taskd_routes():\n    return []", "not mark taskd_routes with", id="unmarked"),
            pytest.param(
                routes_source() + "def taskd_auth():\n    return None", "not mark taskd_auth with", id="half-marked"
            ),
            pytest.param("", "implements no hook", id="no hook"),
            pytest.param("@hookimpl\ndef taskd_routes(database):\n    return []", "database", id="argument"),
            pytest.param("import no_such_module", "no_such_module", id="import"),
            pytest.param("raise ValueError('out of order')", "ValueError: out of order", id="raises"),
            pytest.param("def :", "SyntaxError", id="syntax"),
            pytest.param("sys.exit('good bye')", "SystemExit: good bye", id="exits"),
        ],
    )
    def test_a_plugin_that_cannot_be_loaded_stops_the_start(self, site: Site, source: str, reason: str) -> None:
        """What is wrong with a plugin is said in one line, with its name and its distribution's."""
        site.install("broken", source)

        message = refusal()

        assert message.startswith("plugin 'broken' of acme 1.0 ")
        assert reason in message
        assert "\n" not in message

    def test_an_entry_point_to_nothing_stops_the_start(self, site: Site) -> None:
        """An entry point that names what its module does not have is refused."""
        site.install("broken", "", attribute=":nothing")

        assert "plugin 'broken' of acme 1.0 cannot be loaded" in refusal()

    @pytest.mark.parametrize(
        ("hook", "environ"),
        [
            ("taskd_auth", {"TASKD_AUTH": "broken"}),
            ("taskd_storage", {"TASKD_STORAGE": "broken"}),
            ("taskd_routes", {}),
        ],
    )
    @pytest.mark.parametrize(
        ("definition", "statement"),
        [
            pytest.param("def", "return object()", id="wrong type"),
            pytest.param("def", "return None", id="nothing"),
            pytest.param("def", "return [object()]", id="list of a wrong type"),
            pytest.param("def", "raise LookupError('out of order')", id="raises"),
            pytest.param("def", "sys.exit(0)", id="exits"),
            pytest.param("def", "yield from [1 / 0]", id="generator"),
            pytest.param("async def", "return []", id="async"),
        ],
    )
    def test_a_hook_that_fails_stops_the_start(
        self, site: Site, hook: str, environ: dict[str, str], definition: str, statement: str
    ) -> None:
        """A hook that raises, or returns what it must not, is named with its plugin and distribution."""
        site.install("broken", f"@hookimpl\n{definition} {hook}():\n    {statement}\n")

        message = refusal(**environ)

        assert "plugin 'broken' of acme 1.0 " in message
        assert hook in message

    def test_a_plugins_own_setting_stops_the_start(self, site: Site) -> None:
        """A `SettingsError` from a hook arrives as it is."""
        site.install("broken", hook_source("taskd_routes", "raise taskd.SettingsError('ACME_URL', 'is not set')"))

        assert "ACME_URL: is not set" == wrong_setting()

    def test_two_plugins_of_one_name_are_refused(self, site: Site) -> None:
        """Which of two would serve is nothing to guess: both distributions are named."""
        site.install("hello", routes_source(), distribution="acme")
        site.install("hello", routes_source(), distribution="zenith")

        assert "plugin 'hello' is claimed by acme 1.0, zenith 1.0: uninstall all but one" == refusal()

    @pytest.mark.parametrize("name", ["jwt", "sql", "tasks"])
    def test_a_default_plugins_name_is_taken(self, site: Site, name: str) -> None:
        """No distribution can put itself in the place of a default plugin."""
        module = site.install(name, routes_source())

        assert f"plugin '{name}' is claimed by acme 1.0, taskd " in refusal()
        assert module not in sys.modules


class TestSelection:
    @pytest.mark.parametrize(
        ("variable", "name", "able"),
        [
            ("TASKD_AUTH", "nobody", "gullible, jwt"),
            ("TASKD_AUTH", "sql", "gullible, jwt"),
            ("TASKD_AUTH", "", "gullible, jwt"),
            ("TASKD_STORAGE", "nobody", "sql"),
            ("TASKD_STORAGE", "gullible", "sql"),
        ],
    )
    def test_an_unknown_name_is_refused(self, site: Site, variable: str, name: str, able: str) -> None:
        """A name that no plugin for this purpose has is refused, and those that there are are named."""
        site.install("gullible", GULLIBLE + hook_source("taskd_auth", "return Gullible()"))

        message = wrong_setting(**{variable: name})

        assert f"{variable}: no enabled plugin '{name}' provides this; those that do: {able}" == message

    @pytest.mark.parametrize(
        ("variable", "environ"),
        [
            ("TASKD_AUTH", {"TASKD_DISABLED_PLUGINS": "jwt"}),
            ("TASKD_AUTH", {"TASKD_PLUGINS": "sql,tasks,gullible"}),
            ("TASKD_STORAGE", {"TASKD_DISABLED_PLUGINS": " sql , "}),
            ("TASKD_STORAGE", {"TASKD_PLUGINS": "jwt", "TASKD_DISABLED_PLUGINS": "sql"}),
        ],
    )
    def test_a_disabled_plugin_is_replaced_by_none(self, site: Site, variable: str, environ: dict[str, str]) -> None:
        """When the selected plugin is disabled nothing starts: no other one takes its place."""
        site.install("gullible", GULLIBLE + hook_source("taskd_auth", "return Gullible()"))

        assert wrong_setting(**environ).startswith(f"{variable}: no enabled plugin ")

    @pytest.mark.parametrize(
        "environ",
        [{"TASKD_PLUGINS": "jwt,sql,tasks"}, {"TASKD_DISABLED_PLUGINS": "broken"}],
        ids=["not allowed", "disabled"],
    )
    def test_what_is_not_enabled_is_not_imported(self, site: Site, environ: dict[str, str]) -> None:
        """A plugin that would fail at its import does no harm unless it is enabled."""
        module = site.install("broken", "import no_such_module")

        build(**environ)

        assert module not in sys.modules

    def test_a_claimed_name_does_no_harm_while_it_is_disabled(self, site: Site) -> None:
        """Two distributions may claim a name that is disabled."""
        site.install("hello", routes_source(), distribution="acme")
        site.install("hello", routes_source(), distribution="zenith")

        build(TASKD_DISABLED_PLUGINS="hello")

    async def test_what_is_not_enabled_brings_no_routes(self) -> None:
        """Without the plugin for tasks there are no tasks to ask for."""
        assert 404 == (await get(build(TASKD_PLUGINS="jwt,sql"), "/api/alice/tasks", "alice")).status_code

    @pytest.mark.parametrize("variable", ["TASKD_PLUGINS", "TASKD_DISABLED_PLUGINS"])
    def test_unknown_names_in_the_lists_are_refused(self, variable: str) -> None:
        """A list that names a plugin that is not installed is refused, and those that are are named."""
        message = wrong_setting(**{variable: "jwt,sql,tasks,jwtt"})

        assert message.startswith(f"{variable}: no plugin 'jwtt' is installed, only ")
        assert all(name in message for name in ("jwt", "sql", "tasks"))

    @pytest.mark.parametrize(
        "hook",
        [
            pytest.param("@hookimpl\ndef taskd_auth():\n    return Gullible()", id="plain"),
            pytest.param("@hookimpl(tryfirst=True)\ndef taskd_auth():\n    return Gullible()", id="first"),
            pytest.param("@hookimpl(trylast=True)\ndef taskd_auth():\n    return Gullible()", id="last"),
            pytest.param("@hookimpl(specname='taskd_auth')\ndef auth():\n    return Gullible()", id="renamed"),
            pytest.param(
                "@hookimpl(wrapper=True)\ndef taskd_auth():\n    yield\n    return [Gullible()]", id="wrapper"
            ),
            pytest.param(
                "@hookimpl(hookwrapper=True)\ndef taskd_auth():\n    (yield).force_result([Gullible()])",
                id="old wrapper",
            ),
            pytest.param(
                "@hookimpl(wrapper=True, specname='taskd_auth')\ndef auth():\n    yield\n    return [Gullible()]",
                id="renamed wrapper",
            ),
        ],
    )
    async def test_another_auth_plugin_has_no_say(self, site: Site, hook: str) -> None:
        """Installing a plugin changes nothing about who verifies tokens, whatever order or wrapping it asks for."""
        site.install("gullible", GULLIBLE + hook + "\n" + routes_source("Route('/me', endpoint)"))
        app = build()

        assert 401 == (await get(app, "/me", **{"X-User": "alice"})).status_code
        assert 200 == (await get(app, "/me", "alice")).status_code

    async def test_another_plugin_cannot_wrap_the_storage(self, site: Site) -> None:
        """A wrapper of the hook for storage does not get at the store that another plugin brings."""
        wrapper = "\n@hookimpl(wrapper=True)\ndef taskd_storage():\n    yield\n    return None\n"
        site.install("memory", STORE, distribution="acme")
        site.install("wrapper", wrapper, distribution="zenith")

        answer = await get(build(TASKD_STORAGE="memory"), "/api/alice/tasks", "alice")

        assert ["a task of alice"] == answer.json()

    async def test_another_plugin_cannot_wrap_the_routes(self, site: Site) -> None:
        """A wrapper of the hook for routes takes none of the routes that other plugins bring."""
        site.install("hello", routes_source("Route('/hello', open_endpoint)"), distribution="acme")
        site.install(
            "wrapper",
            routes_source()
            + "@hookimpl(wrapper=True, specname='taskd_routes')\ndef none():\n    yield\n    return [[]]",
            distribution="zenith",
        )

        assert 200 == (await get(build(), "/hello")).status_code


SPECIFICATIONS = {name: hook for name, hook in vars(hooks).items() if isinstance(hook, FunctionType)}


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_every_hook_is_documented(name: str) -> None:
    """The docstring of a hook is its contract, so none is without."""
    documentation = inspect.getdoc(SPECIFICATIONS[name]) or ""

    assert documentation.startswith("Return ")


def test_every_hook_is_checked() -> None:
    """The hooks that plugins are checked for are those that are specified."""
    assert set(HOOKS) == set(SPECIFICATIONS)
