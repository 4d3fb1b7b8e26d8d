"""Third-party plugins: which ones are found, which ones are refused, and how they are isolated from each other."""

from __future__ import annotations

import inspect
import sys
from types import FunctionType, SimpleNamespace

import pytest

from taskd import PluginError, hooks
from taskd.plugins.loader import HOOKS
from taskd.settings import SettingsError
from taskd.testing import lifespan
from taskd.time_limit import Timeouts
from taskd_jwt.schemes import SecretScheme
from tests.conftest import client_of
from tests.support.applications import build, get, refusal
from tests.support.third_parties import STORE, Site, auth_source, hook_source, routes_source

pytestmark = pytest.mark.anyio

TASK_ID = "019ab7d4-5c00-7b2a-9d3e-4f5061728394"
# Trusts whatever name a request contains, so it must have no effect unless it is selected.
GULLIBLE = """
class Gullible(AuthenticationBackend):
    async def authenticate(self, conn):
        return AuthCredentials(), taskd.auth.User(conn.headers["x-user"])
"""
# Inspecting what these create raises an exception.
FAILING = """
class Failing{bases}:
    __slots__ = ()
    __name__ = "failing"

    def __getattr__(self, name):
        raise Silent

    async def __call__(self, scope, receive, send):
        raise NotImplementedError
"""
FAILING_BACKEND = FAILING.format(bases="(AuthenticationBackend)") + hook_source("taskd_auth", "return Failing()")
FAILING_ENDPOINT = FAILING.format(bases="") + routes_source("Route('/x', Failing(), methods=['GET'])")


def wrong_setting(**environ: str) -> str:
    """Return the message about a wrong setting that keeps the application from being built."""
    with pytest.raises(SettingsError) as caught:
        build(**environ)
    return str(caught.value)


