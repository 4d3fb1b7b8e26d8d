"""Clients that are generated from the API document: they compile under strict settings, and their types are true."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from taskd.routes import InvalidBody
from taskd.routes.body import structure
from taskd.tasks import NewTask
from tests.conftest import token_for
from tests.support.documentation import ROOT, blocks
from tests.support.node import install, npm
from tests.support.requirements import required

TYPESCRIPT = ROOT / "tests" / "ecosystem" / "typescript"
PYTHON_PROGRAM = ROOT / "tests" / "ecosystem" / "python" / "program.py"
GUIDE = "docs/guides/clients.md"
# The commands in the guide, in its order.
WITH_SERVER, WITHOUT_SERVER, HEY_API, ORVAL, PYTHON, COMPARISON = range(6)
# All white space that Python knows, what is next to it, and what some dialect of regular expressions takes for such.
SPACES = [chr(code) for code in range(0x3001) if chr(code).isspace()]
NO_SPACES = [chr(ord(space) + step) for space in SPACES for step in (-1, 1)] + list("\u180e\u200b\u2060\ufeff")
# What the programs for all generated clients print.
SEEN = {
    "health": ["ok", "ok"],
    "created": ["Water the plants", "pending", "2026-11-27T17:00:00Z", ["home", "garden"]],
    "repeated": [True, 422, "key_reused"],
    "refused": [422, "invalid_body", ["completed"]],
    "listed": [["Buy milk"], "2"],
    "next": [["Water the plants"], None],
    "unchanged": [304, 304],
    "changed": ["in_progress", None, ["home", "garden", "urgent"], True],
    "stale": [412, "precondition_failed"],
    "toggled": ["completed", True, True, "pending"],
    "deleted": [204, 404, "There is no such task."],
    "restored": [201, True, ["home", "garden", "urgent"], 412],
}


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project like a new one of Vite's, with the modules of the guide, and with types made by its commands."""
    folder = tmp_path_factory.mktemp("typescript")
    shutil.copytree(TYPESCRIPT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    install(folder)
    commands = blocks(GUIDE, "sh")
    type_in(folder, commands[WITHOUT_SERVER])
    type_in(folder, commands[COMPARISON])
    for module in [*blocks(GUIDE, "ts"), *blocks(GUIDE, "js")]:
        (folder / module.split()[1]).write_text(module)
    return folder


def type_in(folder: Path, commands: str) -> None:
    """Run *commands* of the documentation in *folder*, where `taskd` is ours."""
    required("npm")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-euc", commands], cwd=folder, env={**os.environ, "PATH": path}, check=True)


def run_bundled(folder: Path, program: str, *arguments: str) -> Any:
    """Bundle a *program* in *folder* as frontends are, run it with *arguments*, and return what it prints."""
    npm(folder, "run", "bundle", "--", f"{program}.ts")
    command = [required("node"), f"built/{program}.js", *arguments]
    return json.loads(subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout)


def is_title(title: str) -> bool:
    """Tell whether the server takes *title*."""
    try:
        structure({"title": title}, NewTask)
    except InvalidBody:
        return False
    return True


class TestTypeScript:
    """What generators for TypeScript make of the document."""

    def test_programs_type_check(self, typescript: Path) -> None:
        """The programs and the guide compile with both versions of TypeScript, and no mistake in `mistakes.ts` does."""
        npm(typescript, "run", "check")
        npm(typescript, "run", "check:typescript-5")

    def test_openapi_fetch(self, typescript: Path, small_server_url: str, user_id: str) -> None:
        """A program that uses all operations finds what the types of openapi-typescript promise."""
        assert SEEN == run_bundled(typescript, "program", small_server_url, token_for(user_id), user_id)

    def test_the_guide(self, typescript: Path, small_server_url: str, user_id: str) -> None:
        """What the guide shows does what it says, also if responses are lost and others change the tasks."""
        expired = token_for(user_id, lifetime_s=-3600)

        assert {
            "shown": ["Water the plants: completed"],
            # Three requests are sent twice, but only one more token is fetched.
            "tokens": [6, 2, 1, 401, "expired_token"],
            "created": [True, "unavailable", 1],
            "pages": [["Eggs"], 2, ["Milk"], None],
            "polled": [2, None, ["Eggs", "Rice milk"]],
            "updated": [True, True, False, ["title"]],
            "states": [
                *["Oat milk medium", "Oat milk medium"],
                *["Soy milk medium", "Soy milk high"],
                *["Almond milk high", "Rice milk high"],
                *[" low", "Eggs low"],
            ],
            "undone": [["Eggs"], "Rice milk", True, True, "precondition_failed"],
        } == run_bundled(typescript, "guide", small_server_url, token_for(user_id), expired, user_id)

    @pytest.mark.thorough
    @pytest.mark.parametrize(("program", "command"), [("hey-api", HEY_API), ("orval", ORVAL)])
    def test_other_generators(
        self, typescript: Path, small_server_url: str, user_id: str, program: str, command: int
    ) -> None:
        """A program that uses all operations type-checks, and finds what the types of another generator promise."""
        type_in(typescript, blocks(GUIDE, "sh")[command])
        npm(typescript, "run", "check", "--", "--project", f"tsconfig.{program}.json")

        assert SEEN == run_bundled(typescript, program, small_server_url, token_for(user_id), user_id)

    def test_generated_schemas_take_the_titles_that_the_server_takes(self, typescript: Path) -> None:
        """Those for zod and valibot, by hey-api and orval, compile, and know white space as the server does."""
        titles = [*SPACES, *NO_SPACES, "\u2028\u2029 \n", "\u2028t", "\ufeff\u2028", "t\0", "", "t" * 201, "\U0001f389"]
        npm(typescript, "run", "generate-schemas")
        npm(typescript, "run", "check", "--", "--project", "tsconfig.schemas.json")

        assert [[is_title(title)] * 3 for title in titles] == run_bundled(typescript, "titles", json.dumps(titles))

    def test_the_types_of_a_running_server_are_the_same(
        self, typescript: Path, small_server_url: str, tmp_path: Path
    ) -> None:
        """Who has no taskd installed generates them from a server's own document, also beside a later TypeScript."""
        with_server = blocks(GUIDE, "sh")[WITH_SERVER]
        ours = json.loads((TYPESCRIPT / "package.json").read_text())["devDependencies"]
        manifest = {"private": True, "devDependencies": {"typescript": ours["typescript-7"].rpartition("@")[2]}}
        (tmp_path / "package.json").write_text(json.dumps(manifest))
        type_in(tmp_path, with_server.replace("http://127.0.0.1:8000", small_server_url))

        assert {"openapi-fetch"} == set(json.loads((tmp_path / "package.json").read_text())["dependencies"])
        assert (typescript / "lib" / "taskd.d.ts").read_text() == (tmp_path / "lib" / "taskd.d.ts").read_text()


@pytest.mark.thorough
def test_openapi_python_client(tmp_path: Path, small_server_url: str, user_id: str) -> None:
    """The package and a program that uses all operations pass mypy, and the program finds what the types promise."""
    (tmp_path / "openapi.json").write_bytes(httpx.get(f"{small_server_url}/openapi.json", trust_env=False).content)
    type_in(tmp_path, f"{blocks(GUIDE, 'sh')[PYTHON].strip()} --fail-on-warning")
    package = tmp_path / "taskd-api-client"
    shutil.copy(PYTHON_PROGRAM, package)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "taskd_api_client", PYTHON_PROGRAM.name]
    checked = subprocess.run(command, cwd=package, stdout=subprocess.PIPE, text=True, check=False)
    assert 0 == checked.returncode, checked.stdout
    command = [sys.executable, PYTHON_PROGRAM.name, small_server_url, token_for(user_id), user_id]
    done = subprocess.run(command, cwd=package, stdout=subprocess.PIPE, text=True, check=True)

    assert SEEN == json.loads(done.stdout)
