"""Fixtures: an application with the endpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ORIGIN, PATIENT, SECRET
from tests.mcp import PLUGINS, URL


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN}
    return {**settings, **PATIENT, "TASKD_PLUGINS": PLUGINS, "TASKD_MCP_URL": URL}
