"""The tutorials about plugins work: from `taskd new` to a plugin that is served, each command typed as it stands."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import SECRET, token_for
from tests.support.reader import Reader

KEY = "k" * 32


def bearer(user_id: str) -> dict[str, str]:
    """Return headers with a token for *user_id*."""
    return {"Authorization": f"Bearer {token_for(user_id)}"}


def test_the_first_plugin(reader: Reader) -> None:
    """Generated routes fail their tests until they are written as shown, and then serve in production."""
    reader.follow("first-plugin.md")

    with reader.serving({"BETTER_AUTH_SECRET": SECRET}) as server:
        assert [] == httpx.get(f"{server.url}/api/alice/overdue", headers=bearer("alice")).json()


def test_an_auth_plugin(reader: Reader) -> None:
    """A generated backend fails the contract until it is written as shown, and then serves in production."""
    reader.follow("auth-plugin.md")

    with reader.serving({"TASKD_AUTH": "keys", "API_KEYS": f"alice:{KEY}"}) as server:
        assert 200 == httpx.get(f"{server.url}/api/alice/tasks", headers={"X-API-Key": KEY}).status_code
        assert 401 == httpx.get(f"{server.url}/api/bob/tasks", headers={"X-API-Key": KEY}).status_code


@pytest.mark.parametrize(
    ("page", "selected"),
    [
        ("storage-plugin.md", {"TASKD_STORAGE": "volatile"}),
        ("store-wrapper.md", {"TASKD_STORE_WRAPPERS": "changes"}),
    ],
)
def test_a_plugin_for_storage(reader: Reader, page: str, selected: dict[str, str]) -> None:
    """A generated store or wrapper fails the contract until it is written as shown, and then serves in production."""
    reader.follow(page)

    with reader.serving({**selected, "BETTER_AUTH_SECRET": SECRET}) as server:
        url, headers = f"{server.url}/api/alice/tasks", bearer("alice")
        created = httpx.post(url, headers=headers, json={"title": "Write a plugin"})
        assert [created.json()] == httpx.get(url, headers=headers).json()
        if page == "store-wrapper.md":
            server.read_until(f"alice wrote version 1 of {created.json()['id']}")
