"""What `taskd serve` imports before the first request: only what serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.doctor import STRONG_SECRET as SECRET

# Modules that no server needs before a command or a request asks for them.
UNUSED = {"alembic", "pytest", "taskd.conformance.client", "taskd_sql.checks", "taskd_jwt.checks"}
ONLY_FOR_KEY_SETS = {"httpx", "taskd_jwt.jwks.cache"}
ONLY_FOR_POSTGRES = {"asyncpg", "sqlalchemy.dialects.postgresql", "taskd_sql.engine.postgres"}
ONLY_FOR_SQLITE = {"aiosqlite", "sqlalchemy.dialects.sqlite", "taskd_sql.engine.sqlite"}
# As `taskd serve` does, up to serving.
START = "import sys, taskd.cli.main, taskd.asgi; print(*sys.modules)"
# Runs a check that fails, because nothing listens there.
CHECK = """
import sys
from taskd.cli.main import main

try:
    main(["healthcheck", "http://127.0.0.1:1"])
except SystemExit as end:
    assert end.code == 1
print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("settings", "unused"),
    [
        ({"BETTER_AUTH_SECRET": SECRET}, ONLY_FOR_POSTGRES | ONLY_FOR_KEY_SETS),
        ({"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": "postgresql://taskd@127.0.0.1/taskd"}, ONLY_FOR_SQLITE),
        ({"BETTER_AUTH_URL": "https://app.example.com"}, ONLY_FOR_POSTGRES),
    ],
    ids=["sqlite", "postgres", "key set"],
)
def test_the_server_imports_only_what_its_settings_need(
    settings: dict[str, str], unused: set[str], tmp_path: Path
) -> None:
    """Before the first request, it imports no driver of another database, and nothing that only other commands need."""
    started = subprocess.run(
        [sys.executable, "-c", START], cwd=tmp_path, env=settings, capture_output=True, text=True, check=True
    )

    assert set() == (unused | UNUSED) & set(started.stdout.split())


def test_a_health_check_imports_no_server() -> None:
    """It runs every few seconds, so it starts without the application and without plugins."""
    ended = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True)

    imported = ended.stdout.split()
    assert "taskd.cli.healthcheck" in imported
    assert set() == {"attrs", "httpx", "starlette", "uvicorn", "taskd.application", "taskd.plugins"} & set(imported)


def test_the_names_are_those_of_modules() -> None:
    """A module that is renamed is renamed here, too."""
    names = UNUSED | ONLY_FOR_KEY_SETS | ONLY_FOR_POSTGRES | ONLY_FOR_SQLITE
    subprocess.run([sys.executable, "-c", f"import {', '.join(sorted(names))}"], check=True)
