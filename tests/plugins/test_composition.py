"""Plugins that build on others: what they get, what is refused, and what is imported."""

from __future__ import annotations

import sys

import pytest

from taskd.application import Application
from taskd.settings import SettingsError
from tests.conftest import client_of, token_for
from tests.support.applications import build, get, refusal
from tests.support.documents import document_of
from tests.support.third_parties import STORE, Site, auth_source, hook_source

pytestmark = pytest.mark.anyio

# Knows one key, and how it is sent.
KEY = """
class Keys(AuthenticationBackend):
    request_headers = ["X-Key"]

    async def authenticate(self, conn):
        if conn.headers.get("x-key") == "alice's key":
            return AuthCredentials(), taskd.auth.User("alice")

    async def close(self):
        print("closed")

@hookimpl
def taskd_auth(environ):
    return Keys()

@hookimpl
def taskd_security_scheme():
    return {"type": "apiKey", "in": "header", "name": "X-Key"}
"""
# Asks the plugins that it names in turn.
EITHER = """
class Either(AuthenticationBackend):
    request_headers = ["X-Key", "Authorization"]

    def __init__(self, backends):
        self.backends = backends

    async def authenticate(self, conn):
        for backend in self.backends:
            result = await backend.authenticate(conn)
            if result is not None:
                return result

NAMES = {names}

@hookimpl
def taskd_auth(parts):
    return Either([parts.auth(name) for name in NAMES])

@hookimpl
def taskd_security_scheme(parts):
    return [scheme for name in NAMES for scheme in parts.security_schemes(name)]
"""


def either(*names: str) -> str:
    """Return the source of a plugin that asks the plugins *names* in turn."""
    return EITHER.replace("{names}", repr(names))


