"""Whether the dialects are served, and which."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskd.settings import SettingsError
from tests.compat import ALL, PLUGINS
from tests.support.applications import build, get
from tests.support.commands import run_python
from tests.support.doctor import STRONG_SECRET as SECRET
from tests.support.documentation import ROOT, table


@pytest.mark.parametrize("names", ["", "due_date,envelope", "DUE_DATE", "due_date envelopes", ","])
def test_other_names_are_refused(names: str) -> None:
    """The message lists the names that there are, and names the plugin."""
    listed = re.escape(ALL.replace(",", ", "))
    message = rf"^TASKD_COMPAT: must be one or more of {listed}, .* \(plugin 'compat' of taskd-server [\d.]+\)$"

    with pytest.raises(SettingsError, match=message):
        build(TASKD_PLUGINS=PLUGINS, TASKD_COMPAT=names)


@pytest.mark.anyio
async def test_nothing_is_served_unless_it_is_asked_for() -> None:
    """Without `compat` in `TASKD_PLUGINS`, there is nothing below `/compat`, whatever `TASKD_COMPAT` is."""
    app = build(TASKD_COMPAT=ALL)

    assert 404 == (await get(app, "/compat/api/alice/tasks", "alice")).status_code


def test_nothing_is_imported_unless_it_is_asked_for(tmp_path: Path) -> None:
    """A server without the plugin does not import it."""
    code = "import sys, taskd.asgi; print('taskd_compat' in sys.modules)"
    runs = [
        run_python("-c", code, cwd=tmp_path, settings={"BETTER_AUTH_SECRET": SECRET, **more})
        for more in ({}, {"TASKD_PLUGINS": PLUGINS, "TASKD_COMPAT": ALL})
    ]

    assert ["False", "True"] == [run.stdout.strip() for run in runs]


def test_each_dialect_is_documented() -> None:
    """docs/guides/compat.md has a row for each."""
    assert ALL.split(",") == [name.strip("`") for name in table("docs/guides/compat.md", "## Dialects")]
    assert "`/compat/api/{user_id}/tasks`" in (ROOT / "docs" / "guides" / "compat.md").read_text()