class TestFound:
    async def test_a_third_party_route_is_served(self, site: Site) -> None:
        """To serve a plugin's routes, it is enough to install it."""
        module = site.install("hello", routes_source("Route('/hello', open_endpoint)"))

        response = await get(build(), "/hello")

        assert (200, f"{module}: anyone") == (response.status_code, response.text)

    async def test_a_third_party_auth_plugin_serves_if_selected(self, site: Site) -> None:
        """The backend of the plugin that `TASKD_AUTH` names identifies users."""
        module = site.install(
            "gullible",
            GULLIBLE + hook_source("taskd_auth", "return Gullible()") + routes_source("Route('/me', endpoint)"),
        )

        response = await get(build(TASKD_AUTH="gullible"), "/me", **{"X-User": "alice"})

        assert (200, f"{module}: alice") == (response.status_code, response.text)

    async def test_a_third_party_storage_plugin_serves_if_selected(self, site: Site) -> None:
        """The store of the plugin that `TASKD_STORAGE` names holds the tasks."""
        site.install("memory", STORE)

        response = await get(build(TASKD_STORAGE="memory"), "/api/alice/tasks", "alice")

        assert (200, ["a task of alice"]) == (response.status_code, [task["title"] for task in response.json()])

    @pytest.mark.parametrize(
        ("call", "hook"),
        [
            (("GET", "", b""), "list"),
            (("POST", "", b'{"title": "t"}'), "create"),
            (("GET", f"/{TASK_ID}", b""), "get"),
            (("PUT", f"/{TASK_ID}", b"{}"), "update"),
            (("PATCH", f"/{TASK_ID}/complete", b""), "toggle"),
            (("PATCH", f"/{TASK_ID}/complete", b'{"is_completed": true}'), "update"),
        ],
    )
    @pytest.mark.parametrize("result", [None, {"title": "t"}, "ab", [{}]], ids=repr)
    async def test_a_store_that_returns_a_wrong_type_leads_to_a_500(
        self, site: Site, call: tuple[str, str, bytes], hook: str, result: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The client does not get `null`, and the log names the plugin, the method and the type."""
        source = f"async def wrong(self, *_, **__):\n    return {result!r}\nStore.list = Store.create = wrong\n"
        site.install("memory", STORE + source + "Store.get = Store.update = Store.toggle = wrong\n")
        method, path, body = call

        async with client_of(build(TASKD_STORAGE="memory"), "alice") as client:
            headers = {"Content-Type": "application/json"}
            response = await client.request(method, f"/api/alice/tasks{path}", content=body, headers=headers)

        assert (500, {"detail": "Internal server error", "code": "internal_error"}) == (
            response.status_code,
            response.json(),
        )
        kind = type(result).__name__
        assert f"taskd.storage.StoreError: {hook} returned a {kind}, not a " in caplog.text
        assert 1 == caplog.text.count("The store belongs to plugin 'memory' of acme 1.0.")

    @pytest.mark.parametrize(("path", "method"), [("", "list"), (f"/{TASK_ID}", "get")], ids=["list", "get"])
    async def test_a_task_of_another_user_is_not_sent(
        self, site: Site, path: str, method: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """If a wrapper or a store mixes up users, the response is a 500, and the log names the plugins."""
        source = """
class Mixing(taskd.storage.StoreWrapper):
    async def get(self, owner, task_id):
        return (await self.list(owner, taskd.storage.EVERYTHING)).tasks[0]

    async def list(self, owner, query):
        return await super().list(f"{owner} ", query)

@hookimpl
def taskd_wrap_store(store):
    return Mixing(store)
"""
        site.install("memory", STORE)
        site.install("mixing", source, distribution="mixing")

        app = build(TASKD_STORAGE="memory", TASKD_STORE_WRAPPERS="mixing")
        response = await get(app, f"/api/alice/tasks{path}", "alice")

        assert (500, "internal_error") == (response.status_code, response.json()["code"])
        assert f"taskd.storage.StoreError: {method} returned a task of another user" in caplog.text
        assert "plugin 'memory' of acme 1.0 or a wrapper of it (mixing)." in caplog.text

    async def test_a_plugin_may_be_any_object(self, site: Site) -> None:
        """An entry point may name an object whose methods are hooks, even one that is not hashable."""
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

    async def test_a_plugin_may_be_a_class(self, site: Site) -> None:
        """Each application makes its own instance, in which hooks share what they need."""
        source = """
import contextlib

class Plugin:
    def __init__(self):
        self.steps = []

    @hookimpl
    def taskd_routes(self):
        async def show(request):
            return PlainTextResponse(", ".join(self.steps))

        return [Route("/steps", taskd.routes.public(show))]

    @hookimpl
    @contextlib.asynccontextmanager
    async def taskd_lifespan(self):
        self.steps.append("entered")
        yield
"""
        site.install("steps", source, attribute=":Plugin")
        started, other = build(), build()

        async with lifespan(started):
            assert "entered" == (await get(started, "/steps")).text
        assert "" == (await get(other, "/steps")).text

    async def test_hooks_get_the_store_and_the_environment(self, site: Site) -> None:
        """A hook for routes receives the selected store and the environment."""
        source = """
@hookimpl
def taskd_routes(environ, store):
    async def show(request):
        return PlainTextResponse(f"{environ['GREETING']} {store.database.name}")

    return [Route("/hello", taskd.routes.public(show))]
"""
        site.install("hello", source)

        assert "Hi SQLite file tasks.db" == (await get(build(GREETING="Hi"), "/hello")).text

    async def test_two_applications_share_nothing(self) -> None:
        """Two applications in one process neither see each other's tasks nor accept each other's tokens."""
        theirs = SecretScheme(("the secret of the other app, of more than 32 bytes",)).issue("alice", 60)
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
            pytest.param("raise asyncio.CancelledError", "CancelledError", id="cancels"),
            pytest.param("raise Silent", "Silent: it does not say why", id="silent"),
            pytest.param(
                "raise taskd.settings.SettingsError('ACME_URL', 'is not set')", "ACME_URL: is not set", id="setting"
            ),
            pytest.param(
                "def __getattr__(name):\n    raise RuntimeError(name)\n" + routes_source(), "RuntimeError", id="getattr"
            ),
            pytest.param(
                "def __getattr__(name):\n    raise Silent\n" + routes_source(), "does not say why", id="silent getattr"
            ),
            pytest.param(
                routes_source()
                + routes_source()
                .replace("hookimpl", "hookimpl(specname='taskd_routes')")
                .replace("def taskd_routes", "def more"),
                "taskd_routes more than once",
                id="twice",
            ),
            pytest.param(
                "@hookimpl\ndef taskd_routes(store=None):\n    return []", "store of taskd_routes", id="default"
            ),
        ],
    )
    def test_a_plugin_that_cannot_be_loaded_stops_the_start(self, site: Site, source: str, reason: str) -> None:
        """One line says what is wrong, and names the plugin and its distribution."""
        site.install("broken", source)

        message = refusal()

        assert message.startswith("plugin 'broken' of acme 1.0 ")
        assert reason in message
        assert "\n" not in message

    @pytest.mark.parametrize("wrapping", ["wrapper=True", "hookwrapper=True", "wrapper=True, specname='taskd_{}'"])
    @pytest.mark.parametrize("hook", ["auth", "storage", "routes"])
    def test_a_wrapper_is_refused(self, site: Site, hook: str, wrapping: str) -> None:
        """No plugin can change what another one returns, and one that tries is told so."""
        name = "own" if "specname" in wrapping else f"taskd_{hook}"
        site.install("wrapper", f"@hookimpl({wrapping.format(hook)})\ndef {name}():\n    yield\n")

        assert f"plugin 'wrapper' of acme 1.0 wraps taskd_{hook}, but hooks of different plugins" in refusal()

    def test_an_entry_point_to_a_missing_attribute_stops_the_start(self, site: Site) -> None:
        """An entry point must name something that its module has."""
        site.install("broken", "", attribute=":nothing")

        assert "plugin 'broken' of acme 1.0 cannot be loaded" in refusal()

    def test_a_malformed_entry_point_stops_the_start(self, site: Site) -> None:
        """If an entry point does not name a module, it is quoted."""
        site.install("broken", "", attribute=" is no module")

        assert "is no module' does not name a module" in refusal()

    def test_a_missing_module_comes_with_advice(self, site: Site) -> None:
        """If a whole source folder is missing, the installation is broken."""
        module = site.install("broken", "")
        (site.directory / module / f"{module}.py").unlink()

        assert f"No module named '{module}'; reinstall acme, and if it is editable, without editable_mode" in refusal()

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_ctrl_c_interrupts_an_import(self, site: Site, error: type[BaseException]) -> None:
        """It is not reported as an error of the plugin."""
        site.install("slow", f"raise {error.__name__}")

        with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else PluginError):
            build()

    @pytest.mark.parametrize("name", ["a,b", ""])
    def test_a_name_that_cannot_appear_in_a_setting_is_refused(self, site: Site, name: str) -> None:
        """Such a plugin could be neither selected nor disabled, and the lists of valid names leave it out."""
        site.install(name, routes_source())

        assert f"plugin {name!r} of acme 1.0 has a name that no setting can hold" in refusal()
        build(TASKD_PLUGINS="jwt,sql,tasks")

    def test_a_duplicate_name_in_one_distribution_is_refused(self, site: Site) -> None:
        """The message names the distribution once for each entry point."""
        module = site.install("hello", routes_source())
        file = site.directory / module / "acme-1.0.dist-info" / "entry_points.txt"
        file.write_text(f"[taskd]\nhello = {module}\nhello = {module}:other\n")

        assert "plugin 'hello' is claimed by acme 1.0, acme 1.0" in refusal()

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
        """If a hook raises an exception or returns a wrong type, its plugin and distribution are named."""
        site.install("broken", f"@hookimpl\n{definition} {hook}():\n    {statement}\n")

        message = refusal(**environ)

        assert "plugin 'broken' of acme 1.0 " in message
        assert hook in message

    @pytest.mark.parametrize(
        ("hook", "environ"),
        [
            ("taskd_auth", {"TASKD_AUTH": "broken"}),
            ("taskd_security_scheme", {"TASKD_AUTH": "broken"}),
            ("taskd_routes", {}),
        ],
    )
    def test_the_result_of_a_hook_may_fail_later(self, site: Site, hook: str, environ: dict[str, str]) -> None:
        """An object that raises an exception when it is inspected is blamed on its plugin, too."""
        source = """
import collections.abc

class Broken(collections.abc.Mapping, collections.abc.Sequence):
    __class__ = property(lambda self: 1 / 0)

    def __getitem__(self, key):
        raise Silent

    __iter__ = __len__ = __getitem__

@hookimpl
def taskd_auth():
    return AuthenticationBackend()
"""
        site.install("broken", source + hook_source(hook, "return Broken()"))

        assert "plugin 'broken' of acme 1.0 " in refusal(**environ)

    @pytest.mark.parametrize(
        ("source", "environ"),
        [(FAILING_BACKEND, {"TASKD_AUTH": "broken"}), (FAILING_ENDPOINT, {})],
        ids=["backend", "endpoint"],
    )
    def test_an_object_that_cannot_be_inspected_stops_the_start(
        self, site: Site, source: str, environ: dict[str, str]
    ) -> None:
        """A failing `__getattr__` is blamed on its plugin, in one line."""
        site.install("broken", source)

        message = refusal(**environ)

        assert message.startswith("plugin 'broken' of acme 1.0 ")
        assert message.endswith("Silent: it does not say why; or set TASKD_DISABLED_PLUGINS=broken")
        assert "\n" not in message

    @pytest.mark.parametrize("names", ["'X-Key'", "['X Key']", "[None]", "5"])
    def test_request_headers_are_a_list_of_names(self, site: Site, names: str) -> None:
        """If a backend's `request_headers` is anything else, the server does not start."""
        site.install("broken", auth_source("return None") + f"\nBackend.request_headers = {names}\n")

        message = refusal(TASKD_AUTH="broken")

        assert message.startswith("plugin 'broken' of acme 1.0 ")
        assert "request_headers" in message

    async def test_the_headers_that_a_backend_reads_are_allowed(self, site: Site) -> None:
        """Pages of the allowed origins may send them, but not those of other plugins."""
        site.install("key", auth_source("return None") + "\nBackend.request_headers = ['X-Key']\n")
        origin = "https://app.example.com"
        preflight = {"Origin": origin, "Access-Control-Request-Method": "GET"}

        async with client_of(build(TASKD_AUTH="key", FRONTEND_URL=origin)) as client:
            response = await client.options("/api/alice/tasks", headers=preflight)

        allowed = response.headers["Access-Control-Allow-Headers"].split(", ")
        assert ("X-Key" in allowed, "Authorization" in allowed) == (True, False)

    def test_a_plugin_s_own_setting_stops_the_start(self, site: Site) -> None:
        """A `SettingsError` from a hook is passed on, with the owner of the setting."""
        site.install(
            "broken", hook_source("taskd_routes", "raise taskd.settings.SettingsError('ACME_URL', 'is not set')")
        )

        assert "ACME_URL: is not set (plugin 'broken' of acme 1.0)" == wrong_setting()

    def test_two_plugins_with_the_same_name_are_refused(self, site: Site) -> None:
        """taskd does not guess which of them to use; the message names both distributions."""
        site.install("hello", routes_source(), distribution="acme")
        site.install("hello", routes_source(), distribution="zenith")

        assert "plugin 'hello' is claimed by acme 1.0, zenith 1.0: uninstall all but one" == refusal()

    @pytest.mark.parametrize("name", ["jwt", "sql", "tasks"])
    def test_the_name_of_a_default_plugin_is_taken(self, site: Site, name: str) -> None:
        """No distribution can replace a default plugin."""
        module = site.install(name, routes_source())

        assert f"plugin '{name}' is claimed by acme 1.0, taskd-server " in refusal()
        assert module not in sys.modules


class TestSlow:
    """The log names slow plugins while they are running."""

    WAITING = """
import threading
import log

def wait():
    waiting = threading.Event()
    for _ in range(3000):
        if log.names_it():
            return
        waiting.wait(0.01)
"""

    @pytest.mark.parametrize(
        ("source", "doing"),
        [
            ("wait()\n" + routes_source(), "being imported"),
            (hook_source("taskd_routes", "wait(); return []"), "asked for taskd_routes"),
        ],
        ids=["import", "hook"],
    )
    def test_a_slow_plugin_is_named(
        self,
        site: Site,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        source: str,
        doing: str,
    ) -> None:
        """If the server does not start, the log tells the operator which plugin is slow, and at what."""
        line = f"plugin 'slow' of acme 1.0 has been {doing} for 0 s"
        log = SimpleNamespace(names_it=lambda: line in caplog.text)
        monkeypatch.setitem(sys.modules, "log", log)
        site.install("slow", self.WAITING + source)

        build(Timeouts(start_s=0.05))

        assert log.names_it()


class TestSelection:
    @pytest.mark.parametrize(
        ("variable", "name", "able"),
        [
            ("TASKD_AUTH", "nobody", "gullible, jwt"),
            ("TASKD_AUTH", "sql", "gullible, jwt"),
            ("TASKD_STORAGE", "nobody", "sql"),
            ("TASKD_STORAGE", "gullible", "sql"),
        ],
    )
    def test_an_unknown_name_is_refused(self, site: Site, variable: str, name: str, able: str) -> None:
        """A name is refused if no plugin for the purpose has it; the message lists those that can be used."""
        site.install("gullible", GULLIBLE + hook_source("taskd_auth", "return Gullible()"))

        message = wrong_setting(**{variable: name})

        assert f"{variable}: no enabled plugin '{name}' provides this; those that do: {able}" == message

    def test_a_misspelled_name_is_recognized(self, site: Site) -> None:
        """The message names the plugin that is probably meant, even if nothing has imported it yet."""
        site.install("gullible", GULLIBLE, group="taskd.on_demand")

        message = wrong_setting(TASKD_AUTH="gulible")

        assert "'gulible' provides this (did you mean gullible?); those that do: jwt" in message

    @pytest.mark.parametrize(
        ("variable", "environ"),
        [
            ("TASKD_AUTH", {"TASKD_DISABLED_PLUGINS": "jwt"}),
            ("TASKD_AUTH", {"TASKD_PLUGINS": "sql,tasks,gullible"}),
            ("TASKD_STORAGE", {"TASKD_DISABLED_PLUGINS": " sql , "}),
            ("TASKD_STORAGE", {"TASKD_PLUGINS": "jwt", "TASKD_DISABLED_PLUGINS": "sql"}),
        ],
    )
    def test_a_disabled_plugin_is_not_replaced(self, site: Site, variable: str, environ: dict[str, str]) -> None:
        """If the selected plugin is disabled, the server does not start: no other plugin takes its place."""
        site.install("gullible", GULLIBLE + hook_source("taskd_auth", "return Gullible()"))

        assert wrong_setting(**environ).startswith(f"{variable}: no enabled plugin ")

    @pytest.mark.parametrize(
        "environ",
        [{"TASKD_PLUGINS": "jwt,sql,tasks"}, {"TASKD_DISABLED_PLUGINS": "broken"}],
        ids=["not allowed", "disabled"],
    )
    def test_a_plugin_that_is_not_enabled_is_not_imported(self, site: Site, environ: dict[str, str]) -> None:
        """A plugin whose import fails does no harm unless it is enabled."""
        module = site.install("broken", "import no_such_module")

        build(**environ)

        assert module not in sys.modules

    def test_a_duplicate_name_does_no_harm_while_it_is_disabled(self, site: Site) -> None:
        """Two distributions may claim the same name if it is disabled."""
        site.install("hello", routes_source(), distribution="acme")
        site.install("hello", routes_source(), distribution="zenith")

        build(TASKD_DISABLED_PLUGINS="hello")

    async def test_a_plugin_that_is_not_enabled_provides_no_routes(self) -> None:
        """Without the plugin for tasks, there are no tasks."""
        assert 404 == (await get(build(TASKD_PLUGINS="jwt,sql"), "/api/alice/tasks", "alice")).status_code

    @pytest.mark.parametrize("variable", ["TASKD_PLUGINS", "TASKD_DISABLED_PLUGINS"])
    def test_unknown_names_in_the_lists_are_refused(self, variable: str) -> None:
        """A list must not name a plugin that is not installed; the message lists those that are."""
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
        ],
    )
    async def test_another_auth_plugin_has_no_effect(self, site: Site, hook: str) -> None:
        """Installing a plugin does not change who verifies tokens, whatever priority it requests."""
        site.install("gullible", GULLIBLE + hook + "\n" + routes_source("Route('/me', endpoint)"))
        app = build()

        assert 401 == (await get(app, "/me", **{"X-User": "alice"})).status_code
        assert 200 == (await get(app, "/me", "alice")).status_code


SPECIFICATIONS = {name: hook for name, hook in vars(hooks).items() if isinstance(hook, FunctionType)}


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_every_hook_is_documented(name: str) -> None:
    """The docstring of a hook is its contract, so every hook has one."""
    documentation = inspect.getdoc(SPECIFICATIONS[name]) or ""

    assert documentation.startswith("Return ")


def test_every_hook_is_checked() -> None:
    """All specified hooks are checked, and no others."""
    assert set(HOOKS) == set(SPECIFICATIONS)
