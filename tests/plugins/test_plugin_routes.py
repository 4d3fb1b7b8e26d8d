"""Third-party routes: which ones are refused, who may use them, and which of two routes responds."""

from __future__ import annotations

import pytest

from tests.conftest import client_of
from tests.support.applications import build, get, refusal, without_remedy
from tests.support.documents import CODES
from tests.support.third_parties import STORE, Site, routes_source

pytestmark = pytest.mark.anyio

# Endpoints of all kinds.
NOTES = """
import functools

@attrs.frozen
class Notes:
    async def show(self, request):
        return PlainTextResponse("notes")

    @taskd.routes.public
    async def show_all(self, request):
        return PlainTextResponse("all notes")

    @taskd.routes.public
    @staticmethod
    async def read(request):
        return PlainTextResponse("a note")

    @taskd.routes.public
    @classmethod
    async def count(cls, request):
        return PlainTextResponse("1")

    async def __call__(self, scope, receive, send):
        await PlainTextResponse("notes")(scope, receive, send)

notes = Notes()
taskd.routes.public(notes.show)
"""


class TestRoutes:
    @pytest.mark.parametrize(
        ("route", "claim"),
        [
            ("Route('/hello', endpoint)", "GET /hello is claimed by plugin 'hello' of acme 1.0"),
            ("Route('/hello', endpoint, methods=['HEAD'])", "HEAD /hello is claimed by plugin 'hello' of acme 1.0"),
            (
                "Route('/api/{user_id}/tasks', endpoint, methods=['POST'])",
                "POST /api/{user_id}/tasks is claimed by plugin 'tasks' of taskd-server ",
            ),
            ("Route('/livez', endpoint)", "GET /livez is claimed by taskd"),
        ],
    )
    def test_a_claimed_method_and_path_is_refused(self, site: Site, route: str, claim: str) -> None:
        """If two plugins claim the same method of a path, both are named."""
        site.install("hello", routes_source("Route('/hello', endpoint)"), distribution="acme")
        site.install("zeal", routes_source(route), distribution="zenith")

        # Whatever their order is: HEAD belongs to GET, and the core comes first.
        message = refusal()

        assert message.startswith(claim)
        assert message.endswith(" and by plugin 'zeal' of zenith 1.0; or set TASKD_DISABLED_PLUGINS=zeal")

    async def test_methods_of_one_path_may_come_from_two_plugins(self, site: Site) -> None:
        """Each method of a path is served by the plugin that provides it, and a 405 lists them all."""
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
                "plugin 'tasks' of taskd-server ",
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
        """If the methods or the owner of a route are unclear, it is refused with its plugin's name."""
        site.install("hello", routes_source(route))

        message = refusal()

        assert "plugin 'hello' of acme 1.0" in message
        assert reason in message

    @pytest.mark.parametrize(
        ("route", "without_token", "with_token"),
        [
            ("Route('/x/y', endpoint)", 401, 200),
            ("Route('/x/y', open_endpoint)", 200, 200),
            ("Route('/x/y', OpenEndpoint, methods=['GET'])", 200, 200),
            ("Route('/x/y', Heir, methods=['GET'])", 401, 200),
            ("Route('/x/{anything}', endpoint)", 401, 200),
            ("Route('/x/{user_id}', endpoint)", 401, 401),
            ("Route('/x/y', notes.show)", 401, 200),
            ("Route('/x/y', taskd.routes.public(notes.show))", 200, 200),
            ("Route('/x/y', Notes().show)", 401, 200),
            ("Route('/x/y', Notes().show_all)", 200, 200),
            ("Route('/x/y', Notes.read)", 200, 200),
            ("Route('/x/y', Notes.count)", 200, 200),
            ("Route('/x/y', functools.partial(notes.show))", 401, 200),
            ("Route('/x/y', taskd.routes.public(functools.partial(notes.show)))", 200, 200),
            ("Route('/x/y', functools.partial(open_endpoint))", 401, 200),
            ("Route('/x/y', taskd.routes.public(Notes()), methods=['GET'])", 200, 200),
            ("Route('/x/y', Notes(), methods=['GET'])", 401, 200),
        ],
    )
    async def test_a_route_is_protected_unless_it_is_marked(
        self, site: Site, route: str, without_token: int, with_token: int
    ) -> None:
        """
        Only an endpoint that is itself marked is public, and a `user_id` must be the user's own wherever it occurs.

        A bound method, a `functools.partial` and an object that does not allow attributes can be marked, too.  The mark
        affects nothing else: neither the same method of another object nor what the partial is made of.
        """
        site.install("hello", NOTES + routes_source(route))
        app = build()

        assert without_token == (await get(app, "/x/y")).status_code
        assert with_token == (await get(app, "/x/y", "alice")).status_code

    async def test_a_public_route_under_api_may_name_its_parameters(self, site: Site) -> None:
        """If no credentials are needed, no parameter has to be the owner."""
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
    async def test_a_literal_path_takes_precedence_over_a_parameter(
        self, site: Site, names: tuple[str, str], wide: str, narrow: str, path: str
    ) -> None:
        """The more literal of two paths responds, whichever plugin provides it."""
        site.install(names[0], routes_source(f"Route({wide!r}, open_endpoint)"), distribution="acme")
        module = site.install(names[1], routes_source(f"Route({narrow!r}, open_endpoint)"), distribution="zenith")

        # It overlaps no protected path of the tasks.
        app = build(TASKD_DISABLED_PLUGINS="tasks")

        assert f"{module}: anyone" == (await get(app, path)).text

    async def test_a_wide_route_does_not_hide_the_tasks(self, site: Site) -> None:
        """The tasks' own paths are served as before, even with a route for everything below them."""
        site.install("hello", routes_source("Route('/api/{user_id:path}', endpoint)") + STORE)

        response = await get(build(TASKD_STORAGE="hello"), "/api/alice/tasks", "alice")

        assert (200, ["a task of alice"]) == (response.status_code, [task["title"] for task in response.json()])


