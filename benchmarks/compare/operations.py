"""The operations that are measured, and the requests that they consist of."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from uuid import UUID

import attrs

from benchmarks import tokens
from benchmarks.compare.population import ACTIVE, EACH, Group
from tests.support.writers import request_bytes

__all__ = ["DELETE", "OPERATIONS", "Operation", "Tokens", "deletable", "tokens_for"]

# A whole run takes less.
LIFETIME_S = 24 * 3600
# More than any server deletes with one connection and in all.
DELETES_PER_S_AND_CONNECTION = 12_000
DELETES_PER_S = 30_000
NEW = {"title": "water the plants", "description": "all of them", "priority": "high", "tags": ["home", "garden"]}
# Sent in turns, so that each of them changes something.
CHANGES = (
    {"title": "water the plants", "status": "in_progress", "priority": "high"},
    {"title": "water the flowers", "status": "pending", "priority": "low"},
)
Tokens = Mapping[str, str]


def tokens_for(origin: str | None) -> Tokens:
    """Return a token for each user: HS256 without *origin*; EdDSA, from the Better Auth there, with it."""
    exp = int(time.time()) + LIFETIME_S
    users = [user for name in ("read", "changed", "made", "deleted") for user in Group(name).user_ids()]
    if origin is None:
        return {user: tokens.signed("HS256", sub=user, exp=exp) for user in users}
    return {user: tokens.signed("EdDSA", sub=user, exp=exp, iss=origin, aud=origin) for user in users}


@attrs.frozen
class Operation:
    """
    One kind of request.

    Attributes:
        title: Its name in tables.
        requests: Returns the requests to send, over and over and in any order, except where all of them begin anew.
    """

    name: str
    title: str
    requests: Callable[[Tokens, Group | None], Iterator[bytes]]


def _gets(tokens: Tokens, _: Group | None) -> Iterator[bytes]:
    return (request_bytes("GET", f"/api/{user}/tasks/{task}", tokens[user]) for user, task in _shuffled(Group("read")))


def _lists(tokens: Tokens, _: Group | None) -> Iterator[bytes]:
    return (request_bytes("GET", f"/api/{user}/tasks", tokens[user]) for user in Group("read").user_ids())


def _filtered(tokens: Tokens, _: Group | None) -> Iterator[bytes]:
    query = "status=pending&priority=high&limit=20"
    return (request_bytes("GET", f"/api/{user}/tasks?{query}", tokens[user]) for user in Group("read").user_ids())


def _creates(tokens: Tokens, _: Group | None) -> Iterator[bytes]:
    return (request_bytes("POST", f"/api/{user}/tasks", tokens[user], NEW) for user in Group("made").user_ids())


def _puts(tokens: Tokens, _: Group | None) -> Iterator[bytes]:
    for body in CHANGES:
        for user, task in _shuffled(Group("changed")):
            yield request_bytes("PUT", f"/api/{user}/tasks/{task}", tokens[user], body)


def _toggles(tokens: Tokens, _: Group | None) -> Iterator[bytes]:
    for user, task in _shuffled(Group("changed")):
        yield request_bytes("PATCH", f"/api/{user}/tasks/{task}/complete", tokens[user])


def _deletes(tokens: Tokens, group: Group | None) -> Iterator[bytes]:
    assert group is not None
    return (request_bytes("DELETE", f"/api/{user}/tasks/{task}", tokens[user]) for user, task in _shuffled(group))


def _shuffled(group: Group) -> list[tuple[str, UUID]]:
    """Return the tasks of a group in an order that mixes the users, and is the same for each server."""
    listed = list(group.tasks())
    random.Random(group.first).shuffle(listed)
    return listed


DELETE = Operation("delete", "DELETE", _deletes)
OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("get", "GET", _gets),
        Operation("list", f"list of {EACH}", _lists),
        Operation("filtered", "filtered list", _filtered),
        Operation("create", "create", _creates),
        Operation("put", "PUT", _puts),
        Operation("toggle", "toggle", _toggles),
        DELETE,
    )
}


def deletable(number: int, connections: int, duration_s: float) -> Group:
    """Return tasks that must be added before they are deleted in this time; each *number* has tasks of its own."""
    per_s = min(DELETES_PER_S, DELETES_PER_S_AND_CONNECTION * connections)
    each = int(per_s * duration_s / ACTIVE) + 1
    return Group("deleted", each=each, first=1000 + number * 1_000_000)
