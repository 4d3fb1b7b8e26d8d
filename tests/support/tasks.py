"""Create the tasks that tests need, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

__all__ = ["Json", "create"]

Json = dict[str, Any]


async def create(client: httpx.AsyncClient, url: str, **fields: Any) -> Json:
    """Create a task with *fields* and return it."""
    response = await client.post(url, json={"title": "a task", **fields})
    assert 201 == response.status_code, response.text
    task: Json = response.json()
    return task
