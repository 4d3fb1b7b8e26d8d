"""
The tasks that every database starts with.

Users belong to groups, so that operations do not affect each other: the tasks that are read never change, for example.
Ids follow from numbers, so that requests can be written without asking the database; they are computed in the same way
here and in SQL.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import attrs

__all__ = ["ACTIVE", "EACH", "Group", "Population", "task_id", "user_id"]

# How many users of each group send requests, and how many tasks each of them has.
ACTIVE = 200
EACH = 20
STATUSES = ("pending", "in_progress", "completed")
PRIORITIES = ("low", "medium", "high", "urgent")
DESCRIPTION = "all of them, the one at the office too, and not too much for those that stand in the shade of the house"
BEGIN_MS = 1_767_225_600_000
# 7 is the version of the UUID, and a belongs to its variant.
_ROWS = """
    SELECT user_id, (lpad(to_hex({begin_ms} + k * 1000), 12, '0') || '7' || substr(digest, 1, 3) || 'a'
            || substr(digest, 4, 15))::uuid AS id,
        'water the plants ' || k AS title, {description} AS description, (ARRAY{statuses})[1 + k % 3] AS status,
        (ARRAY{priorities})[1 + k / 3 % 4] AS priority, created_at + interval '30 days' AS due_at,
        ARRAY['home', 'garden'] AS tags, created_at, created_at AS updated_at,
        CASE WHEN k % 3 = 2 THEN created_at END AS completed_at, k + 1 AS version
    FROM (SELECT md5('{group}-' || number) AS user_id FROM generate_series(0, {users} - 1) number ORDER BY 1) AS ids,
        generate_series({first}::bigint, {first} + {each} - 1) k,
        LATERAL (SELECT md5(user_id || '-' || k) AS digest, to_timestamp({begin_ms} / 1000 + k) AS created_at) AS made
"""


def user_id(group: str, number: int) -> str:
    """Return the id of a user, which looks like one of Better Auth's."""
    return _md5(f"{group}-{number}")


def task_id(user: str, number: int) -> UUID:
    """Return the id of a task: a UUID of version 7."""
    digest = _md5(f"{user}-{number}")
    return UUID(f"{BEGIN_MS + number * 1000:012x}7{digest[:3]}a{digest[3:18]}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@attrs.frozen
class Group:
    """
    Users with equally many tasks.

    Attributes:
        first: The number of each user's first task.
        is_described: Whether tasks have descriptions; without them, ten million tasks are filled in faster.
    """

    name: str
    users: int = ACTIVE
    each: int = EACH
    first: int = 0
    is_described: bool = True

    def user_ids(self) -> Iterator[str]:
        """Return the ids of the users."""
        return (user_id(self.name, number) for number in range(self.users))

    def tasks(self) -> Iterator[tuple[str, UUID]]:
        """Return the id of each user with the id of each of their tasks."""
        for user in self.user_ids():
            for number in range(self.first, self.first + self.each):
                yield user, task_id(user, number)

    def sql(self) -> str:
        """Return a query, for PostgreSQL, of the tasks."""
        return _ROWS.format(
            begin_ms=BEGIN_MS,
            description=f"'{DESCRIPTION}'" if self.is_described else "NULL",
            statuses=list(STATUSES),
            priorities=list(PRIORITIES),
            group=self.name,
            users=self.users,
            first=self.first,
            each=self.each,
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return the tasks as rows for taskd's table in SQLite."""
        for user in self.user_ids():
            for number in range(self.first, self.first + self.each):
                yield _row(user, number, DESCRIPTION if self.is_described else None)


def _row(user: str, number: int, description: str | None) -> dict[str, Any]:
    created = dt.datetime.fromtimestamp(BEGIN_MS / 1000 + number, dt.timezone.utc)
    created_at = created.isoformat(timespec="microseconds")
    title = f"water the plants {number}"
    return {
        "user_id": user,
        "id": task_id(user, number).hex,
        "title": title,
        "description": description,
        "status": STATUSES[number % 3],
        "priority": PRIORITIES[number // 3 % 4],
        "due_at": (created + dt.timedelta(days=30)).isoformat(timespec="microseconds"),
        "tags": '["home","garden"]',
        "created_at": created_at,
        "updated_at": created_at,
        "completed_at": created_at if number % 3 == 2 else None,
        "version": number + 1,
        "title_folded": title,
        "description_folded": description,
    }


@attrs.frozen
class Population:
    """All tasks at the start: *tasks* of *users*, most of whom send no requests if there are many."""

    tasks: int = 10_000
    users: int = 500

    def groups(self) -> list[Group]:
        """Return the groups that have tasks: those whose tasks are read, those whose tasks change, and all others."""
        active = [Group("read"), Group("changed")]
        others = self.users - len(active) * ACTIVE
        left = self.tasks - len(active) * ACTIVE * EACH
        if others <= 0 or left <= 0:
            return active
        # Together, there are at least as many as asked for.
        return [*active, Group("others", others, math.ceil(left / others), is_described=False)]
