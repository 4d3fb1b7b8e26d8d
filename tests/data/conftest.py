"""Databases with tasks, and commands that are run over them in this process."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from taskd.storage import CreationKey
from taskd.tasks import NewTask, TaskChanges
from taskd_sql.plugin import taskd_storage
from tests.support.commands import invoke
from tests.support.databases import Place, PostgresPlace, SQLitePlace
from tests.support.migrating import migrate
from tests.support.postgres import PostgresServer

__all__ = ["Run", "fill"]

# Runs a command over a database.
Run = Callable[..., Result]


@pytest.fixture(scope="session")
def run() -> Run:
    def run_over(place: Place, *arguments: str) -> Result:
        return invoke(*arguments, settings={"DATABASE_URL": place.url})

    return run_over


@pytest.fixture
def filled(place: Place) -> Place:
    """A database with two users who have tasks, and one whose tasks have all been deleted."""
    migrate(place)
    fill(place)
    return place


@pytest.fixture
def others(tmp_path: Path, postgres: PostgresServer) -> list[Place]:
    """An empty database of each kind."""
    made: list[Place] = [SQLitePlace(tmp_path / "other.db"), PostgresPlace.make(postgres)]
    for place in made:
        migrate(place)
    return made


def fill(place: Place) -> None:
    """Create some tasks."""
    asyncio.run(_fill(place.url))


async def _fill(url: str) -> None:
    store = taskd_storage({"DATABASE_URL": url})
    due_at = dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.timezone.utc)
    for user in ("alice", "zo\xeb"):
        task = await store.create(user, NewTask(title="Secret plans", description="\u2028\x01", tags=["b", "a"]))
        await store.toggle(user, task.id)
        await store.create(user, NewTask(title="other", due_at=due_at), key=CreationKey("key", b"\x00\xff"))
    gone = await store.create("bob", NewTask(title="gone"))
    await store.update("bob", gone.id, TaskChanges(title="going"))
    await store.delete("bob", gone.id)
    await store.close()
