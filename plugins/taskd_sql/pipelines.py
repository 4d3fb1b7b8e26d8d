"""
Which calls of the store may share a round trip to PostgreSQL, and which rows belong to which of them.

A pipeline runs one statement for each call, in the order of owners and tasks, all in one transaction.  So a call may
hold the locks of a task and its owner while it waits for those of the next owner, and two processes cannot deadlock as
long as no two calls of a pipeline that lock tasks are of the same owner: see `statements`.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from taskd_sql.engine.database import Pipeline, Rows

__all__ = ["changes", "creations", "lists", "reads"]

# The owner and the task of each call.
Keys = Sequence[tuple[str, UUID | None]]


def reads(sql: str) -> Pipeline:
    """Return the pipeline for reading single tasks."""
    return Pipeline(64, sql=sql, split=_split_tasks)


def creations(sql: str) -> Pipeline:
    """Return the pipeline for creating tasks, which nobody else can have locked."""
    return Pipeline(64, sql=sql, split=_split_tasks)


def changes(sql: str) -> Pipeline:
    """Return the pipeline for a change of single tasks."""
    return Pipeline(32, is_one_per_owner=True, sql=sql, split=_split_tasks)


def lists(sql: str) -> Pipeline:
    """Return the pipeline for a statement of `lists`."""
    return Pipeline(8, sql=sql, split=_split_lists)


def _split_tasks(rows: Rows, keys: Keys) -> Sequence[Rows]:
    """Return the rows of each call, which are one row or none, and begin with the task and its owner."""
    each: list[Rows] = []
    left = iter(rows)
    row = next(left, None)
    for owner, task_id in keys:
        if row is not None and row[0] == task_id and row[1] == owner:
            each.append([row])
            row = next(left, None)
        else:
            each.append([])
    if row is not None:
        raise RuntimeError("a pipeline returned a row that no call asked for")
    return each


def _split_lists(rows: Rows, keys: Keys) -> Sequence[Rows]:
    """Return the rows of each call, which are a header, in which the owner is null, and tasks of the owner."""
    each: list[Rows] = []
    for row in rows:
        if row[1] is None:
            each.append([row])
        elif row[1] == keys[len(each) - 1][0]:
            each[-1].append(row)
        else:
            raise RuntimeError("a pipeline returned a row of another owner")
    if len(each) != len(keys):
        raise RuntimeError("a pipeline returned too few headers, or too many")
    return each
