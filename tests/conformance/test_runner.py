"""Whatever a server does, each check ends with a result, and the tasks that the checks have created are deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import httpx
import pytest
from starlette.types import ASGIApp, Send

from taskd.cli.conformance import print_report
from taskd.conformance.report import Report
from taskd.conformance.runner import Target, Unusable, run
from taskd.conformance.section import Section
from taskd.conformance.sections import all_checks, creating_once, documents, endpoints, errors, fields
from taskd.conformance.tokens import account_of
from tests.conformance.broken import BrokenServer, Call, Check, Request, Response, error
from tests.conformance.faults import SERVERS
from tests.conformance.users import ME, OTHER, token
from tests.conftest import client_of
from tests.support.witness import Witness

pytestmark = pytest.mark.anyio

NAMES = ["created_with_200", "no_keys", "untitled", "any_id", "titles_are_stripped", "created_twice", "envelope"]
SOME = [server for server in SERVERS if server.name in NAMES]


@pytest.fixture(autouse=True)
def _declared_only(witness: Witness) -> Iterator[None]:
    """Accept undeclared responses here: that is what the servers are for."""
    yield
    witness.undeclared()


@pytest.fixture
def environ(embedded_child: dict[str, str]) -> dict[str, str]:
    """Return the environment of a server over SQLite: these tests do not depend on the store."""
    return embedded_child


def target(timeout_s: float = 30) -> Target:
    mine, theirs = [account_of(token(user), user) for user in (ME, OTHER)]
    return Target("http://taskd", mine, theirs, timeout_s=timeout_s)


async def checked(app: ASGIApp, functions: Iterable[Check], timeout_s: float = 30) -> Report:
    """Return the results of the checks that *functions* are."""
    wanted = set(functions)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return await run(target(timeout_s), [check for check in all_checks() if check.run in wanted], transport)


def broken(app: ASGIApp, fault: Callable[..., object]) -> ASGIApp:
    return BrokenServer("broken", lambda: fault, ()).app(app)  # type: ignore[arg-type, return-value]


async def titles(app: ASGIApp, user: str) -> list[str]:
    async with client_of(app, user) as client:
        return [task["title"] for task in (await client.get(f"/api/{user}/tasks")).json()]


@pytest.mark.parametrize("server", SOME, ids=lambda server: server.name)
async def test_tasks_are_deleted_even_if_checks_fail(app: ASGIApp, server: BrokenServer) -> None:
    """This holds for tasks that the server should not have created, too."""
    found = await checked(server.app(app), server.checks)

    assert found.failures
    assert ([], []) == (await titles(app, ME), await titles(app, OTHER))


async def test_what_cannot_be_deleted_is_counted(app: ASGIApp, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says how to recognize these tasks."""

    async def undeletable(request: Request, call: Call) -> Response:
        return error(500, "internal_error") if request.method == "DELETE" else await call(request)

    found = await checked(broken(app, undeletable), [endpoints.read])

    print_report(found)
    assert 1 == found.leftovers
    assert f"\nNot deleted: 1 task, with a title that begins with '{found.mark}'.\n" == capsys.readouterr().err
    assert [f"{found.mark} "] == [title[: len(found.mark) + 1] for title in await titles(app, ME)]


async def test_tasks_are_deleted_if_the_run_is_interrupted(app: ASGIApp) -> None:
    """Ctrl+C leaves nothing behind."""
    has_created = asyncio.Event()

    async def slow(request: Request, call: Call) -> Response:
        if request.method == "PUT":
            has_created.set()
            await asyncio.Event().wait()
        return await call(request)

    running = asyncio.create_task(checked(broken(app, slow), [endpoints.read]))
    await has_created.wait()
    assert 1 == len(await titles(app, ME))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [] == await titles(app, ME)


async def test_a_request_that_gets_no_response_fails_its_check(app: ASGIApp) -> None:
    """The other checks are run as usual."""

    async def silent(request: Request, call: Call) -> Response:
        return await (asyncio.Event().wait() if request.method == "PUT" else call(request))  # type: ignore[return-value]

    found = await checked(broken(app, silent), [endpoints.read, endpoints.create], timeout_s=1)

    [failure] = found.failures
    assert "it did not end within 1 s" == failure.reason
    assert failure.request is not None
    assert failure.request.start.startswith("PUT /api/alice/tasks/")
    assert failure.response is None


