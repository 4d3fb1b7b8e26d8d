"""Random requests, on both databases: each response agrees with a plain model of the tasks."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from taskd import build_app
from taskd.testing import lifespan
from tests.conftest import client_of
from tests.support.model import Model
from tests.support.requests import LISTS, REQUESTS, List, Request, Session


@pytest.fixture(scope="module")
def database_url(each_database_url: str) -> str:
    """Tasks are the same whatever the store."""
    return each_database_url


def test_each_response_agrees_with_the_model(environ: dict[str, str], is_thorough: bool) -> None:
    """The requests create, repeat, change, complete, delete, read and list tasks, with all kinds of conditions."""
    with asyncio.Runner() as runner:

        @settings(
            max_examples=2000 if is_thorough else 30,
            deadline=None,
            # Ordinary runs always use the same requests, so that nobody is stopped by a bug that is not theirs.
            derandomize=not is_thorough,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(requests=st.lists(REQUESTS, min_size=8, max_size=30), lists=st.lists(LISTS, min_size=4, max_size=8))
        def check(requests: Sequence[Request], lists: Sequence[Request]) -> None:
            runner.run(play(app, [*requests, *lists]))

        app = build_app(environ)
        started = contextlib.AsyncExitStack()
        runner.run(started.enter_async_context(lifespan(app)))
        try:
            check()
        finally:
            runner.run(started.aclose())


async def play(app: ASGIApp, requests: Sequence[Request]) -> None:
    """Send *requests* as a new user, and finally read everything that is left."""
    user_id = uuid.uuid4().hex
    async with client_of(app, user_id) as client:
        session = Session(client, f"/api/{user_id}/tasks", Model(user_id))
        for request in [*requests, List({})]:
            await request.send(session)
