"""Commands and checks that plugins add, and what `taskd plugins` says about plugins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import SECRET
from tests.support.commands import invoke, run_python
from tests.support.processes import make_distribution

# Counts the tasks of a user.
COUNTING = """
import asyncio
import click
import taskd
from taskd.commands import open_store

@taskd.hookimpl
def taskd_commands(environ):
    @click.command()
    @click.argument("user")
    def count(user):
        '''Count the tasks of USER.'''

        async def counted():
            async with open_store(environ) as store:
                return len((await store.list(user)).tasks)

        click.echo(f"{asyncio.run(counted())} tasks")

    return [count]
"""
CHECKING = """
import taskd
from taskd.checks import Check, Outcome

@taskd.hookimpl
async def taskd_checks(store, environ):
    await store.ping()
    yield Check("quota", Outcome.NOTE, f"{environ['TASKD_QUOTA']} tasks for each user", "Set TASKD_QUOTA.")
    STATEMENT
"""


def commands_source(*names: object) -> str:
    """Return the source of a plugin that adds commands which print their names."""
    made = ", ".join(f"click.Command({name!r}, callback=lambda: click.echo({name!r}))" for name in names)
    return f"import click\nimport taskd\n\n@taskd.hookimpl\ndef taskd_commands():\n    return [{made}]\n"


class TestCommands:
    def test_a_command_of_a_plugin_reaches_the_tasks(self, installed: Path, tmp_path: Path) -> None:
        """It needs no secret, because nothing is authenticated."""
        make_distribution(installed, "counting", COUNTING)

        result = invoke("count", "alice", settings={"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db"})

        assert (0, "0 tasks\n") == (result.exit_code, result.output)

    def test_the_help_lists_it(self, installed: Path) -> None:
        """It is one command among others."""
        make_distribution(installed, "counting", COUNTING)

        result = invoke("--help", settings={})

        assert "Count the tasks of USER.\n" in result.output
        assert "serve" in result.output

    def test_its_errors_are_one_line(self, installed: Path) -> None:
        """As with taskd's own commands, a wrong setting is named."""
        make_distribution(installed, "counting", COUNTING)

        result = invoke("count", "alice", settings={"DATABASE_URL": "mysql://localhost/tasks"})

        assert 1 == result.exit_code
        [line] = result.output.splitlines()
        assert line.startswith("taskd: DATABASE_URL: ")

    def test_a_command_of_taskd_cannot_be_replaced(self, installed: Path) -> None:
        """A plugin that tries is named, and its other commands are not available, either."""
        make_distribution(installed, "greedy", commands_source("greet", "serve"))

        result = invoke("greet", settings={})

        assert "plugin 'greedy' of greedy 1.0 adds a command 'serve', which is taskd's own" in result.stderr
        assert 2 == result.exit_code

    def test_two_plugins_with_the_same_command_are_refused(self, installed: Path) -> None:
        """Both are named."""
        make_distribution(installed, "third", commands_source("greet"))
        make_distribution(installed, "fourth", commands_source("greet"))

        result = invoke("greet", settings={})

        both = "plugin 'fourth' of fourth 1.0 and plugin 'third' of third 1.0 both add the command 'greet'"
        assert both in result.stderr
        assert 2 == result.exit_code

    @pytest.mark.parametrize(
        ("names", "reason"),
        [
            (["greet", "greet"], "adds the command 'greet' twice: rename one of them"),
            (["greet", " serve"], "adds a command ' serve': call it a word of letters, digits, hyphens"),
            (["greet", "--help"], "adds a command '--help': call it a word"),
            (["greet", "s\u0435rve"], "adds a command 's\u0435rve': call it a word"),
            (["greet", "a\nb"], "adds a command 'a\\nb': call it a word"),
            (["greet", ""], "adds a command '': call it a word"),
            (["greet", None], "adds a command None: call it a word"),
            (["greet", 5], "adds a command 5: call it a word"),
        ],
    )
    def test_a_name_that_cannot_be_typed_is_refused(self, installed: Path, names: list[object], reason: str) -> None:
        """So is one that looks like another, and one that the plugin has used before."""
        make_distribution(installed, "odd", commands_source(*names))

        result = invoke("--help", settings={})

        assert f"plugin 'odd' of odd 1.0 {reason}" in result.stderr
        assert 0 == result.exit_code

    def test_a_broken_plugin_does_not_hide_the_help(self, installed: Path) -> None:
        """The reason is printed, and taskd's own commands are listed."""
        make_distribution(installed, "broken", "import no_such_module")

        result = invoke("--help", settings={})

        assert 0 == result.exit_code
        assert "taskd: commands of plugins are not available: plugin 'broken' of broken 1.0 " in result.stderr
        assert "serve" in result.stdout

    def test_taskd_s_own_commands_ask_no_plugin(self, tmp_path: Path) -> None:
        """Only the help, and names that are not taskd's own, need plugins for their commands."""
        plugin = make_distribution(tmp_path, "broken", "import no_such_module")

        ended = run_python("-m", "taskd", "serve", "--help", settings=plugin)

        assert (0, "") == (ended.returncode, ended.stderr)


