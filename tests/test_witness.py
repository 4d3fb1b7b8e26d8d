"""The witness: a test that sees what the API document does not declare fails."""

from __future__ import annotations

from pathlib import Path

from tests.commands import run_python

UNDECLARED = """
import anyio
import httpx
import pytest

def answer(request):
    return httpx.Response(418, headers={} if "foreign" in request.headers else {"X-Request-ID": "1"})

async def send(*args, **options):
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://taskd") as client:
        return await client.request(*args, **options)

@pytest.mark.parametrize("path", ["/nowhere", "/api/alice/tasks/", "/livez?x=y"])
def test_async(path):
    assert 418 == anyio.run(send, "HEAD", path).status_code

@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("PATCH", "/api/a%2Fb/tasks/5/%63omplete", {}),
        ("POST", "/livez", {}),
        ("GET", "/api//tasks", {}),
        ("GET", "/livez", {"foreign": "yes"}),
    ],
)
def test_sync(method, path, headers):
    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://taskd") as client:
        assert 418 == client.request(method, path, headers=headers).status_code
"""


class TestWitness:
    def test_an_undeclared_status_fails_the_test_that_sees_it(self, tmp_path: Path) -> None:
        """Whatever client a test has, it fails at its end, and says what an operation of taskd answered."""
        (tmp_path / "test_it.py").write_text(UNDECLARED)

        ended = run_python(
            "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "test_it.py",
            settings={"PYTHONPATH": str(Path(__file__).parent.parent)},
        )  # fmt: skip

        assert (1, True) == (ended.returncode, "7 passed, 3 errors" in ended.stdout), ended.stdout
        for answered in ("HEAD /api/alice/tasks/", "HEAD /livez", "PATCH /api/a%2Fb/tasks/5/%63omplete"):
            assert f"'{answered} was answered with 418, which the API document does not declare.'" in ended.stdout
