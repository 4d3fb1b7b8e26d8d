"""taskd on AWS Lambda, with Mangum, as in examples/deploy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import ORIGIN, SECRET, token_for
from tests.support.commands import run_python
from tests.support.recipes import DEPLOY

# Runs the function as Lambda does: in a process that gets one event after the other.
RUNTIME = """
import asyncio, json, sys
from handler import handler

renews_loop, events = json.load(open(sys.argv[1]))
results = []
for event in events:
    if renews_loop:
        asyncio.set_event_loop(asyncio.new_event_loop())
    if results:
        # The id of the task that the first event has created.
        event = json.loads(json.dumps(event).replace("{id}", json.loads(results[0]["body"])["id"]))
    results.append(handler(event, None))
print(json.dumps(results))
"""


def event(method: str, path: str, user_id: str, body: Any = None, query: str = "") -> dict[str, Any]:
    """Return an event of an HTTP API, in version 2.0 of the format."""
    headers = {"authorization": f"Bearer {token_for(user_id)}", "host": "tasks.example.com"}
    if body is not None:
        headers["content-type"] = "application/json"
    http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "test"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {"http": http, "stage": "$default"},
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize("renews_loop", [False, True], ids=["one loop", "a loop for each event"])
def test_events_are_served(database_url: str, user_id: str, tmp_path: Any, renews_loop: bool) -> None:
    """A task is created, changed, listed and deleted without a word in the log, whichever event loop is used."""
    tasks = f"/api/{user_id}/tasks"
    events = [
        event("POST", tasks, user_id, {"title": "from Lambda"}),
        event("PUT", f"{tasks}/{{id}}", user_id, {"priority": "high"}),
        event("GET", tasks, user_id, query="priority=high"),
        event("GET", "/api/somebody/tasks", user_id),
        event("DELETE", f"{tasks}/{{id}}", user_id),
        event("GET", tasks, user_id),
    ]
    (tmp_path / "events").write_text(json.dumps([renews_loop, events]))
    settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN}

    done = run_python(
        "-c", RUNTIME, str(tmp_path / "events"), settings={**settings, "PYTHONPATH": str(DEPLOY / "serverless")}
    )

    assert (0, "") == (done.returncode, done.stderr)
    results = json.loads(done.stdout)
    assert [201, 200, 200, 401, 204, 200] == [each["statusCode"] for each in results]
    assert ["from Lambda"] == [task["title"] for task in json.loads(results[2]["body"])]
    assert [] == json.loads(results[5]["body"])