class TestOverlaps:
    @pytest.mark.parametrize(
        ("path", "protected", "common"),
        [
            ("/api/alice/tasks", "/api/{user_id}/tasks", "/api/alice/tasks"),
            ("/api/{anyone}/tasks", "/api/{user_id}/tasks", "/api/a/tasks"),
            ("/api/alice/{what}", "/api/{user_id}/tasks", "/api/alice/tasks"),
            ("/api/{n:int}/tasks", "/api/{user_id}/tasks", "/api/0/tasks"),
            ("/api/{rest:path}", "/api/{user_id}/tasks", "/api/a/tasks"),
            ("/{rest:path}", "/api/{user_id}/tasks", "/api/a/tasks"),
            ("/{a}/{b}/{c}", "/api/{user_id}/tasks", "/api/a/tasks"),
            ("/api/alice/tasks/{id:uuid}/complete", "/api/{user_id}/tasks/{id}/complete", None),
        ],
    )
    def test_a_public_path_that_overlaps_a_protected_one_is_refused(
        self, site: Site, path: str, protected: str, common: str | None
    ) -> None:
        """No public route may respond at a user's path; the message names both plugins, both paths and an example."""
        site.install("hello", routes_source(f"Route({path!r}, open_endpoint)"))

        message = refusal()

        assert message.startswith(
            f"plugin 'hello' of acme 1.0 makes {path} public, but plugin 'tasks' of taskd-server "
        )
        assert f" protects {protected}, and both match {common or '/api/alice/tasks/'}" in message

    def test_a_public_path_that_matches_everything_comes_with_advice(self, site: Site) -> None:
        """It could begin with a segment of its own."""
        site.install("hello", routes_source("Route('/{rest:path}', open_endpoint)"))

        assert without_remedy(refusal()).endswith("begin it with a segment of its own, as in /pages/{rest:path}")

    def test_a_method_of_a_path_that_another_plugin_protects_is_refused(self, site: Site) -> None:
        """A path belongs to its plugin: no other plugin may make one of its methods public."""
        site.install("hello", routes_source("Route('/api/{user_id}/tasks', open_endpoint, methods=['PUT'])"))

        assert "makes /api/{user_id}/tasks public, and plugin 'tasks' of taskd-server " in refusal()

    def test_a_plugin_s_own_paths_must_not_overlap_either(self, site: Site) -> None:
        """The message names the plugin that protects the other path."""
        site.install(
            "hello", routes_source("Route('/notes/latest', open_endpoint)", "Route('/notes/{note}', endpoint)")
        )

        assert "makes /notes/latest public, but plugin 'hello' of acme 1.0 protects /notes/{note}" in refusal()

    def test_a_plugin_must_not_protect_what_the_server_makes_public(self, site: Site) -> None:
        """Nobody should believe that `/livez` is protected."""
        site.install("hello", routes_source("Route('/{x}', endpoint)"))

        assert refusal().startswith("taskd makes /livez public, but plugin 'hello' of acme 1.0 protects /{x}, and both")

    async def test_a_plugin_may_make_one_method_of_its_own_path_public(self, site: Site) -> None:
        """Methods of a path are independent, so everyone can read what only users can write."""
        site.install(
            "hello",
            routes_source("Route('/notes', open_endpoint)", "Route('/notes', endpoint, methods=['POST'])"),
        )

        async with client_of(build()) as client:
            assert [200, 401] == [(await client.request(method, "/notes")).status_code for method in ("GET", "POST")]


