"""Whatever users have written survives an export and an import, in both databases."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskd.cli.data.gathering import ExportReader, digest_of
from taskd.cli.data.lines import FORMAT, DoneLine, EndLine, ExportLine, encode, line_of
from taskd.data import Owner, Record, RememberedKey
from taskd.storage import CreationKey
from taskd.tasks import Priority, Status, Task
from taskd_sql.plugin import taskd_storage
from taskd_sql.store import SQLTaskStore

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
NOT_BLANK = TEXTS.map(lambda text: f"{text[:49]}x")
TIMES = st.datetimes(timezones=st.just(dt.timezone.utc))
VERSIONS = st.integers(0, 2**53 - 1)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """Return a task of nobody, at any time."""
    status = draw(st.sampled_from(Status))
    return Task(
        id=uuid.UUID(int=draw(st.integers(0, 2**128 - 1))),
        user_id="",
        title=draw(NOT_BLANK),
        description=draw(st.none() | TEXTS),
        status=status,
        priority=draw(st.sampled_from(Priority)),
        due_at=draw(st.none() | TIMES),
        tags=tuple(draw(st.lists(NOT_BLANK, max_size=3, unique=True))),
        created_at=draw(TIMES),
        updated_at=draw(TIMES),
        completed_at=draw(TIMES) if status is Status.COMPLETED else None,
        version=draw(VERSIONS),
    )


KEYS = st.builds(
    RememberedKey,
    key=st.builds(
        CreationKey,
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255),
        st.binary(max_size=40),
    ),
    task_id=st.uuids(),
    created_at=TIMES,
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[list[SQLTaskStore]]:
    """A store in each database."""
    urls = [f"sqlite:///{tmp_path_factory.mktemp('properties')}/tasks.db", postgres_url]
    made = [taskd_storage({"DATABASE_URL": url}) for url in urls]
    asyncio.run(made[0].ping())
    yield made
    for store in made:
        asyncio.run(store.close())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=TEXTS,
    new=st.lists(tasks(), max_size=6, unique_by=lambda task: task.id),
    used=st.lists(KEYS, max_size=3, unique_by=lambda each: each.key.key),
)
def test_every_value_survives(
    stores: list[SQLTaskStore], name: str, new: list[Task], used: list[RememberedKey]
) -> None:
    """Every text, time and number is the same after a file and both databases."""
    user = f"{uuid.uuid4().hex}{name}"
    owner = Owner(id=user, seq=max([1, *[task.version for task in new]]))
    own = [attrs_of(task, user) for task in sorted(new, key=lambda task: task.id)]
    keys = sorted(used, key=lambda each: each.key.key)
    records: list[Record] = [owner, *own, *keys]

    for store in stores:
        records = asyncio.run(moved(records, EndLine(len(own), len(keys)), store))

    assert [owner, *own, *keys] == records


def attrs_of(task: Task, user: str) -> Task:
    """Return *task* as one of *user*."""
    fields = {**vars(task), "user_id": user}
    return Task(**{name: value for name, value in fields.items() if name not in ("is_completed", "completed")})


async def moved(records: list[Record], end: EndLine, store: SQLTaskStore) -> list[Record]:
    """Write *records* to a file, import it into *store*, and return what is exported from there."""
    lines = [ExportLine(FORMAT), *map(line_of, records), end, DoneLine(1)]
    file = io.BytesIO(b"".join(map(encode, lines)))
    [owner] = [record for record in records if isinstance(record, Owner)]
    async with store.importing() as importer:
        for user in ExportReader(file, lambda _: None).users():
            await importer.put(user.owner, user.tasks(), user.keys())
            assert user.digest == await digest_of(store.export(owner.id))
    return [record async for record in store.export(owner.id)]
