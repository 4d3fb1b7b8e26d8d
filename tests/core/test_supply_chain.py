"""What is released is checked by programs in .ci/ and by workflows; these check them."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FLAWED = {"name": "x", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
SOUND = {"name": "y", "version": "1", "vulns": []}
SKIPPED = {"name": "z", "skip_reason": "Dependency not found"}
OURS = {"name": "taskd-server", "skip_reason": "distribution marked as editable"}


@pytest.mark.parametrize(
    ("printed", "status", "said"),
    [
        ({"dependencies": [OURS, SOUND]}, 0, "No vulnerability is known in 1 packages."),
        ({"dependencies": [FLAWED, SKIPPED]}, 1, "x 1: CVE-1, fixed in 2"),
        ({"dependencies": [SOUND, SKIPPED]}, 2, "this check has not passed"),
        ("ConnectionError", 2, "this check has not passed"),
    ],
    ids=["sound", "flawed", "skipped", "unreachable"],
)
def test_an_audit_that_could_not_ask_does_not_pass(tmp_path: Path, printed: object, status: int, said: str) -> None:
    """pip-audit ends with 0 if the service knows none of the packages; that is not good news."""
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{printed if isinstance(printed, str) else json.dumps(printed)}\nEND\n")
    program.chmod(0o755)
    audit = subprocess.run(
        [sys.executable, "-I", ROOT / ".ci" / "audit.py"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert status == audit.returncode
    assert said in audit.stdout


@pytest.mark.parametrize(
    ("expression", "is_allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("GPL-3.0 OR MIT", True),
        ("MIT AND PSF-2.0", True),
        ("MIT AND GPL-3.0", False),
        ("AGPL-3.0-only", False),
        ("", False),
    ],
)
def test_only_known_licenses_are_allowed(monkeypatch: pytest.MonkeyPatch, expression: str, is_allowed: bool) -> None:
    """A choice is enough, but everything that applies together must be allowed."""
    monkeypatch.syspath_prepend(ROOT / ".ci")

    assert is_allowed == importlib.import_module("licenses").is_allowed(expression)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned(path: Path) -> None:
    """A tag could be moved to other code, which would run with the rights to publish."""
    used = re.findall(r"uses: (.*)", path.read_text())

    assert used
    assert [] == [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v[\d.]+", line)]


def test_publishing_must_be_switched_on_and_approved() -> None:
    """Only the last job may publish, after all others, for a tag, and if its environment approves."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    publish = jobs["publish"]

    assert "vars.PUBLISH == 'true' && github.ref_type == 'tag'" == publish["if"]
    assert ("release", ["check", "attest"]) == (publish["environment"], publish["needs"])
    may_sign = [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})]
    assert ["attest", "publish"] == may_sign
