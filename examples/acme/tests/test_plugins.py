"""The plugins pass taskd's contracts, and work together."""

import httpx
import pytest
from acme_taskd.apikey import KeyBackend, taskd_auth

from taskd import build_app
from taskd.testing import AuthContract, undescribed

KEYS = {"alice": "A" * 16 + "b" * 16 + "3", "bob": "C" * 16 + "d" * 16 + "4"}
ENVIRON = {"ACME_KEYS": ",".join(f"{user}:{key}" for user, key in KEYS.items())}


class TestKeyBackend(AuthContract):
    @pytest.fixture
    def backend(self) -> KeyBackend:
        return taskd_auth(ENVIRON)

    @pytest.fixture
    def credentials(self):
        return lambda user: {"X-API-Key": KEYS[user]}


@pytest.mark.anyio
async def test_the_plugins_serve_together() -> None:
    """taskd runs on these plugins alone, and still serves its own six endpoints."""
    app = build_app({**ENVIRON, "TASKD_AUTH": "apikey", "TASKD_STORAGE": "memory"})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://taskd") as client:
        client.headers["X-API-Key"] = KEYS["alice"]
        created = await client.post("/api/alice/tasks", json={"title": "Try plugins"})

        assert 201 == created.status_code
        summary = await client.get("/api/alice/summary")
        assert {"pending": 1, "in_progress": 0, "completed": 0} == summary.json()
        assert 401 == (await client.get("/api/bob/summary")).status_code
        del client.headers["X-API-Key"]
        response = await client.get("/api/alice/summary")
        assert (401, 'ApiKey realm="acme"') == (response.status_code, response.headers["WWW-Authenticate"])
        detail = "The key is missing: send it in the header X-API-Key."
        assert {"detail": detail, "code": "missing_credentials"} == response.json()
        assert {"service": "acme tasks"} == (await client.get("/about")).json()
        assert [] == undescribed((await client.get("/openapi.json")).content)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
