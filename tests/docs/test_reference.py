"""The reference is complete: it has each public name, each hook and each error code."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import json
import re
from pathlib import Path
from pkgutil import resolve_name

import pluggy
import pytest

from taskd import hooks
from taskd.application import Application
from taskd.cli.main import OWN
from tests.conftest import SECRET
from tests.support.documentation import ROOT, table
from tests.support.documents import CODES
from tests.support.errors_reference import PAGE as ERRORS_PAGE
from tests.support.errors_reference import written as with_codes
from tests.support.public_names import undescribed_fields, undescribed_methods, undescribed_names
from tests.support.settings_reference import PARTS, declared

REFERENCE = ROOT / "docs" / "reference"
ERRORS = "docs/reference/errors.md"
# The modules that plugins may import.  Adding or removing one is a change that users see.
PUBLIC = [
    "taskd",
    "taskd.tasks",
    "taskd.queries",
    "taskd.storage",
    "taskd.data",
    "taskd.auth",
    "taskd.parts",
    "taskd.routes",
    "taskd.errors",
    "taskd.fields",
    "taskd.settings",
    "taskd.checks",
    "taskd.commands",
    "taskd.telemetry",
    "taskd.outages",
    "taskd.limiter",
    "taskd.time_limit",
    "taskd.urls",
    "taskd.tls",
    "taskd.testing",
]


def rendered(page: str) -> list[str]:
    """Return the modules that mkdocstrings renders on a *page* of the reference."""
    return re.findall(r"(?m)^::: (\S+)$", (REFERENCE / page).read_text())


def test_each_public_module_is_in_the_reference() -> None:
    """docs/reference/api.md has all of them, in this order."""
    assert PUBLIC == rendered("api.md")


def test_no_other_module_is_called_public() -> None:
    """The docstring of the package lists the same modules."""
    package = importlib.import_module("taskd")

    assert set(PUBLIC) - {"taskd"} == set(re.findall(r"`(taskd\.\w+)`", package.__doc__ or ""))


@pytest.mark.parametrize("name", [*PUBLIC, "taskd.hooks"])
def test_each_public_name_has_a_description(name: str) -> None:
    """So does each public method and field of its classes; without one, it would be missing on the page, or unclear."""
    assert [] == undescribed_names(name)
    assert [] == undescribed_methods(name)
    assert [] == undescribed_fields(name)


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*/*/*.py")), ids=lambda file: file.stem)
def test_the_examples_need_nothing_private(file: Path) -> None:
    """What they import of taskd is in the reference, and only tests import `taskd.testing`."""
    imported = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "taskd"
        for alias in node.names
    ]

    allowed = set(PUBLIC) if file.parent.name == "tests" else set(PUBLIC) - {"taskd.testing"}
    assert {module for module, _ in imported} <= allowed
    assert [] == [(module, name) for module, name in imported if name not in importlib.import_module(module).__all__]


@pytest.mark.parametrize("name", [name for name in hooks.__all__ if name.startswith("taskd_")])
def test_each_argument_of_a_hook_is_described(name: str) -> None:
    """The docstring of the hook, or that of the module, says what it is."""
    hook = getattr(hooks, name)
    described = re.findall(r"\*(\w+)\*", f"{hooks.__doc__}{hook.__doc__}")

    assert set() == set(inspect.signature(hook).parameters) - set(described)


def test_each_class_of_settings_is_in_the_reference() -> None:
    """docs/reference/settings.md has a table for each, whichever package it is in."""
    found = {
        (".".join(path.relative_to(root).with_suffix("").parts), name)
        for root, pattern in ((ROOT, "taskd/**/*.py"), (ROOT / "plugins", "**/*.py"))
        for path in root.glob(pattern)
        for name in re.findall(r"(?m)^@environ_config\.config\b.*\nclass (\w+)", path.read_text())
    }

    assert found == {(part.__module__, part.__name__) for part in PARTS.values()}


def test_no_other_setting_is_read() -> None:
    """Whatever taskd and its plugins read by name when they start is in one of the tables."""
    application = Application.assemble({"BETTER_AUTH_SECRET": SECRET})
    read = set(application.plugins.environ._asked)

    assert set() == read - {setting["var_name"] for part in PARTS.values() for setting in declared(part)}


def test_each_hook_is_in_the_reference() -> None:
    """docs/reference/hooks.md renders the module that defines them, and docs/guides/plugins.md lists them."""
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    known = set(vars(manager.hook))
    guide = (ROOT / "docs" / "guides" / "plugins.md").read_text()

    assert ["taskd.hooks"] == rendered("hooks.md")
    assert known == {name for name in hooks.__all__ if name.startswith("taskd_")}
    assert known == set(re.findall(r"(?m)^\| `(taskd_\w+)\(", guide))


def test_each_command_and_option_is_in_the_reference() -> None:
    """docs/reference/command-line.md has a section for each command that shows all of its options."""
    page = (REFERENCE / "command-line.md").read_text()
    sections = dict(re.findall(r"(?ms)^## taskd (\w+)\n(.*?)(?=^## |\Z)", page))
    commands = {name: resolve_name(command) for name, command in OWN.items()}
    options = [(name, option.opts[0]) for name, command in commands.items() for option in command.params]

    assert set(commands) == set(sections)
    assert [] == [(name, option) for name, option in options if option[0] == "-" and option not in sections[name]]


def test_the_table_of_codes_is_up_to_date() -> None:
    """Both docs/reference/errors.md and the API document have each code with its status, cause and remedy."""
    page = ERRORS_PAGE.read_text()
    introduction = json.loads((REFERENCE / "openapi.json").read_bytes())["info"]["description"]
    [shown] = re.findall(r"(?ms)^<!-- codes -->\n\n(.*?)\n\n<!-- end -->$", page)

    assert page == with_codes(page), "run: python .ci/update_reference.py"
    assert {f"`{code}`": str(status) for code, status in CODES.items()} == dict(
        zip(table(ERRORS, "## Codes", 0), table(ERRORS, "## Codes", 1), strict=True)
    )
    assert shown in introduction


def test_each_code_has_a_cause_and_a_remedy() -> None:
    """Each is a sentence or two, on one line, and does not break the table."""
    causes, remedies = table(ERRORS, "## Codes", 2), table(ERRORS, "## Codes", 3)

    assert len(CODES) == len(causes) == len(remedies)
    assert [] == [text for text in (*causes, *remedies) if not re.fullmatch(r"[A-Z`][^|\n]+\.", text)]


def test_sections_below_the_table_are_about_codes() -> None:
    """In docs/reference/errors.md, each of them is about one code, in the order of the table."""
    explained = re.findall(r"(?m)^## `(\w+)`$", ERRORS_PAGE.read_text())

    assert explained == [code for code in CODES if code in explained]
    assert explained
