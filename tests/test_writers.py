"""The tools that measure reliability: what the writers and the table of figures tell."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import uuid
from pathlib import Path

import pytest

from tests.figures import Figures, table
from tests.writers import Answer, Outcome, load, refusal_fault, target

pytestmark = pytest.mark.anyio


class TestMeasuring:
    """The tests' own tools."""

    async def test_writers_see_what_is_wrong(self, sqlite_file: Path, embedded_child: dict[str, str]) -> None:
        """A write that was lost, one that is there twice, and one that nobody sent: each is told."""
        async with target(embedded_child) as running:
            async with load(running) as working:
                await working.each(Outcome.ACKNOWLEDGED)
                await working.more(100)
            good = working.faults()
            writer = working.writers[0]
            [lost, doubled, *_] = [task for task in writer.tasks if task.may_be_there()]
            copy = (
                "INSERT INTO tasks SELECT user_id, ?, ?, description, status, priority, due_at, created_at, updated_at"
            )
            copy += ", completed_at FROM tasks WHERE title = ? AND user_id = ?"
            with contextlib.closing(sqlite3.connect(sqlite_file)) as connection, connection:
                connection.execute(copy, (uuid.uuid4().hex, "foreign", doubled.title, writer.user_id))
                connection.execute(copy, (uuid.uuid4().hex, doubled.title, doubled.title, writer.user_id))
                connection.execute("DELETE FROM tasks WHERE title = ? AND user_id = ?", (lost.title, writer.user_id))
            await writer.verify()

        assert [] == good
        told = "\n".join(working.faults())
        assert 3 == len(working.faults())
        assert f"{lost.title} is None, and may only be" in told
        assert f"{doubled.title} is there twice" in told
        assert "foreign was never sent" in told

    async def test_a_server_that_lives_must_not_hang_up(self, embedded_child: dict[str, str]) -> None:
        """A connection that breaks is told, unless the server was killed."""
        async with target(embedded_child) as running, load(running) as working:
            await working.more(10)
            # Behind the target's back.
            await asyncio.gather(working.more(8, Outcome.UNKNOWN), asyncio.to_thread(running.server.kill))
            await running.start()

        assert 8 <= len(working.faults())
        assert {True} == {"of a live server" in fault for fault in working.faults()}

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(500, {"content-type": "application/json", "retry-after": "2"}, b'{"detail": "d"}'),
            Answer(503, {"content-type": "application/json"}, b'{"detail": "d"}'),
            Answer(503, {"content-type": "application/json", "retry-after": "0.5"}, b'{"detail": "d"}'),
            Answer(503, {"content-type": "application/json", "retry-after": "2"}, b'{"detail": []}'),
            Answer(503, {"content-type": "text/plain", "retry-after": "2"}, b'{"detail": "d"}'),
        ],
        ids=["status", "no seconds", "half a second", "detail", "type"],
    )
    async def test_a_refusal_has_its_form(self, answer: Answer) -> None:
        """Whatever lacks a part of it is told."""
        assert "an answer that is no refusal" in str(refusal_fault(answer))

    async def test_the_table_can_be_read_as_it_stands(self) -> None:
        """Its columns are aligned, and what was not measured is left out."""
        probed = Figures(fault="a fault", rounds=20, sent=12_345, livez_s=[0.001, 0.002], back_s=0.5)
        counted = Figures(fault="another fault", rounds=1, sent=2, acknowledged=1, refused=0, unknown=1, left=0)

        [heads, rule, *rows] = table([probed, counted]).splitlines()
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
        assert ["a fault", "20", "12,345", "", "", "", "", "2 ms", "2 ms", "0.50 s", ""] == cells[0]
        assert ["another fault", "1", "2", "1", "0", "1", "", "", "", "", "0"] == cells[1]
        assert 1 == len({len(line) for line in [heads, rule, *rows]})
        assert "" == table([])
