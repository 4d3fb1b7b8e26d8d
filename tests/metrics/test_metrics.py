"""What Prometheus reads at `/metrics`, and who may read it."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from taskd import build_app
from taskd.settings import SettingsError
from taskd.testing import lifespan
from taskd.version import __version__
from tests.conftest import client_of
from tests.metrics import TOKEN
from tests.support.scrapes import samples_in, scraped

pytestmark = pytest.mark.anyio

TASKS = '{method="POST",route="/api/{user_id}/tasks"'


class TestAccess:
    @pytest.mark.parametrize(
        "authorization", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"]
    )
    async def test_only_the_token_opens_them(self, stranger: httpx.AsyncClient, authorization: str | None) -> None:
        """Without it, there is a 401 that says which scheme to use."""
        headers = {} if authorization is None else {b"Authorization": authorization.encode()}
        response = await stranger.get("/metrics", headers=headers)

        assert 401 == response.status_code
        assert 'Bearer realm="taskd metrics"' == response.headers["WWW-Authenticate"]
        assert "taskd_" not in response.text

    async def test_a_users_token_does_not(self, client: httpx.AsyncClient) -> None:
        """Users have no business with the metrics."""
        assert 401 == (await client.get("/metrics")).status_code

    async def test_the_token_opens_nothing_else(self, stranger: httpx.AsyncClient) -> None:
        """It is for the metrics alone."""
        headers = {"Authorization": f"Bearer {TOKEN}"}

        assert 401 == (await stranger.get("/api/alice/tasks", headers=headers)).status_code

    @pytest.mark.parametrize("token", ["", "short", "with a space in it, so no token"])
    def test_without_a_good_token_the_server_does_not_start(self, token: str, environ: dict[str, str]) -> None:
        """Nobody publishes the metrics by mistake."""
        with pytest.raises(SettingsError, match="TASKD_METRICS_TOKEN") as caught:
            build_app({**environ, "TASKD_METRICS_TOKEN": token})
        assert "short" not in str(caught.value)

    async def test_it_is_off_unless_it_is_named(self, environ: dict[str, str]) -> None:
        """Then there is no such path, and nothing is counted."""
        app = build_app({**environ, "TASKD_PLUGINS": "docs,jwt,sql,tasks"})
        async with client_of(app) as client:
            assert 404 == (await client.get("/metrics")).status_code


class TestRequests:
    async def test_requests_are_counted_by_method_route_and_status(
        self, client: httpx.AsyncClient, tasks_url: str
    ) -> None:
        """The histogram of a route has all of its requests, whatever their status."""
        await client.post(tasks_url, json={"title": "T"})
        await client.post(tasks_url, json={"title": "T"})
        await client.post(tasks_url, json={"title": ""})

        found = await scraped(client, TOKEN)
        assert 2 == found[f'taskd_http_requests_total{TASKS},status="201"}}']
        assert 1 == found[f'taskd_http_requests_total{TASKS},status="422"}}']
        assert 3 == found[f"taskd_http_request_duration_seconds_count{TASKS}}}"]
        assert 0 < found[f"taskd_http_request_duration_seconds_sum{TASKS}}}"]
        [most] = [
            value for name, value in found.items() if "_bucket" in name and 'le="+Inf"' in name and "POST" in name
        ]
        assert 3 == most

    async def test_what_clients_choose_is_no_label(self, client: httpx.AsyncClient, user_id: str) -> None:
        """All unknown paths share a label, and so do all unknown methods; users and tasks are not named."""
        for number in range(5):
            await client.get(f"/secret-{number}")
            await client.request(f"M{number}", f"/api/{user_id}/tasks?search=secret")
        await client.post(f"/api/{user_id}/tasks", json={"title": "secret"})

        text = (await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})).text
        found = samples_in(text)
        assert 5 == found['taskd_http_requests_total{method="GET",route="unmatched",status="404"}']
        assert 5 == found['taskd_http_requests_total{method="other",route="/api/{user_id}/tasks",status="405"}']
        assert "secret" not in text
        assert user_id not in text


class TestNumbers:
    async def test_everything_that_is_documented_is_there(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """A gauge is what it is now, and a counter ends in _total."""
        await client.post(tasks_url, json={"title": "T"})
        await client.get(tasks_url)

        found = await scraped(client, TOKEN)
        assert 1 == found[f'taskd_info{{version="{__version__}"}}']
        assert 1 == found["taskd_processes"]
        assert 1 == found["taskd_token_cache_size"]
        assert 1 == found["taskd_token_cache_hits_total"]
        assert 1 == found['taskd_store_connections_open{pool="writer"}']
        assert 1 == found['taskd_store_batch_size_count{pool="writer"}']
        assert 0 == found['taskd_outage{dependency="storage"}']
        # The scrape itself.
        assert 1 == found['taskd_http_requests_running{gate="strangers"}']
        assert 0 < found["process_resident_memory_bytes"]

    async def test_prometheus_may_ask_for_openmetrics(self, client: httpx.AsyncClient) -> None:
        """The response says which format it is in, and that it must not be stored."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/openmetrics-text; version=1.0.0"}
        response = await client.get("/metrics", headers=headers)

        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert "no-store" == response.headers["Cache-Control"]
        assert response.text.endswith("# EOF\n")

    @pytest.mark.parametrize("version", ["a.b", '"1.0.0"'])
    async def test_a_strange_version_gets_the_oldest_format(self, client: httpx.AsyncClient, version: str) -> None:
        """Whatever a program asks for, it gets the numbers."""
        accept = f"application/openmetrics-text; version={version}"
        response = await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}", "Accept": accept})

        assert (200, "text/plain; version=0.0.4; charset=utf-8") == (
            response.status_code,
            response.headers["Content-Type"],
        )

    async def test_a_folder_that_cannot_be_used(self, environ: dict[str, str], tmp_path: Path) -> None:
        """Prometheus is told to come back, instead of counters that have fallen."""
        app = build_app({**environ, "TASKD_METRICS_FOLDER": str(tmp_path)})
        async with lifespan(app), client_of(app) as client:
            shutil.rmtree(tmp_path / "taskd-metrics")
            response = await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})

        assert (503, "5") == (response.status_code, response.headers["Retry-After"])
        assert "unavailable" == response.json()["code"]


def test_a_relative_folder_is_refused(environ: dict[str, str]) -> None:
    """Processes with other working directories would use another one."""
    with pytest.raises(SettingsError, match="TASKD_METRICS_FOLDER: must be an absolute path"):
        build_app({**environ, "TASKD_METRICS_FOLDER": "metrics"})
