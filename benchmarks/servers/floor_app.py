"""
The floor: what an expert writes by hand when nothing but the speed of these six endpoints counts.

Bare ASGI, asyncpg and SQL.  Bodies are not validated, tokens that have been verified once are remembered, and the pool
does not reset connections.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import asyncpg
import jwt
import msgspec
from uuid_utils.compat import uuid7

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Response = tuple[int, Any]

SECRET = os.environ["JWT_SECRET"]
COLUMNS = """
    id, user_id, title, description, status, priority, due_at, tags, status = 'completed' AS is_completed,
    status = 'completed' AS completed, created_at, updated_at, completed_at, version
"""
LIST = f"SELECT {COLUMNS} FROM tasks WHERE user_id = $1"  # noqa: S608
GET = f"{LIST} AND id = $2"
CREATE = f"""
    INSERT INTO tasks (user_id, id, title, description, status, priority, due_at, tags, created_at, updated_at,
        completed_at, version)
    VALUES ($1, $2, $3, $4, $5::text, $6, $7, $8, now(), now(), CASE WHEN $5::text = 'completed' THEN now() END, 1)
    RETURNING {COLUMNS}
"""  # noqa: S608
TOGGLE = f"""
    UPDATE tasks SET
        status = CASE WHEN status = 'completed' THEN 'pending' ELSE 'completed' END,
        completed_at = CASE WHEN status = 'completed' THEN NULL ELSE now() END,
        updated_at = now(), version = version + 1
    WHERE user_id = $1 AND id = $2 RETURNING {COLUMNS}
"""  # noqa: S608
DELETE = "DELETE FROM tasks WHERE user_id = $1 AND id = $2 RETURNING id"
WRITABLE = {
    "title": "title = ${}",
    "description": "description = ${}",
    "status": (
        "status = ${0}::text, completed_at = CASE WHEN ${0}::text = 'completed' THEN coalesce(completed_at, now()) END"
    ),
    "priority": "priority = ${}",
    "due_at": "due_at = ${}",
    "tags": "tags = ${}",
}
TOUCH = ("updated_at = now()", "version = version + 1")
HEADERS = [(b"content-type", b"application/json")]
NOT_FOUND: Response = (404, {"detail": "Not found"})

users: dict[bytes, str] = {}
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode
pool: asyncpg.Pool


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve a request, or open and close the pool."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    status, content = await _respond(scope, receive)
    body = b"" if content is None else encode(content)
    headers = [*HEADERS, (b"content-length", b"%d" % len(body))] if body else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    global pool  # noqa: PLW0603
    await receive()
    pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=10, reset=_keep)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await pool.close()
    await send({"type": "lifespan.shutdown.complete"})


async def _keep(_: asyncpg.Connection) -> None:
    """Leave a connection as it is when it is returned to the pool."""


async def _respond(scope: Message, receive: Receive) -> Response:
    parts = scope["path"].split("/")
    method = scope["method"]
    user = _user_of(scope["headers"])
    if user is None or user != parts[2]:
        return 401, {"detail": "Not authenticated"}
    if len(parts) == 4:
        return await (_list(user, scope) if method == "GET" else _create(user, receive))
    if method == "GET":
        return _found(await pool.fetchrow(GET, user, parts[4]))
    if method == "PUT":
        return await _update(user, parts[4], receive)
    if method == "PATCH":
        return _found(await pool.fetchrow(TOGGLE, user, parts[4]))
    return NOT_FOUND if await pool.fetchrow(DELETE, user, parts[4]) is None else (204, None)


def _user_of(headers: list[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name == b"authorization":
            return users.get(value) or _verified(value)
    return None


def _verified(credentials: bytes) -> str | None:
    try:
        user: str = jwt.decode(credentials[7:], SECRET, ["HS256"])["sub"]
    except jwt.InvalidTokenError:
        return None
    users[credentials] = user
    return user


def _found(row: asyncpg.Record | None) -> Response:
    return NOT_FOUND if row is None else (200, dict(row))


async def _list(user: str, scope: Message) -> Response:
    sql, values = LIST, [user]
    query = parse_qs(scope["query_string"].decode())
    for name in ("status", "priority"):
        if name in query:
            values.append(query[name][0])
            sql += f" AND {name} = ${len(values)}"
    sql += " ORDER BY id DESC"
    if "limit" in query:
        sql += f" LIMIT {int(query['limit'][0])}"
    return 200, [dict(row) for row in await pool.fetch(sql, *values)]


async def _create(user: str, receive: Receive) -> Response:
    given = _in_sql(decode(await _body(receive)))
    row = await pool.fetchrow(
        CREATE,
        user,
        uuid7(),
        given["title"],
        given.get("description"),
        given.get("status", "pending"),
        given.get("priority", "medium"),
        given.get("due_at"),
        given.get("tags", []),
    )
    return 201, dict(row)


async def _update(user: str, task: str, receive: Receive) -> Response:
    given = _in_sql(decode(await _body(receive)))
    names = [name for name in WRITABLE if name in given]
    changes = [WRITABLE[name].format(number) for number, name in enumerate(names, 3)]
    sql = f"UPDATE tasks SET {', '.join([*changes, *TOUCH])} WHERE user_id = $1 AND id = $2 RETURNING {COLUMNS}"  # noqa: S608
    return _found(await pool.fetchrow(sql, user, task, *[given[name] for name in names]))


def _in_sql(given: dict[str, Any]) -> dict[str, Any]:
    if given.get("due_at") is not None:
        given["due_at"] = dt.datetime.fromisoformat(given["due_at"])
    return given


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    return body
