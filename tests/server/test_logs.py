"""What the server logs: a line for each request, what is served, refused credentials; for people and for machines."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from taskd.logs import FIELDS
from taskd.testing import running_server
from taskd.version import __version__
from tests.conftest import SECRET, client_of, token_for
from tests.support.applications import build
from tests.support.commands import run_python
from tests.support.processes import child_environ

pytestmark = pytest.mark.anyio

SECRET_TEXT = "hunter2"


def fields_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return what was logged of each request."""
    return [getattr(record, FIELDS) for record in caplog.records if record.name == "taskd.access"]


class TestRequests:
    async def test_each_request_is_one_line(self, caplog: pytest.LogCaptureFixture) -> None:
        """It has what an operator needs, and the path of the route instead of the request's."""
        caplog.set_level(logging.INFO)
        app = build(TASKD_ACCESS_LOG="1")
        async with client_of(app, "alice") as client:
            response = await client.get(f"/api/alice/tasks/{SECRET_TEXT}?search={SECRET_TEXT}")

        [fields] = fields_of(caplog)
        took = fields.pop("ms")
        assert took > 0
        assert fields == {
            "client": "127.0.0.1",
            "user": "alice",
            "method": "GET",
            "route": "/api/{user_id}/tasks/{id}",
            "status": 404,
            "bytes": len(response.content),
            "request_id": response.headers["x-request-id"],
        }
        [line] = [record.getMessage() for record in caplog.records if record.name == "taskd.access"]
        assert line.startswith("127.0.0.1 alice GET /api/{user_id}/tasks/{id} 404 ")

    async def test_no_secret_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """Neither tokens, nor queries, nor the text of tasks."""
        caplog.set_level(logging.DEBUG, "taskd")
        app = build(TASKD_ACCESS_LOG="1")
        async with client_of(app, "alice") as client:
            await client.post(f"/api/alice/tasks?token={SECRET_TEXT}", json={"title": SECRET_TEXT})
            await client.get("/api/alice/tasks", headers={"Authorization": f"Bearer {SECRET_TEXT}"})
            await client.get(f"/{SECRET_TEXT}")

        assert 3 == len(fields_of(caplog))
        assert SECRET_TEXT not in caplog.text
        assert token_for("alice") not in caplog.text

    async def test_an_unknown_user_and_path_are_missing(self, caplog: pytest.LogCaptureFixture) -> None:
        """A client cannot put its own text into the log."""
        caplog.set_level(logging.INFO)
        async with client_of(build(TASKD_ACCESS_LOG="1")) as client:
            await client.get("/no%0Asuch%0Apath")

        [fields] = fields_of(caplog)
        assert (None, None, 404) == (fields["user"], fields["route"], fields["status"])
        assert all("\n" not in record.getMessage() for record in caplog.records)

    async def test_by_default_requests_are_not_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """A server behind a proxy that logs them need not do so again."""
        caplog.set_level(logging.INFO)
        async with client_of(build()) as client:
            await client.get("/livez")

        assert [] == fields_of(caplog)


class TestRefusals:
    async def test_refused_credentials_are_logged_with_the_reason(self, caplog: pytest.LogCaptureFixture) -> None:
        """However many there are, there are few lines."""
        caplog.set_level(logging.INFO, "taskd.auth")
        async with client_of(build()) as client:
            for _ in range(20):
                await client.get("/api/alice/tasks", headers={"Authorization": f"Bearer {token_for('bob')}"})

        [line] = [record.getMessage() for record in caplog.records if record.name == "taskd.auth"]
        assert "Credentials were refused: The credentials are for a user other than the one in the path." == line

    async def test_missing_credentials_are_not_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """Every client begins without any."""
        caplog.set_level(logging.INFO, "taskd.auth")
        async with client_of(build()) as client:
            await client.get("/api/alice/tasks")

        assert [] == caplog.records


class TestServer:
    def test_machines_get_json(self, tmp_path: Path) -> None:
        """Each line is an object, and lines about a request have its id."""
        settings = {"TASKD_LOG_FORMAT": "json", "TASKD_ACCESS_LOG": "1"}
        with running_server(environ_of(tmp_path, settings)) as server:
            httpx.get(f"{server.url}/api/alice/tasks", headers={"Authorization": "Bearer x", "X-Request-ID": "abc"})
            lines = [json.loads(line) for line in (server.output + server.stop()).splitlines()]

        assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, lines))
        refused, accessed = (line for line in lines if line.get("request_id") == "abc")
        assert refused["message"].startswith("Credentials were refused: ")
        assert (401, "/api/{user_id}/tasks") == (accessed["status"], accessed["route"])

    def test_people_get_lines_with_the_time(self, tmp_path: Path) -> None:
        """It is in UTC, as in JSON."""
        with running_server(environ_of(tmp_path, {"TASKD_ACCESS_LOG": "1"})) as server:
            httpx.get(f"{server.url}/livez")
            lines = (server.output + server.stop()).splitlines()

        times = [dt.datetime.fromisoformat(line.split()[0]) for line in lines]
        now = dt.datetime.now(dt.timezone.utc)
        assert all(now - dt.timedelta(minutes=5) < time <= now for time in times)
        assert {"INFO:"} == {line.split()[1] for line in lines}

    def test_the_first_lines_say_what_is_served(self, tmp_path: Path) -> None:
        """An operator sees the version, where the tasks are, the plugins, and where settings come from."""
        (tmp_path / ".env").write_text("TASKD_LOG_LEVEL=info\n")
        with running_server(environ_of(tmp_path, {}), cwd=tmp_path) as server:
            shown = server.output

        file = tmp_path / "tasks.db"
        assert f"taskd {__version__}; tasks: {file}; plugins: docs, jwt, sql, tasks; settings: environment" in shown
        assert f", and {tmp_path / '.env'}" in shown

    def test_the_level_can_be_raised(self, tmp_path: Path) -> None:
        """Then a server that has no problem logs nothing."""
        settings = {"TASKD_LOG_LEVEL": "warning", "BETTER_AUTH_SECRET": SECRET}
        script = "from taskd.settings import read_environ, load_settings, Settings\n"
        script += (
            "import logging.config\nlogging.config.dictConfig(load_settings(Settings, read_environ()).logs.config())\n"
        )
        script += "logging.getLogger('taskd.x').info('quiet'); logging.getLogger('taskd.x').warning('loud')"

        ended = run_python("-c", script, settings=settings, cwd=tmp_path)

        assert re.fullmatch(r"\S+ WARNING:  loud\n", ended.stderr)


def environ_of(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """Return the environment of a server whose tasks are in *folder*."""
    return child_environ({"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": f"sqlite:///{folder}/tasks.db", **settings})
