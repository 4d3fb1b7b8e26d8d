"""Fixtures: an application that speaks all dialects, and what a frontend appends its paths to."""

from __future__ import annotations

import pytest

from tests.compat import ALL, PLUGINS
from tests.conftest import ORIGIN, PATIENT, SECRET


@pytest.fixture
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    url = f"sqlite:///{tmp_path_factory.mktemp('compat')}/tasks.db"
    settings = {"DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN, **PATIENT}
    return {**settings, "TASKD_PLUGINS": PLUGINS, "TASKD_COMPAT": ALL}


@pytest.fixture
def compat_url(user_id: str) -> str:
    """The tasks, below the base URL of a frontend that speaks a dialect."""
    return f"/compat/api/{user_id}/tasks"