FAILING = """
from starlette.exceptions import HTTPException
from taskd.errors import CodedError, ErrorCode

@taskd.routes.public
async def fail(request):
    raise HTTPException(request.path_params["status"], "It is full.", {"X-Notes": "7"})

@taskd.routes.public
async def fail_with_code(request):
    raise CodedError(ErrorCode(request.path_params["code"]), "It is full.", {"X-Notes": "7"})
"""


PICKY = """
from taskd.routes import FieldError, InvalidParameter

@taskd.routes.public
async def refuse(request):
    raise InvalidParameter(FieldError("limit", "must be a number"), FieldError("X-Key", "must be sent once"))
"""


IN_MIDDLEWARE = """
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

class Sign:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def sign(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-signed", b"yes")]
            await send(message)

        await self.app(scope, receive, sign)

@taskd.routes.public
async def greet(request):
    return PlainTextResponse(request.path_params["name"])

@taskd.routes.public
def fail(request):
    raise HTTPException(418)
"""


class TestErrors:
    async def test_a_route_has_its_own_middleware(self, site: Site) -> None:
        """The middleware sees all responses of its route, also those to errors, whatever kind of function it wraps."""
        routes = routes_source(
            "Route('/greet/{name}', greet, middleware=[Middleware(Sign)])",
            "Route('/fail', fail, middleware=[Middleware(Sign)])",
            "Route('/alone', fail)",
        )
        site.install("notes", IN_MIDDLEWARE + routes)
        app = build()

        responses = [await get(app, path) for path in ("/greet/bob", "/fail", "/alone")]

        assert [(200, "yes"), (418, "yes"), (418, None)] == [
            (response.status_code, response.headers.get("x-signed")) for response in responses
        ]
        assert ["bad_request"] * 2 == [response.json()["code"] for response in responses[1:]]

    async def test_an_invalid_parameter_is_refused_like_an_invalid_body(self, site: Site) -> None:
        """The response has another code, but the same form."""
        site.install("notes", PICKY + routes_source("Route('/notes', refuse)"))

        response = await get(build(), "/notes")

        assert 422 == response.status_code
        assert {
            "detail": "limit must be a number; X-Key must be sent once.",
            "code": "invalid_parameter",
            "errors": [
                {"field": "limit", "message": "must be a number"},
                {"field": "X-Key", "message": "must be sent once"},
            ],
        } == response.json()

    async def test_the_status_of_a_plugin_s_error_determines_its_code(self, site: Site) -> None:
        """A status without a code is treated like the first one of its class (RFC 9110, section 15)."""
        site.install("notes", FAILING + routes_source("Route('/{status:int}', fail)"))
        app = build()
        shared = {401: "invalid_token", 409: "bad_request", 422: "invalid_body"}
        of_status = {status: code for code, status in CODES.items()} | shared

        for status in range(400, 600):
            response = await get(app, f"/{status}")
            code = of_status.get(status, "bad_request" if status < 500 else "internal_error")

            assert (status, "7") == (response.status_code, response.headers["X-Notes"])
            assert {"detail": "It is full.", "code": code} == response.json()

    @pytest.mark.parametrize(("code", "status"), CODES.items())
    async def test_a_plugin_can_name_a_code(self, site: Site, code: str, status: int) -> None:
        """The code determines the status."""
        site.install("notes", FAILING + routes_source("Route('/{code}', fail_with_code)"))

        response = await get(build(), f"/{code}")

        assert (status, "7") == (response.status_code, response.headers["X-Notes"])
        assert {"detail": "It is full.", "code": code} == response.json()