class TestAuth:
    async def test_each_way_to_send_credentials_works(self, site: Site) -> None:
        """A plugin that combines two others accepts what either of them accepts."""
        site.install("key", KEY, group="taskd.on_demand")
        site.install("either", either("key", "jwt"), distribution="zenith", group="taskd.on_demand")
        app = build(TASKD_AUTH="either")

        with_key = await get(app, "/openapi.json", **{"X-Key": "alice's key"})
        async with client_of(app) as client:
            by_key = await client.get("/api/alice/tasks/1", headers={"X-Key": "alice's key"})
            by_token = await client.get("/api/alice/tasks/1", headers={"Authorization": f"Bearer {token_for('alice')}"})
            by_nothing = await client.get("/api/alice/tasks/1")

        assert 200 == with_key.status_code
        assert [404, 404, 401] == [each.status_code for each in (by_key, by_token, by_nothing)]

    async def test_the_document_has_all_schemes(self, site: Site) -> None:
        """Clients may use any one of them."""
        site.install("key", KEY)
        site.install("either", either("key", "jwt"), distribution="zenith")

        document = await document_of(build(TASKD_AUTH="either"))

        schemes = document["components"]["securitySchemes"]
        assert {"credentials": "apiKey", "credentials2": "http"} == {
            name: each["type"] for name, each in schemes.items()
        }
        operation = document["paths"]["/api/{user_id}/tasks"]["get"]
        assert [{"credentials": []}, {"credentials2": []}] == operation["security"]

    def test_the_settings_of_a_part_are_needed(self, site: Site) -> None:
        """The error names the plugin whose setting it is."""
        site.install("either", either("jwt"))

        with pytest.raises(SettingsError, match=r"BETTER_AUTH_SECRET: .*plugin 'jwt' of taskd-server"):
            build(TASKD_AUTH="either", BETTER_AUTH_SECRET="")

    def test_a_part_is_made_once(self, site: Site) -> None:
        """Two that ask for the same part share it."""
        site.install("key", KEY)
        site.install("either", either("key", "key"), distribution="zenith")

        first, second = build(TASKD_AUTH="either").backend.backends  # type: ignore[attr-defined]

        assert first is second

    async def test_parts_are_closed(self, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
        """taskd closes what it has made, and not only what settings select."""
        site.install("key", KEY)
        site.install("either", either("key"), distribution="zenith")

        await build(TASKD_AUTH="either").plugins.close()

        assert "closed\n" == capsys.readouterr().out

    def test_plugins_that_ask_for_each_other_are_refused(self, site: Site) -> None:
        """The message shows the cycle."""
        site.install("first", either("second"))
        site.install("second", either("first"), distribution="zenith")

        message = refusal(TASKD_AUTH="first")

        assert "plugins ask for each other's parts (first -> second -> first)" in message
        assert message.endswith("; or set TASKD_DISABLED_PLUGINS=first")

    @pytest.mark.parametrize("name", ["sql", "nothing"])
    def test_a_part_that_is_not_there_is_refused(self, site: Site, name: str) -> None:
        """The message says who asks, and who provides such parts."""
        site.install("either", either(name))

        message = refusal(TASKD_AUTH="either")

        asked = f"plugin 'either' asks for a part of another: no enabled plugin {name!r} provides this"
        assert message == f"{asked}; those that do: either, jwt"

    async def test_the_document_has_the_routes_of_a_part(self, site: Site) -> None:
        """`taskd openapi` knows them, too, although it makes no backend."""
        routes = "\n@hookimpl\ndef taskd_routes():\n    return [Route('/keys', endpoint, methods=['GET'])]\n"
        site.install("key", KEY + routes, group="taskd.on_demand")
        site.install("either", either("key", "jwt"), distribution="zenith")

        printed = Application.assemble({"TASKD_AUTH": "either"}, verifies_credentials=False)
        app = build(TASKD_AUTH="either")

        assert app.document == printed.document
        assert b'"/keys"' in app.document

    def test_a_disabled_plugin_provides_no_part(self, site: Site) -> None:
        """What is disabled is never imported, whoever asks."""
        module = site.install("key", KEY, group="taskd.on_demand")
        site.install("either", either("key"), distribution="zenith")

        assert "no enabled plugin 'key'" in refusal(TASKD_AUTH="either", TASKD_DISABLED_PLUGINS="key")
        assert module not in sys.modules


class TestStorage:
    async def test_a_store_can_build_on_another(self, site: Site) -> None:
        """Its own settings apply to the other store, and the wrapper has its attributes."""
        source = "@hookimpl\ndef taskd_storage(parts):\n    return taskd.storage.StoreWrapper(parts.store('inner'))\n"
        site.install("inner", STORE, group="taskd.on_demand")
        site.install("outer", source, distribution="zenith")

        response = await get(build(TASKD_STORAGE="outer"), "/api/alice/tasks", "alice")

        assert ["a task of alice"] == [task["title"] for task in response.json()]

    async def test_each_part_is_closed_once_and_wrappers_first(
        self, site: Site, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A wrapper that still has something to write finds its store open."""
        closing = """
class Closing(taskd.storage.StoreWrapper):
    async def close(self):
        print("NAME", end=" ")
        await super().close()
"""
        inner = STORE.replace(
            "class Store(taskd.storage.TaskStore):",
            "class Store(taskd.storage.TaskStore):\n    async def close(self):\n        print('inner', end=' ')\n",
        )
        made = "@hookimpl\ndef taskd_storage(parts):\n    return Closing(parts.store('inner'))\n"
        wrapped = "@hookimpl\ndef taskd_wrap_store(store):\n    return Closing(store)\n"
        site.install("inner", inner)
        site.install("outer", closing.replace("NAME", "outer") + made, distribution="zenith")
        site.install("audit", closing.replace("NAME", "audit") + wrapped, distribution="nadir")
        app = build(TASKD_STORAGE="outer", TASKD_STORE_WRAPPERS="audit")

        await app.plugins.close()

        assert "audit outer inner " == capsys.readouterr().out


class TestOnDemand:
    @pytest.mark.parametrize("environ", [{}, {"TASKD_PLUGINS": "docs,jwt,sql,tasks"}], ids=str)
    def test_what_nothing_names_is_not_imported(self, site: Site, environ: dict[str, str]) -> None:
        """A plugin in the group taskd.on_demand costs nothing until it is selected."""
        module = site.install("hello", "raise SystemExit", group="taskd.on_demand")

        build(**environ)

        assert module not in sys.modules

    def test_a_named_plugin_is_imported(self, site: Site) -> None:
        """TASKD_PLUGINS names plugins that add routes, and that no other setting selects."""
        module = site.install("hello", hook_source("taskd_routes", "return []"), group="taskd.on_demand")

        build(TASKD_PLUGINS="docs,hello,jwt,sql,tasks")

        assert module in sys.modules

    async def test_a_selected_plugin_is_imported(self, site: Site) -> None:
        """The name in the setting is enough."""
        site.install(
            "anyone", auth_source("return AuthCredentials(), taskd.auth.User('alice')"), group="taskd.on_demand"
        )

        response = await get(build(TASKD_AUTH="anyone"), "/api/alice/tasks/1")

        assert 404 == response.status_code
