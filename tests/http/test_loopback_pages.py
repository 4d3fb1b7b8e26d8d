"""`taskd dev` allows pages on the same machine, such as those of a frontend in development, to call it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp

from taskd.cli.dev import Trial
from taskd.plugins import Plugins
from tests.conftest import ORIGIN, SECRET, client_of

pytestmark = pytest.mark.anyio

labels = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,10}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=3).map(".".join)
loopback_hosts = (
    st.sampled_from(["localhost", "127.0.0.1", "[::1]"])
    | names.map("{}.localhost".format)
    | st.ip_addresses(network="127.0.0.0/8").map(str)
)
other_hosts = (
    names.filter(lambda name: name.split(".")[-1] != "localhost")
    | names.map("localhost.{}.example".format)
    | names.map("127.0.0.1.{}.example".format)
    | names.map("{}localhost".format).filter(lambda name: name.split(".")[-1] != "localhost")
    | st.ip_addresses(v=4).filter(lambda address: not address.is_loopback).map(str)
    | st.ip_addresses(v=6).filter(lambda address: not address.is_loopback).map("[{}]".format)
)
ports = st.just("") | st.integers(1, 65535).map(":{}".format)


def trial(database: Path, **environ: str) -> Trial:
    """Return the application that `taskd dev` serves."""
    given_settings = {"DATABASE_URL": f"sqlite:///{database}", "BETTER_AUTH_SECRET": SECRET, **environ}
    return Trial.prepare(Plugins.load(given_settings), allow_remote=False)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> ASGIApp:
    """The application of `taskd dev`, without `FRONTEND_URL`."""
    return trial(tmp_path_factory.mktemp("dev") / "tasks.db").app


async def allowed(app: ASGIApp, origin: str) -> list[str | None]:
    """Whether a page of an origin may read a response, and send a request."""
    preflight = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    async with client_of(app) as client:
        responses = [
            await client.get("/livez", headers={"Origin": origin}),
            await client.options("/api/dev/tasks", headers={"Origin": origin, **preflight}),
        ]
    return [response.headers.get("Access-Control-Allow-Origin") for response in responses]


@given(scheme=st.sampled_from(["http", "https"]), host=loopback_hosts, port=ports)
async def test_pages_on_this_machine_may_call_it(app: ASGIApp, scheme: str, host: str, port: str) -> None:
    """This holds for any name, address and port of a development server."""
    origin = f"{scheme}://{host}{port}"

    assert [origin, origin] == await allowed(app, origin)


@given(scheme=st.sampled_from(["http", "https"]), host=other_hosts, port=ports)
async def test_pages_on_other_machines_may_not(app: ASGIApp, scheme: str, host: str, port: str) -> None:
    """This holds even if their host looks like this machine's."""
    assert [None, None] == await allowed(app, f"{scheme}://{host}{port}")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "localhost",
        "//localhost",
        "http://",
        "http://LOCALHOST",
        "http://localhost:",
        "http://localhost:123456",
        "http://localhost:3000/",
        "http://localhost:3000, http://evil.example",
        "http://localhost@evil.example",
        "http://evil.example#.localhost",
        "http://evil.example/.localhost",
        "http://.localhost",
        "http://localhost.",
        "http://127.0.0.256",
        "http://127.0.0.1.1",
        "http://127.1",
        "http://127.0.0.01",
        "http://0.0.0.0:3000",
        "http://[::]",
        "http://[::1].evil.example",
        "http://::1",
        "file://localhost",
        "ws://localhost",
        "httpss://localhost",
        "capacitor://localhost",
    ],
)
async def test_what_only_looks_like_a_local_page_may_not(app: ASGIApp, origin: str) -> None:
    """Neither invalid origins nor those of apps may, nor `null`, which any page can have."""
    assert [None, None] == await allowed(app, origin)


@pytest.mark.parametrize(("frontend_url", "expected"), [(ORIGIN, ORIGIN), (",", None)])
async def test_a_setting_replaces_the_local_pages(tmp_path: Path, frontend_url: str, expected: str | None) -> None:
    """If FRONTEND_URL is set, only the pages that it names may call the API, as under `taskd serve`."""
    app = trial(tmp_path / "tasks.db", FRONTEND_URL=frontend_url).app

    assert [expected] * 2 == await allowed(app, ORIGIN)
    assert [None, None] == await allowed(app, "http://localhost:3000")


@pytest.mark.parametrize(
    ("frontend_url", "shown"),
    [
        ("", "on this machine may call the API, at any port (FRONTEND_URL is not set)"),
        (
            "app://-, https://b.example",
            "of app://-, https://b.example may call the API (FRONTEND_URL in the environment)",
        ),
        (",", "of no other origin may call the API (FRONTEND_URL in the environment)"),
    ],
)
def test_the_announcement_says_which_pages_may_call_it(tmp_path: Path, frontend_url: str, shown: str) -> None:
    """Nobody should be surprised by what is allowed or by what is not."""
    text = trial(tmp_path / "tasks.db", FRONTEND_URL=frontend_url).announcement("http://127.0.0.1:8000")

    assert f"\n  pages  {shown}\n\n" in text
