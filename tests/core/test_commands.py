"""All commands load plugins once, close what these have created, and warn about names that look misspelt."""

from __future__ import annotations

import sys
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from taskd.plugins.loader import LoadedPlugin
from tests.conftest import SECRET
from tests.support.commands import invoke, run_python
from tests.support.processes import make_distribution

# All hooks record their calls, and the objects that they create record when they are closed.
COUNTING_PLUGIN = """
import taskd
from starlette.authentication import AuthenticationBackend
from taskd.auth import TrialSettings
from taskd.storage import TaskStore

calls = ["import"]

class Backend(AuthenticationBackend):
    def issue_token(self, user_id, lifetime_s):
        return "token"

    def close(self):
        calls.append("backend.close")

class Store(TaskStore):
    list = seq = create = get = update = toggle = delete = None

    async def ping(self):
        return

    async def migrate(self):
        return ()

    async def migration_script(self):
        return "nothing"

    async def close(self):
        calls.append("store.close")

@taskd.hookimpl
def taskd_auth():
    calls.append("taskd_auth")
    return Backend()

@taskd.hookimpl
def taskd_security_scheme():
    calls.append("taskd_security_scheme")
    return {"type": "apiKey", "in": "header", "name": "X-Key"}

@taskd.hookimpl
def taskd_trial_settings():
    calls.append("taskd_trial_settings")
    return TrialSettings({"COUNTED": "1"}, "made by hand")

@taskd.hookimpl
def taskd_storage():
    calls.append("taskd_storage")
    return Store()

@taskd.hookimpl
def taskd_routes():
    calls.append("taskd_routes")
    return []
"""
PARTS = {"taskd_auth", "taskd_storage"}
WHOLE = {*PARTS, "taskd_security_scheme", "taskd_routes"}
AUTH_CLOSED, STORE_CLOSED = "backend.close", "store.close"
# The hooks and methods that each command calls.
CALLS = {
    ("dev",): {*WHOLE, "taskd_trial_settings", AUTH_CLOSED, STORE_CLOSED},
    ("serve",): {*WHOLE, AUTH_CLOSED, STORE_CLOSED},
    ("serve", "--workers", "2"): {*WHOLE, AUTH_CLOSED, STORE_CLOSED},
    ("doctor",): {*WHOLE, AUTH_CLOSED, STORE_CLOSED},
    ("openapi",): {*WHOLE, STORE_CLOSED} - {"taskd_auth"},
    ("token", "alice"): {"taskd_auth", AUTH_CLOSED},
    ("migrate",): {"taskd_storage", STORE_CLOSED},
    ("migrate", "--sql"): {"taskd_storage", STORE_CLOSED},
    ("plugins",): set(),
}


@pytest.fixture
def _serving_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep commands from listening, and let each build its own application."""
    monkeypatch.setattr("taskd.cli.serve.run_server", lambda *_, **__: None)
    monkeypatch.setattr("taskd.cli.dev.serve_here", lambda *_: None)
    monkeypatch.delitem(sys.modules, "taskd.asgi", raising=False)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each plugin is loaded."""
    counts: Counter[str] = Counter()
    register: Callable[[LoadedPlugin], list[str]] = LoadedPlugin._register

    def counting(plugin: LoadedPlugin) -> list[str]:
        counts[plugin.plugin.name] += 1
        return register(plugin)

    monkeypatch.setattr(LoadedPlugin, "_register", counting)
    return counts


@pytest.mark.usefixtures("_serving_nothing")
@pytest.mark.parametrize("command", CALLS, ids=" ".join)
def test_a_command_calls_each_hook_once_and_closes_everything(
    installed: Path, loaded: Counter[str], command: tuple[str, ...]
) -> None:
    """Plugins are loaded once, even if a command both checks and uses what they provide."""
    name = f"counting_{uuid.uuid4().hex}"
    make_distribution(installed, name, COUNTING_PLUGIN)

    result = invoke(*command, settings={"TASKD_AUTH": name, "TASKD_STORAGE": name})

    assert 0 == result.exit_code, result.output
    assert Counter({"import", *CALLS[command]}) == Counter(sys.modules[f"{name}_plugin"].calls)
    assert {1} == set(loaded.values())
    assert {name, "jwt", "sql", "tasks", "docs"} == set(loaded)


