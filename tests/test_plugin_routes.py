"""Routes of third parties: which are refused, who is let in, and which of two answers."""

from __future__ import annotations

import pytest

from tests.applications import build, get, refusal
from tests.conftest import client_of
from tests.third_parties import STORE, Site, routes_source

pytestmark = pytest.mark.anyio


class TestRoutes:
    @pytest.mark.parametrize(
        ("route", "claim"),
        [
            ("Route('/hello', endpoint)", "GET /hello is claimed by plugin 'hello' of acme 1.0"),
            ("Route('/hello', endpoint, methods=['HEAD'])", "HEAD /hello is claimed by plugin 'hello' of acme 1.0"),
            (
                "Route('/api/{user_id}/tasks', endpoint, methods=['POST'])",
                "POST /api/{user_id}/tasks is claimed by plugin 'tasks' of taskd ",
            ),
            ("Route('/livez', endpoint)", "GET /livez is claimed by taskd"),
        ],
    )
    def test_a_claimed_method_and_path_is_refused(self, site: Site, route: str, claim: str) -> None:
        """Two that claim the same method of a path are both named."""
        site.install("hello", routes_source("Route('/hello', endpoint)"), distribution="acme")
        site.install("zeal", routes_source(route), distribution="zenith")

        # In whichever order they come: HEAD belongs to GET, and the core comes first.
        message = refusal()

        assert message.startswith(claim)
        assert message.endswith(" and by plugin 'zeal' of zenith 1.0")

    async def test_methods_of_one_path_may_come_from_two_plugins(self, site: Site) -> None:
        """A path answers each method by the plugin that brought it, and lists them all to any other."""
        site.install("hello", routes_source("Route('/hello', open_endpoint)"), distribution="acme")
        post = site.install(
            "zeal", routes_source("Route('/hello', open_endpoint, methods=['POST'])"), distribution="zenith"
        )

        async with client_of(build()) as client:
            posted, deleted = await client.post("/hello"), await client.delete("/hello")

        assert f"{post}: anyone" == posted.text
        assert (405, {"GET", "HEAD", "POST"}) == (deleted.status_code, set(deleted.headers["Allow"].split(", ")))

    @pytest.mark.parametrize(
        ("route", "reason"),
        [
            pytest.param(
                "Route('/api/{user_id}/tasks/{task}', endpoint, methods=['POST'])",
                "plugin 'tasks' of taskd ",
                id="other names",
            ),
            pytest.param("Route('/hello', OpenEndpoint)", "must name the methods of /hello", id="class, no methods"),
            pytest.param(
                "Route('/hello/', endpoint, methods=['GET'])", "must leave out the slash", id="slash at the end"
            ),
            pytest.param("Route('/hello', endpoint, methods=[])", "must name the methods of /hello", id="no methods"),
            pytest.param(
                "Route('/api/{owner}/notes', endpoint)",
                "must call the first parameter of /api/{owner}/notes user_id",
                id="owner",
            ),
            pytest.param("Route('/api/{user_ids}', endpoint)", "the first parameter of /api/{user_ids}", id="nearly"),
            pytest.param("Route('/api/{id:int}', endpoint)", "the first parameter of /api/{id:int}", id="converter"),
            pytest.param("Route('/api/{owner}', Heir, methods=['GET'])", "the first parameter of", id="heir"),
            pytest.param("Route('hello', endpoint)", "must start with '/'", id="relative"),
            pytest.param("Mount('/hello', routes=[])", "returned a Mount", id="mount"),
        ],
    )
    def test_a_route_that_cannot_be_guarded_is_refused(self, site: Site, route: str, reason: str) -> None:
        """A route is refused, with its plugin's name, when its methods or its owner cannot be told."""
        site.install("hello", routes_source(route))

        message = refusal()

        assert "plugin 'hello' of acme 1.0" in message
        assert reason in message

    @pytest.mark.parametrize(
        ("route", "without_token", "with_token"),
        [
            ("Route('/x', endpoint)", 401, 200),
            ("Route('/x', open_endpoint)", 200, 200),
            ("Route('/x', OpenEndpoint, methods=['GET'])", 200, 200),
            ("Route('/x', Heir, methods=['GET'])", 401, 200),
            ("Route('/{anything}', endpoint)", 401, 200),
            ("Route('/{user_id}', endpoint)", 401, 401),
        ],
    )
    async def test_a_route_is_protected_unless_it_is_marked(
        self, site: Site, route: str, without_token: int, with_token: int
    ) -> None:
        """Only an endpoint with a mark of its own is public, and a `user_id` is the user's own wherever it stands."""
        site.install("hello", routes_source(route))
        app = build()

        assert without_token == (await get(app, "/x")).status_code
        assert with_token == (await get(app, "/x", "alice")).status_code

    async def test_a_public_route_under_api_may_name_its_parameters(self, site: Site) -> None:
        """Where nobody is asked for a token, no parameter has to be the owner."""
        site.install("hello", routes_source("Route('/api/{anything}', open_endpoint)"))

        assert 200 == (await get(build(), "/api/x")).status_code

    @pytest.mark.parametrize(
        ("wide", "narrow", "path"),
        [
            ("/{x}", "/hello", "/hello"),
            ("/{x:path}", "/hello", "/hello"),
            ("/{x:path}", "/{x}/hello", "/a/hello"),
            ("/notes/{id}", "/notes/latest", "/notes/latest"),
            ("/notes/{id}", "/notes/{id}.txt", "/notes/a.txt"),
            ("/{x}/b", "/a/b", "/a/b"),
            ("/{x}/{y}", "/{x}/b", "/a/b"),
            ("/{x}/b", "/a/{y}", "/a/b"),
        ],
    )
    @pytest.mark.parametrize("names", [("alpha", "omega"), ("omega", "alpha")], ids=["wide first", "narrow first"])
    async def test_a_literal_path_wins_over_a_parameter(
        self, site: Site, names: tuple[str, str], wide: str, narrow: str, path: str
    ) -> None:
        """The more literal of two paths answers, whichever plugin brought it."""
        site.install(names[0], routes_source(f"Route({wide!r}, open_endpoint)"), distribution="acme")
        module = site.install(names[1], routes_source(f"Route({narrow!r}, open_endpoint)"), distribution="zenith")

        assert f"{module}: anyone" == (await get(build(), path)).text

    async def test_a_wide_route_takes_nothing_from_the_tasks(self, site: Site) -> None:
        """The paths of the tasks are answered as ever beside a route for everything under them."""
        site.install("hello", routes_source("Route('/api/{user_id:path}', endpoint)") + STORE)

        answer = await get(build(TASKD_STORAGE="hello"), "/api/alice/tasks", "alice")

        assert (200, ["a task of alice"]) == (answer.status_code, answer.json())
