"""Fixtures: an application with metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ORIGIN, PATIENT, SECRET
from tests.metrics import PLUGINS, TOKEN


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN}
    return {**settings, **PATIENT, "TASKD_PLUGINS": PLUGINS, "TASKD_METRICS_TOKEN": TOKEN}