@pytest.mark.parametrize("command", [("dev",), ("doctor",)], ids=" ".join)
def test_everything_is_closed_even_if_a_command_fails(installed: Path, command: tuple[str, ...]) -> None:
    """Parts that do not fit together are closed like any others."""
    name = f"counting_{uuid.uuid4().hex}"
    routes = 'return [__import__("starlette.routing").routing.Route("/livez", lambda request: None)]'
    make_distribution(installed, name, COUNTING_PLUGIN.replace("return []\n", f"{routes}\n"))

    result = invoke(*command, settings={"TASKD_AUTH": name, "TASKD_STORAGE": name})

    assert 1 == result.exit_code
    assert "GET /livez is claimed by" in result.output
    closed = [call for call in sys.modules[f"{name}_plugin"].calls if call.endswith(".close")]
    assert [AUTH_CLOSED, STORE_CLOSED] == closed


@pytest.mark.parametrize("command", [("plugins",), ("openapi",), ("doctor",), ("token", "alice")], ids=" ".join)
def test_a_write_error_on_stdout_is_one_line(command: tuple[str, ...], tmp_path: Path) -> None:
    """A full disk is not a bug in taskd."""
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", "BETTER_AUTH_SECRET": SECRET}
    with Path("/dev/full").open("w") as full:
        result = run_python("-m", "taskd", *command, settings=settings, stdout=full)

    assert (1, ["taskd: the operating system reported an error: No space left on device"]) == (
        result.returncode,
        result.stderr.splitlines(),
    )


def test_an_export_to_a_closed_stdout_is_one_line(tmp_path: Path) -> None:
    """Nothing is exported, so the command must not succeed."""
    script = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'taskd', 'export'])"
    result = run_python("-c", script, settings={"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db"})

    assert (1, "taskd: stdout is closed: name a file to export to\n") == (result.returncode, result.stderr)


def test_a_deleted_working_directory_is_one_line(tmp_path: Path) -> None:
    """It no longer has a path."""
    script = (
        "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone');"
        " from taskd.cli.main import main; main(['migrate'])"
    )
    # Without the folder in the search path, as for the installed command.
    result = run_python("-P", "-c", script, settings={"DATABASE_URL": "sqlite:///tasks.db"}, cwd=tmp_path)

    assert 1 == result.returncode
    assert result.stderr.startswith("taskd: ")
    assert result.stderr.endswith("No such file or directory\n")


class TestMistakes:
    MISTAKE = "taskd: TASKD_STORE is set, and nothing reads it: did you mean TASKD_STORAGE?"

    @pytest.mark.parametrize(
        "command", [("openapi",), ("token", "alice"), ("migrate",), ("plugins",)], ids=lambda command: command[0]
    )
    def test_a_command_warns_about_names_that_look_misspelt(self, command: tuple[str, ...]) -> None:
        """The warnings go to stderr, and the command continues."""
        result = invoke(*command, settings={"BETTER_AUTH_SECRET": SECRET, "TASKD_STORE": "memory"})

        assert (0, [self.MISTAKE]) == (result.exit_code, result.stderr.splitlines())

    @pytest.mark.parametrize("command", [("serve",), ("token", "alice")], ids=lambda command: command[0])
    def test_a_misspelt_setting_that_stops_the_start_is_named(self, command: tuple[str, ...]) -> None:
        """The message about the missing setting is followed by the name that may have been meant for it."""
        ended = run_python("-m", "taskd", *command, settings={"BETTER_AUTH_SECRT": SECRET})

        assert 1 == ended.returncode
        mistake, error = ended.stderr.splitlines()
        assert "taskd: BETTER_AUTH_SECRT is set, and nothing reads it: did you mean BETTER_AUTH_SECRET?" == mistake
        assert error.startswith("taskd: BETTER_AUTH_SECRET: is not set")
