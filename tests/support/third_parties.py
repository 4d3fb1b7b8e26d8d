"""Third-party plugins: their sources, and a place where tests install them."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

__all__ = ["SLEEPS", "STORE", "SWALLOWS", "Site", "auth_source", "hook_source", "routes_source", "slow_store"]

PRELUDE = """
import asyncio
import sys

import attrs
from starlette.authentication import AuthCredentials, AuthenticationBackend
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import taskd
from taskd import hookimpl

async def endpoint(request):
    return PlainTextResponse(f"{__name__}: {request.user.identity}")

@taskd.routes.public
async def open_endpoint(request):
    return PlainTextResponse(f"{__name__}: anyone")

class Silent(BaseException):
    def __str__(self):
        raise LookupError

@taskd.routes.public
class OpenEndpoint(HTTPEndpoint):
    async def get(self, request):
        return PlainTextResponse("anyone")

class Heir(OpenEndpoint):
    pass
"""
# A plugin whose store has one task for every owner.
STORE = """
import datetime as dt

NOW = dt.datetime.now(dt.timezone.utc)

class Store(taskd.storage.TaskStore):
    seq = create = get = update = toggle = delete = ping = None

    async def list(self, owner, query):
        task = taskd.tasks.Task.create(owner, taskd.tasks.NewTask(title=f"a task of {owner}"), NOW, version=1)
        return query.page([task], 1)

@hookimpl
def taskd_storage():
    return Store()
"""

METHODS = ("list", "seq", "create", "get", "update", "toggle", "delete", "ping", "close")
# What quick methods return, if it matters.
QUICK = {"list": "taskd.queries.TaskPage([], 0)", "seq": "0"}
# What a store's method may do instead of returning.
SLEEPS = "await asyncio.Event().wait()"
SWALLOWS = """
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
"""


def auth_source(*statements: str) -> str:
    """Return the source of an auth plugin whose `authenticate` runs *statements*."""
    body = "".join(f"\n        {statement}" for statement in statements)
    return f"""
class Backend(AuthenticationBackend):
    async def authenticate(self, conn):{body}

@hookimpl
def taskd_auth():
    return Backend()
"""


def hook_source(hook: str, statement: str) -> str:
    """Return the source of a plugin whose *hook* runs one *statement*."""
    return f"@hookimpl\ndef {hook}():\n    {statement}\n"


def routes_source(*routes: str) -> str:
    """Return the source of a plugin that adds *routes*."""
    return hook_source("taskd_routes", f"return [{', '.join(routes)}]")


def slow_store(*slow: str, statement: str = SLEEPS) -> str:
    """Return the source of a plugin whose store runs *statement* in the methods *slow*; the others are quick."""
    methods = "".join(
        f"\n    async def {method}(self, *_, **__):"
        f"\n        {statement if method in slow else f'return {QUICK.get(method)}'}\n"
        for method in METHODS
    )
    hook = "@taskd.hookimpl\ndef taskd_storage():\n    return Slow()\n"
    return f"import asyncio\nimport sys\nimport taskd\n\nclass Slow(taskd.storage.TaskStore):{methods}\n{hook}"


@attrs.define
class Site:
    """A folder for distributions, which are found in addition to those that are really installed."""

    directory: Path
    monkeypatch: pytest.MonkeyPatch
    modules: list[str] = attrs.field(factory=list)

    def install(
        self,
        plugin: str,
        source: str,
        distribution: str = "acme",
        attribute: str = "",
        *,
        group: str = "taskd",
        requires: str = "",
    ) -> str:
        """Install *distribution* 1.0 with one plugin, a module with this *source*; return the module's name."""
        module = f"plugin_{uuid.uuid4().hex}"
        self.modules.append(module)
        root = self.directory / module
        info = root / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        required = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n{required}")
        (info / "entry_points.txt").write_text(f"[{group}]\n{plugin} = {module}{attribute}\n")
        (root / f"{module}.py").write_text(PRELUDE + source)
        self.monkeypatch.syspath_prepend(str(root))
        return module

    @classmethod
    @contextmanager
    def at(cls, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
        """Yield a site in *directory*; at the end, forget what was imported from it."""
        made = cls(directory, monkeypatch)
        yield made
        for module in made.modules:
            sys.modules.pop(module, None)