async def test_a_response_that_nobody_expects_fails_its_check(app: ASGIApp) -> None:
    """The result has one line, not a traceback."""

    async def strange(request: Request, call: Call) -> Response:
        response = await call(request)
        return response.of({"openapi": "3.1.0", "paths": []}) if request.path == "/openapi.json" else response

    [failure] = (await checked(broken(app, strange), [documents.document])).failures

    assert "the response is not what the check can read: AttributeError" == failure.reason


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b"null", b"[1]", b'{"id": [], "title": 5}', b"\xff", b"[" * 100_000],
    ids=lambda body: repr(body[:9]),
)
@pytest.mark.parametrize("status", [200, 201])
async def test_any_response_leads_to_results(status: int, body: bytes) -> None:
    """A server that sends the same to every request fails in every section, and the run ends as usual."""

    async def monotonous(_: object, __: object, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"x-request-id", b"x"), (b"etag", b'"1"')]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    functions = [check.run for check in all_checks()]
    found = await checked(monotonous, functions)

    assert len(functions) == len(found.results)
    assert set(Section) == {failure.check.section for failure in found.failures}


@pytest.mark.parametrize("task_id", ["\ud800", "a\0b", "x" * 100_000, None])
async def test_ids_that_fit_into_no_url_do_not_end_the_run(app: ASGIApp, task_id: str | None) -> None:
    """Such tasks count as not deleted."""

    async def renaming(request: Request, call: Call) -> Response:
        if request.method == "DELETE":
            return error(500, "internal_error")
        response = await call(request)
        return response.each(lambda task: {**task, "id": task_id}) if isinstance(response.json, list) else response

    found = await checked(broken(app, renaming), [endpoints.read])

    assert 1 == found.leftovers


class Endless(httpx.AsyncBaseTransport, httpx.AsyncByteStream):
    """A server whose responses never end, with a pause after every *chunks* chunks that does not end, either."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002
        return httpx.Response(200, headers={"Content-Type": "application/json"}, stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.chunks):
            yield b" " * 1024
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("chunks", "timeout_s", "reason"),
    [(1, 0.1, "http://taskd does not respond within 0.1 s"), (99, 30, "the response has more than 65536 bytes")],
)
async def test_a_response_that_does_not_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, chunks: int, timeout_s: float, reason: str
) -> None:
    """Neither does the command wait for ever, nor does it read all that a server sends."""
    monkeypatch.setattr("taskd.conformance.client.MAX_RESPONSE_BYTES", 65536)

    with pytest.raises(Unusable, match=reason):
        await run(target(timeout_s), all_checks(), Endless(chunks))


async def test_a_broken_connection_fails_its_check(app: ASGIApp) -> None:
    """The result says what went wrong."""

    class Cut(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "PUT":
                raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
            return await super().handle_async_request(request)

    found = await run(target(), [check for check in all_checks() if check.run is endpoints.read], Cut(app))

    assert ["the connection failed: Server disconnected without sending a response."] == [
        failure.reason for failure in found.failures
    ]


async def test_a_server_that_is_busy_is_asked_again(app: ASGIApp) -> None:
    """A 503 or 429 that says when to try again is no failure."""
    seen: set[Request] = set()

    async def busy(request: Request, call: Call) -> Response:
        if request in seen:
            return await call(request)
        seen.add(request)
        return error((429, 503)[len(seen) % 2], "unavailable").having(retry_after="0")

    found = await checked(broken(app, busy), [errors.form, fields.defaults, creating_once.repeated])

    assert [] == found.failures


async def test_a_server_that_stays_busy_fails(app: ASGIApp) -> None:
    """So does one that does not say when to try again."""
    for headers in ({"retry_after": "0"}, {}):

        async def busy(request: Request, call: Call, headers: dict[str, str] = headers) -> Response:
            return error(503, "unavailable").having(**headers) if request.method == "PUT" else await call(request)

        [failure] = (await checked(broken(app, busy), [endpoints.read])).failures
        assert "expected status 200, not 503" == failure.reason


async def test_cookies_are_not_kept(app: ASGIApp) -> None:
    """A cookie that a server sets is not sent with requests that must have no credentials."""
    sent = []

    async def setting(request: Request, call: Call) -> Response:
        sent.append(request.header("cookie"))
        return (await call(request)).having(set_cookie="session=x; Path=/")

    await checked(broken(app, setting), [endpoints.read])

    assert {None} == set(sent)
