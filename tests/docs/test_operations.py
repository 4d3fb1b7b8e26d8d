"""The guide to operations shows the files in examples/deploy, all of them, and uses commands that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.support.documentation import ROOT, blocks
from tests.support.recipes import DEPLOY, assert_parses

PAGES = sorted((ROOT / "docs" / "guides" / "operations").glob("*.md"))
LANGUAGES = ("caddyfile", "dockerfile", "ini", "nginx", "python", "sh", "yaml")
# What the guide describes in words.
NOT_SHOWN = {"container/Containerfile.dockerignore", "serverless/requirements.txt", "README.md"}
FILE = re.compile(r"# ([\w/.-]+)\n(.*)", re.DOTALL)
SHOWN = [
    pytest.param(found[1], found[2], id=found[1])
    for page in PAGES
    for language in LANGUAGES
    for block in blocks(str(page.relative_to(ROOT)), language)
    if (found := FILE.match(block))
]
COMMANDS = [
    pytest.param(shlex.split(found[1]), id=found[1])
    for page in PAGES
    for language in ("sh", "bash", "text")
    for block in blocks(str(page.relative_to(ROOT)), language)
    if not FILE.match(block)
    for line in block.splitlines()
    if (found := re.search(r"(?:^|\$\(|/bin/|exec taskd )taskd ([a-z][^|>)]*)", line))
]


@pytest.mark.parametrize(("name", "text"), SHOWN)
def test_each_file_is_shown_as_it_is(name: str, text: str) -> None:
    """A block that begins with the name of a file is that file."""
    assert (DEPLOY / name).read_text() == text


def test_all_files_are_shown() -> None:
    """The guide explains everything in examples/deploy."""
    files = {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc"}

    assert files - NOT_SHOWN == {str(each.values[0]) for each in SHOWN}


@pytest.mark.parametrize("arguments", COMMANDS)
def test_each_command_exists(arguments: list[str]) -> None:
    """taskd has it, with its options."""
    assert_parses(arguments)


def test_commands_are_found() -> None:
    """Otherwise, there would be nothing to check."""
    shown = {str(each.id).split()[0] for each in COMMANDS}

    assert {"doctor", "erase", "export", "migrate", "serve", "stats", "token"} <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_page_is_listed(page: Path) -> None:
    """It is in the site's navigation, and linked to from the first page."""
    assert f'"guides/operations/{page.name}"' in (ROOT / "zensical.toml").read_text()
    assert page.name == "index.md" or f"({page.name})" in (PAGES[0].parent / "index.md").read_text()
