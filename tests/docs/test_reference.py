"""The reference is complete: it has each public name, each hook and each status."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import re
from types import ModuleType

import pluggy
import pytest

from taskd import hooks
from tests.support.documentation import ROOT

REFERENCE = ROOT / "docs" / "reference"
# What a plugin may import.  A module that is added to it, or taken from it, is a change that users see.
PUBLIC = [
    "taskd",
    "taskd.tasks",
    "taskd.storage",
    "taskd.auth",
    "taskd.routes",
    "taskd.fields",
    "taskd.settings",
    "taskd.checks",
    "taskd.outages",
    "taskd.limiter",
    "taskd.urls",
    "taskd.tls",
    "taskd.testing",
]


def rendered(page: str) -> list[str]:
    """Return the modules that mkdocstrings renders on a *page* of the reference: all that is in their `__all__`."""
    return re.findall(r"(?m)^::: (\S+)$", (REFERENCE / page).read_text())


def test_each_public_module_is_in_the_reference() -> None:
    """docs/reference/api.md has all of them, in this order."""
    assert PUBLIC == rendered("api.md")


def test_no_other_module_is_said_to_be_public() -> None:
    """The docstring of the package names the same modules."""
    package = importlib.import_module("taskd")

    assert set(PUBLIC) - {"taskd"} == set(re.findall(r"`(taskd\.\w+)`", package.__doc__ or ""))


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_has_a_description(name: str) -> None:
    """A class or a function of `__all__` has a docstring, without which the page would leave it out."""
    module = importlib.import_module(name)
    public = {each: getattr(module, each) for each in module.__all__}

    assert [] == [each for each, value in public.items() if is_described_by_docstring(value) and not value.__doc__]


def is_described_by_docstring(value: object) -> bool:
    """Whether *value* may have a docstring of its own: it is neither a constant nor an alias of a type."""
    return inspect.isclass(value) or inspect.isfunction(value) or isinstance(value, ModuleType)


def test_each_hook_is_in_the_reference() -> None:
    """docs/reference/hooks.md renders the module that declares them, and docs/guides/plugins.md lists them."""
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    declared = set(vars(manager.hook))
    guide = (ROOT / "docs" / "guides" / "plugins.md").read_text()

    assert ["taskd.hooks"] == rendered("hooks.md")
    assert declared == {name for name in hooks.__all__ if name.startswith("taskd_")}
    assert declared == set(re.findall(r"(?m)^\| `(taskd_\w+)\(", guide))


def test_each_command_and_option_is_in_the_reference() -> None:
    """docs/reference/command-line.md has a section for each command, which shows all of its options."""
    [script] = importlib.metadata.entry_points(group="console_scripts", name="taskd")
    page = (REFERENCE / "command-line.md").read_text()
    sections = dict(re.findall(r"(?ms)^## taskd (\w+)\n(.*?)(?=^## |\Z)", page))
    commands = script.load().commands
    options = [(name, option.opts[0]) for name, command in commands.items() for option in command.params]

    assert set(commands) == set(sections)
    assert [] == [(name, option) for name, option in options if option[0] == "-" and option not in sections[name]]


def test_each_status_of_an_error_is_in_the_reference() -> None:
    """docs/reference/errors.md explains the statuses of all operations, and those that any request may get."""
    document = json.loads((REFERENCE / "openapi.json").read_bytes())
    operations = [each for path in document["paths"].values() for each in path.values() if "responses" in each]
    declared = {int(status) for each in operations for status in each["responses"] if status >= "400"}
    anywhere = {int(status) for status in re.findall(r"\b([45]\d\d):", document["info"]["description"])}
    explained = [int(status) for status in re.findall(r"(?m)^## (\d{3})$", (REFERENCE / "errors.md").read_text())]

    assert sorted(declared | anywhere) == explained
