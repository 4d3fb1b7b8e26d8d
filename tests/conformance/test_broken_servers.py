"""The checks find faults: each promise is broken by a server, and the check of that promise says so."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.types import ASGIApp

from taskd import build_app
from taskd.cli.conformance import print_report
from taskd.conformance.registry import Check
from taskd.conformance.report import Outcome, Report
from taskd.conformance.runner import Target, run
from taskd.conformance.sections import access, all_checks
from taskd.conformance.tokens import account_of
from taskd.testing import lifespan
from tests.conformance.broken import BrokenServer, Call, Request, Response
from tests.conformance.faults import SERVERS
from tests.conformance.users import ME, OTHER, token
from tests.conftest import ORIGIN, PATIENT, SECRET
from tests.support.documentation import blocks
from tests.support.witness import Witness

pytestmark = pytest.mark.anyio

CHECKS = {check.run: check for check in all_checks()}


@pytest.fixture(autouse=True)
def _declared_only(witness: Witness) -> Iterator[None]:
    """Accept undeclared responses here: that is what the servers are for."""
    yield
    witness.undeclared()


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ASGIApp]:
    """A correct server, one for all tests of this module."""
    database_url = f"sqlite:///{tmp_path_factory.mktemp('conformance')}/tasks.db"
    given = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN, **PATIENT}
    application = build_app(given)
    async with lifespan(application):
        yield application


async def report(app: ASGIApp, checks: list[Check], prefix: str = "") -> Report:
    """Return the results of *checks* of *app*, which is served below *prefix*."""
    mine, theirs = [account_of(token(user), user) for user in (ME, OTHER)]
    target = Target("http://taskd", mine, theirs, ORIGIN, prefix=prefix)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, root_path=prefix)
    return await run(target, checks, transport)


@pytest.mark.parametrize("prefix", ["", pytest.param("/below", marks=pytest.mark.thorough)])
async def test_a_correct_server_passes(app: ASGIApp, prefix: str) -> None:
    """So the broken servers fail because of what is broken in them."""
    found = await report(app, list(CHECKS.values()), prefix)

    assert [] == [(result.check.promise, result.reason) for result in found.failures]
    assert {Outcome.PASSED} == {result.outcome for result in found.results}
    assert 0 == found.leftovers


@pytest.mark.parametrize("number", range(3))
async def test_a_header_may_change_now_and_then(app: ASGIApp, number: int) -> None:
    """What is left of a rate limit, for example, says nothing about the task."""
    requests = itertools.count(number)

    async def limit(request: Request, call: Call) -> Response:
        response = await call(request)
        return response.having(ratelimit=f"r={99 if next(requests) % 3 else 98}")

    found = await report(BrokenServer("", lambda: limit, ()).app(app), [CHECKS[access.same_404]])

    assert [] == [result.reason for result in found.failures]


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
async def test_a_server_that_breaks_a_promise_fails_its_check(app: ASGIApp, server: BrokenServer) -> None:
    """The check that states the promise says what was sent and what came back, but never a token."""
    checks = [CHECKS[function] for function in server.checks]
    found = await report(server.app(app), checks)

    assert [check.promise for check in checks] == [result.check.promise for result in found.failures]
    assert all(result.reason and result.request for result in found.failures)
    assert not any(token(user).split(".")[2] in str(found.as_json()) for user in (ME, OTHER))


async def test_the_guide_shows_a_failure(app: ASGIApp, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/guides/conformance.md shows what the command prints for a server that strips titles."""
    [stripping] = [server for server in SERVERS if server.name == "titles_are_stripped"]
    print_report(await report(stripping.app(app), list(CHECKS.values())))

    shown = blocks("docs/guides/conformance.md", "text")[1]

    assert alike(shown) == alike(capsys.readouterr().out)


def alike(text: str) -> str:
    """Return *text* without what differs each time: ids, versions, and where a body is cut."""
    uuid, request_id, mark = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[0-9a-f]{32}", r"[0-9a-f]{8} \d+"
    return re.sub(rf'{uuid}|{request_id}|{mark}|(?<=etag: )"\d+"|(?<="due_at":).*', "…", text)


def test_every_promise_is_broken_by_a_server() -> None:
    """No check passes whatever a server does."""
    broken = {function for server in SERVERS for function in server.checks}

    assert [] == [check.promise for function, check in CHECKS.items() if function not in broken]
