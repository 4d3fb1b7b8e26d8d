"""More clients than taskd can serve: the tests only count responses, because machines differ."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from benchmarks import load
from benchmarks.load import Retry
from benchmarks.overload import FLOODER, Subject, Witnessed
from taskd.testing import running_server
from tests.conftest import SECRET, token_for
from tests.support.databases import PostgresPlace, SQLitePlace
from tests.support.postgres import SCHEMA
from tests.support.processes import child_environ

MANY = 1200
USERS = [f"user-{number}" for number in range(20)]
DURATION_S = 1.0


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """A server over an empty database."""
    load.raise_file_limit()
    place: SQLitePlace | PostgresPlace
    if request.param == "sqlite":
        place = SQLitePlace(tmp_path_factory.mktemp("flood") / "tasks.db")
    else:
        place = PostgresPlace.make(request.getfixturevalue("postgres"))
        place.run(SCHEMA.read_text())
    with running_server(child_environ({"DATABASE_URL": place.url, "BETTER_AUTH_SECRET": SECRET})) as server:
        yield Subject(place, server)


@pytest.mark.parametrize("retry", [Retry.AT_ONCE, pytest.param(Retry.AFTER_PAUSE, marks=pytest.mark.thorough)])
def test_too_many_requests_are_each_served_or_refused_properly(subject: Subject, retry: Retry) -> None:
    """Meanwhile /livez responds, and afterwards everything works as before."""
    requests = [*subject.gets(USERS), *subject.posts(USERS)]
    seen = Witnessed.of(subject, subject.plan(requests, MANY, DURATION_S, retry))
    after = httpx.get(f"{subject.server.url}/api/dev/tasks", headers={"Authorization": f"Bearer {token_for('dev')}"})

    assert {} == seen.flood.faults()
    for body in seen.flood.bodies:
        refusal = json.loads(body)
        assert {"detail": refusal["detail"], "code": "unavailable"} == refusal
    assert {} == seen.livez.faults()
    assert {200} == set(seen.livez.statuses)
    assert (200, []) == (after.status_code, after.json())


def test_a_flood_from_one_user_takes_nothing_from_others(subject: Subject) -> None:
    seen = Witnessed.of(subject, subject.plan(subject.gets([FLOODER]), MANY, DURATION_S, Retry.AT_ONCE))

    assert {} == seen.others.faults()
    assert {200} == set(seen.others.statuses)
