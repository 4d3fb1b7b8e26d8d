"""Databases with many tasks, made faster than over HTTP."""

from __future__ import annotations

from tests.support.databases import Place, PostgresPlace

__all__ = ["multiply"]


def multiply(place: Place, count: int) -> None:
    """
    Copy the only task in *place* until there are *count* tasks, with rising ids.

    The copies have the titles 2, 3, …
    """
    # Later than any clock, in each database's own format.
    new_id = "printf('f000000000007000%016d', n)"
    if isinstance(place, PostgresPlace):
        new_id = "('f000000000007000' || lpad(n::text, 16, '0'))::uuid"
    place.run(
        f"WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"  # noqa: S608
        " INSERT INTO tasks (user_id, id, title, description, status, priority, created_at, updated_at, version)"
        f" SELECT user_id, {new_id}, CAST(n AS text), description, status, priority, created_at, updated_at, 1"
        " FROM tasks, numbers"
    )
