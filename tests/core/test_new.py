"""`taskd new` makes a distribution that is ready for a plugin, and never changes what is there."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import taskd
from taskd.cli.new import KINDS
from tests.support.commands import invoke, run_python
from tests.support.documentation import ROOT
from tests.support.processes import make_distribution


@pytest.mark.parametrize("kind", KINDS)
def test_a_distribution_is_made(kind: str) -> None:
    """It has everything that a distribution needs, and its Python compiles."""
    assert 0 == invoke("new", kind, "taskd-jupiter", settings={}).exit_code

    folder = Path("taskd-jupiter")
    assert {
        ".github/workflows/ci.yml",
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "taskd_jupiter/__init__.py",
        "taskd_jupiter/plugin.py",
        "taskd_jupiter/py.typed",
        "tests/test_plugin.py",
    } == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for path in folder.rglob("*.py"):
        compile(path.read_text(), path, "exec")
    assert [] == [path for path in folder.rglob("*") if path.is_file() and re.search("{{|{%", without_actions(path))]


def without_actions(path: Path) -> str:
    """Return the text of a file without the expressions of GitHub Actions."""
    return path.read_text().replace("${{ matrix.python }}", "")


@pytest.mark.parametrize(
    ("kind", "group"),
    [("auth", "taskd.on_demand"), ("routes", "taskd"), ("store", "taskd.on_demand"), ("wrapper", "taskd.on_demand")],
)
def test_the_plugin_is_in_the_right_group(kind: str, group: str) -> None:
    """A plugin that must be selected is imported on demand; routes are served once they are installed."""
    invoke("new", kind, "acme-jupiter-taskd", settings={})

    entry_points = project("acme-jupiter-taskd")["entry-points"]
    assert {group: {"acme-jupiter": "acme_jupiter_taskd.plugin"}} == entry_points


def test_the_distribution_requires_this_taskd() -> None:
    """It accepts later versions than this one, but not those before this minor version, and needs the same Python."""
    invoke("new", "store", "taskd-jupiter", settings={})

    [requirement] = map(Requirement, project("taskd-jupiter")["dependencies"])
    major, minor, *_ = taskd.__version__.split(".")
    assert ("taskd-server", f">={major}.{minor}") == (requirement.name, str(requirement.specifier))
    assert project("taskd-jupiter")["requires-python"] == importlib.metadata.metadata("taskd-server")["Requires-Python"]


def test_ci_runs_the_tests_with_the_pythons_that_taskd_supports() -> None:
    """The workflow is valid, and its matrix has the versions in taskd's own classifiers."""
    invoke("new", "store", "taskd-jupiter", settings={})

    [job] = yaml.safe_load(Path("taskd-jupiter/.github/workflows/ci.yml").read_text())["jobs"].values()
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    pythons = [each.rpartition(" :: ")[2] for each in classifiers if "Python :: 3." in each]
    assert pythons == job["strategy"]["matrix"]["python"]


def project(name: str) -> dict[str, Any]:
    """Return the metadata in the `pyproject.toml` of a new distribution."""
    found: dict[str, Any] = tomllib.loads(Path(name, "pyproject.toml").read_text())["project"]
    return found


@pytest.mark.parametrize("name", ["Taskd_Jupiter", "taskd.jupiter", "taskd--jupiter"])
def test_a_name_is_normalized(name: str) -> None:
    """Names that pip takes for the same make the same distribution."""
    assert 0 == invoke("new", "auth", name, settings={}).exit_code

    assert "taskd-jupiter" == project("taskd-jupiter")["name"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "use letters, digits and hyphens"),
        ("a b", "use letters, digits and hyphens"),
        ("../jupiter", "use letters, digits and hyphens"),
        ("jupiter-", "use letters, digits and hyphens"),
        ("jüpiter", "use letters, digits and hyphens"),
        ("\u212aepler", "use letters, digits and hyphens"),
        ('jupiter"', "use letters, digits and hyphens"),
        ("2pac", "'2pac' cannot be the name of a package: try taskd-2pac"),
        ("class", "'class' cannot be the name of a package: try taskd-class"),
        ("tests", "'tests' cannot be the name of a package: try taskd-tests"),
        ("build", "'build' cannot be the name of a package: try taskd-build"),
        ("asyncio", "a package 'asyncio' can be imported already"),
        ("Starlette", "a distribution 'starlette' is installed"),
        ("taskd-server", "a distribution 'taskd-server' is installed"),
        ("taskd-jwt", "a package 'taskd_jwt' can be imported already"),
        ("sql-taskd", "plugin 'sql' of taskd-server "),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(name: str, reason: str) -> None:
    """Names must be valid, and must not be those of something that is installed; nothing is made."""
    result = invoke("new", "store", name, settings={})

    assert 2 == result.exit_code
    assert reason in result.output
    assert [] == list(Path().iterdir())


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_nothing_is_overwritten(make: object) -> None:
    """If there is a file or a folder of that name, the command says so and leaves it alone."""
    assert callable(make)
    make(Path("taskd-jupiter"))

    result = invoke("new", "store", "taskd-jupiter", settings={})

    assert (1, "taskd: taskd-jupiter exists, and nothing is overwritten: choose another name, or remove it\n") == (
        result.exit_code,
        result.output,
    )
    assert [Path("taskd-jupiter")] == list(Path().rglob("*"))


def test_without_copier_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints one line, and makes nothing."""
    monkeypatch.setitem(sys.modules, "copier", None)

    result = invoke("new", "store", "taskd-jupiter", settings={})

    assert (1, "taskd: `taskd new` needs copier: run pip install 'taskd-server[new]'\n") == (
        result.exit_code,
        result.output,
    )
    assert [] == list(Path().iterdir())


def test_the_name_of_another_plugin_is_refused(tmp_path: Path) -> None:
    """Even if its distribution and its package are called something else."""
    other = make_distribution(tmp_path / "site", "jupiter", "")

    result = run_python("-m", "taskd", "new", "auth", "taskd-jupiter", settings=other, cwd=tmp_path)

    assert 2 == result.returncode
    assert "plugin 'jupiter' of jupiter 1.0 exists already: choose another name" in result.stderr


def test_the_settings_of_a_server_do_not_matter() -> None:
    """A plugin can be made where taskd could not start."""
    settings = {"TASKD_PLUGINS": "lost", "TASKD_AUTH": "lost"}

    assert 0 == invoke("new", "store", "taskd-jupiter", settings=settings).exit_code
