"""The examples keep the HTTP contract: a server with them passes `taskd conformance`."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from taskd.testing import running_server
from tests.conftest import SECRET, token_for
from tests.support.processes import child_environ

# Nothing listens there, so each message waits for its next attempt.
NOWHERE = "http://127.0.0.1:9/hooks"
WEBHOOKS = {
    "TASKD_WEBHOOKS_URL": NOWHERE,
    "TASKD_WEBHOOKS_SECRET": f"whsec_{base64.b64encode(b'k' * 32).decode()}",
}


@pytest.mark.parametrize(
    "selected",
    [
        {"TASKD_STORE_WRAPPERS": "audit,webhooks,cache", **WEBHOOKS},
        {"TASKD_MIDDLEWARE": "ratelimit", "RATELIMIT_USER": "100000", "RATELIMIT_ADDRESS": "100000"},
        {"TASKD_AUTH": "either", "EITHER_AUTH": "jwt,apikey", "ACME_KEYS": "backup:0123456789abcdef0123456789abcdef"},
    ],
    ids=["audit, webhooks and cache", "ratelimit", "either"],
)
def test_a_server_with_examples_keeps_the_contract(selected: dict[str, str], tmp_path: Path) -> None:
    """What wraps the store, the routes or the authentication changes nothing that clients rely on."""
    settings = {"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", **selected}
    with running_server(child_environ(settings), cwd=tmp_path) as server:
        tokens = {"TASKD_TOKEN": token_for("alice"), "TASKD_OTHER_TOKEN": token_for("bob")}
        command = [sys.executable, "-m", "taskd", "conformance", server.url]
        checked = subprocess.run(command, env=child_environ(tokens), stdout=subprocess.PIPE, text=True, check=False)

    assert 0 == checked.returncode, checked.stdout
