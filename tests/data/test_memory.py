"""The commands for data need no more memory for many tasks than for few."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data import commands, fill, measure

FEW, MANY = 1_000, 20_000
# The texts of the additional tasks alone would take twice as much.
MORE_MIB = 8


@pytest.mark.thorough
def test_memory_does_not_grow_with_the_number_of_tasks(tmp_path: Path) -> None:
    """For each command, it is nearly the same with twenty times as many tasks."""
    used: list[list[float]] = []
    for count in (FEW, MANY):
        folder = tmp_path / str(count)
        folder.mkdir()
        fill(folder / "tasks.db", count)
        used.append([measure(file, arguments).mebibytes for file, arguments in commands(folder)])

    assert [] == [(few, many) for few, many in zip(*used, strict=True) if many > few + MORE_MIB]
