"""`taskd export --format ics`, read back with icalendar."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import icalendar
import pytest

from taskd.tasks import NewTask, Priority, Status, Task
from taskd_sql.plugin import taskd_storage
from tests.data.conftest import Run
from tests.support.databases import SQLitePlace
from tests.support.processes import child_environ

NEW = [
    NewTask(
        title="Buy milk, eggs; and \\ \U0001f95a" + "\xdf" * 90,
        description="one\r\ntwo\rthree\nBEGIN:VALARM\x01\u2028",
        due_at=dt.datetime(2030, 1, 1, 1, 0, 0, 999999, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        tags=["a,b", "c;d"],
        priority=Priority.URGENT,
    ),
    NewTask(title="done", status=Status.COMPLETED, priority=Priority.LOW),
    NewTask(title="begun", status=Status.IN_PROGRESS, due_at=dt.datetime(1, 1, 1, tzinfo=dt.timezone.utc)),
]


@pytest.fixture
def tasks(sqlite_place: SQLitePlace) -> list[Task]:
    async def create() -> list[Task]:
        store = taskd_storage({"DATABASE_URL": sqlite_place.url})
        made = [await store.create("alice", new) for new in NEW]
        await store.create("bob", NewTask(title="of somebody else"))
        await store.close()
        return made

    return asyncio.run(create())


def test_a_calendar_has_the_tasks_of_one_user(sqlite_place: SQLitePlace, tasks: list[Task], run: Run) -> None:
    """Each task is a VTODO with the same id, texts, times in UTC and state."""
    assert 0 == run(sqlite_place, "export", "--format", "ics", "--user", "alice", "tasks.ics").exit_code

    text = Path("tasks.ics").read_bytes()
    todos: Any = icalendar.Calendar.from_ical(text).walk("VTODO")
    assert [str(task.id) for task in tasks] == [str(todo["uid"]) for todo in todos]
    assert [task.title for task in tasks] == [str(todo["summary"]) for todo in todos]
    assert "one\ntwo\nthree\nBEGIN:VALARM\ufffd\u2028" == str(todos[0]["description"])
    assert dt.datetime(2030, 1, 1, tzinfo=dt.timezone.utc) == todos[0]["due"].dt
    assert ["a,b", "c;d"] == [str(each) for each in todos[0]["categories"].cats]
    assert [1, 9, 5] == [int(todo["priority"]) for todo in todos]
    assert ["NEEDS-ACTION", "COMPLETED", "IN-PROCESS"] == [str(todo["status"]) for todo in todos]
    assert [False, True, False] == ["completed" in todo for todo in todos]
    assert b"DUE:00010101T000000Z\r\n" in text


def test_lines_are_folded_and_end_as_the_rfc_says(sqlite_place: SQLitePlace, tasks: list[Task], run: Run) -> None:
    """RFC 5545, section 3.1: each ends with CR and LF, and has at most 75 bytes; no text can add a line."""
    assert tasks
    run(sqlite_place, "export", "--format", "ics", "--user", "alice", "tasks.ics")

    *lines, last = Path("tasks.ics").read_bytes().split(b"\r\n")
    assert b"" == last
    assert [] == [line for line in lines if len(line) > 75 or re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line)]
    assert b"BEGIN:VALARM" not in lines


def test_a_calendar_is_of_one_user(sqlite_place: SQLitePlace, run: Run) -> None:
    """Without --user, it would mix the tasks of all."""
    result = run(sqlite_place, "export", "--format", "ics")

    assert (2, True) == (result.exit_code, "A calendar is of one user: add --user." in result.output)


def test_the_library_is_optional(tmp_path: Path) -> None:
    """Without it, one line says what to install."""
    script = (
        "import sys; sys.modules['icalendar'] = None; from taskd.cli.main import main;"
        " main(['export', '--format', 'ics', '--user', 'alice'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=child_environ({}), capture_output=True, text=True, check=False
    )

    assert (1, "taskd: `taskd export --format ics` needs icalendar: run pip install 'taskd-server[ics]'\n") == (
        ended.returncode,
        ended.stderr,
    )