class TestChecks:
    @pytest.mark.parametrize(
        ("name", "statement", "last"),
        [
            ("checking", "", "quota: Set TASKD_QUOTA."),
            ("failing", "raise OSError('a secret')", "failing: Report it to the plugin's authors."),
        ],
        ids=["well", "failing"],
    )
    def test_doctor_runs_the_checks_of_plugins(
        self, installed: Path, tmp_path: Path, name: str, statement: str, last: str
    ) -> None:
        """If one fails to run, doctor says so, without quoting it."""
        make_distribution(installed, name, CHECKING.replace("STATEMENT", statement))
        url = f"sqlite:///{tmp_path}/tasks.db"
        settings = {"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": url, "TASKD_QUOTA": "50"}

        result = invoke("doctor", settings=settings)

        assert "note    quota" in result.output
        assert "50 tasks for each user" in result.output
        assert last in result.output
        assert "a secret" not in result.output

    @pytest.mark.parametrize(
        ("statement", "finding"),
        [
            ("yield Check('odd', 'ok', 'fine')", "TypeError during the checks"),
            ("yield Check(None, Outcome.OK, 'fine')", "TypeError during the checks"),
            ("yield Check('odd', Outcome.OK, 5)", "TypeError during the checks"),
            ("yield Check('odd', Outcome.OK, 'fine', 5)", "TypeError during the checks"),
            ("yield None; yield Check('later', Outcome.OK, 'fine')", "AttributeError during the checks"),
            ("yield 5", "AttributeError during the checks"),
        ],
    )
    def test_checks_of_the_wrong_type_are_reported(
        self, installed: Path, tmp_path: Path, statement: str, finding: str
    ) -> None:
        """All other checks are shown."""
        make_distribution(installed, "failing", CHECKING.replace("STATEMENT", statement))
        settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", "TASKD_QUOTA": "50"}

        result = invoke("doctor", settings={"BETTER_AUTH_SECRET": SECRET, **settings})

        assert ["FAILED", "failing", *finding.split()] in [line.split() for line in result.output.splitlines()]
        assert "note    quota" in result.output

    def test_each_check_is_one_line(self, installed: Path, tmp_path: Path) -> None:
        """Line breaks in its texts become spaces."""
        statement = r"yield Check('two\nlines', Outcome.NOTE, 'so\nit is', 'Do\nthis.')"
        make_distribution(installed, "odd", CHECKING.replace("STATEMENT", statement))
        settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", "TASKD_QUOTA": "50"}

        result = invoke("doctor", settings={"BETTER_AUTH_SECRET": SECRET, **settings})

        assert ["note", "two", "lines", "so", "it", "is"] in [line.split() for line in result.output.splitlines()]
        assert "two lines: Do this.\n" in result.output


class TestDetails:
    def test_the_details_show_what_uses_what(self, installed: Path) -> None:
        """They show the file, the routes and the settings of each plugin."""
        source = "import taskd\n\n@taskd.hookimpl\ndef taskd_auth(environ, parts):\n    return parts.auth('jwt')\n"
        make_distribution(installed, "outer", source)

        result = invoke("plugins", "--details", settings={"TASKD_AUTH": "outer", "BETTER_AUTH_SECRET": SECRET})

        assert 0 == result.exit_code, result.output
        lines = [line.split() for line in result.stdout.splitlines()]
        assert ["used", "by", "outer"] in lines
        assert ["file", str(installed / "outer_plugin.py")] in lines
        assert "BETTER_AUTH_SECRET, BETTER_AUTH_SECRET_PREVIOUS, BETTER_AUTH_URL" in result.stdout
        assert "PATCH /api/{user_id}/tasks/{id}/complete" in result.stdout
        assert SECRET not in result.output

    def test_a_program_can_read_them(self, installed: Path) -> None:
        """The JSON has all plugins, and what the settings select."""
        make_distribution(installed, "wrapping", WRAPPING)

        settings = {"TASKD_STORE_WRAPPERS": "wrapping", "BETTER_AUTH_SECRET": SECRET}
        shown = json.loads(invoke("plugins", "--json", settings=settings).stdout)

        found = {plugin["name"]: plugin for plugin in shown["plugins"]}
        assert ("wrapping", "1.0", "selected") == tuple(
            found["wrapping"][key] for key in ("distribution", "version", "status")
        )
        assert ["wrap_store"] == found["wrapping"]["provides"]
        assert "GET /api/{user_id}/tasks" in found["tasks"]["routes"]
        assert "DATABASE_URL" in found["sql"]["settings"]
        assert {"auth": ["jwt"], "storage": ["sql"], "store wrappers": ["wrapping"], "middleware": []} == shown[
            "selected"
        ]

    def test_a_plugin_whose_hook_fails_is_broken(self, installed: Path) -> None:
        """The exit status says so, too, as for a plugin that cannot be imported."""
        source = "import taskd\n\n@taskd.hookimpl\ndef taskd_routes():\n    raise OSError('no such service')\n"
        make_distribution(installed, "failing", source)

        result = invoke("plugins", "--details", settings={"BETTER_AUTH_SECRET": SECRET})

        assert 1 == result.exit_code
        assert "plugin 'failing' of failing 1.0 failed in taskd_routes: OSError: no such service" in result.stderr
        assert ["failing", "routes", "broken", "failing", "1.0"] in [
            line.split() for line in result.stdout.splitlines()
        ]

    def test_without_a_needed_setting_they_are_incomplete(self) -> None:
        """One line says what is not shown, and why."""
        result = invoke("plugins", "--details", settings={})

        assert 0 == result.exit_code
        [line] = result.stderr.splitlines()
        assert line.startswith("taskd: routes, settings and uses are not shown: BETTER_AUTH_SECRET")
        assert "file" in result.stdout


WRAPPING = """
import taskd
from taskd.storage import StoreWrapper

@taskd.hookimpl
def taskd_wrap_store(store):
    return StoreWrapper(store)
"""
