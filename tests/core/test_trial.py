"""`taskd dev` with third-party plugins: the settings that they supply, and what is shown of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskd.cli.dev import Trial
from taskd.environment import Environ
from taskd.plugins import PluginError, Plugins
from tests.support.third_parties import STORE, Site, hook_source

AUTH = """
from taskd.auth import TrialSettings

class Issuer(AuthenticationBackend):
    def __init__(self, key):
        self.key = key

    def issue_token(self, user_id, lifetime_s):
        return f"{user_id}-{self.key}"

@hookimpl
def taskd_auth(environ):
    return Issuer(environ["ACME_KEY"])

@hookimpl
def taskd_trial_settings(environ, file):
    if "ACME_KEY" in environ:
        return TrialSettings(note="made with ACME_KEY")
    return TrialSettings({"ACME_KEY": f"key-beside-{file}"}, "made for a trial")
"""
SCHEME = "@hookimpl\ndef taskd_security_scheme():\n    return "


def located(file: str = "None") -> str:
    """Return the source of a plugin whose store says that its tasks are in *file*, an expression."""
    location = f"taskd.storage.Location(description='a shoebox', is_local=True, setting='BOX', file={file})"
    return f"{STORE}\nStore.location = {location}\n"


def announcement(**environ: str) -> str:
    """Return what `taskd dev` shows with the plugin `acme`."""
    selected = {"TASKD_AUTH": "acme", "TASKD_STORAGE": "acme", "TASKD_PLUGINS": "acme,tasks"}
    trial = Trial.prepare(Plugins.load({**selected, **environ}), allow_remote=False)
    return trial.announcement("http://127.0.0.1:8000")


class TestAuth:
    def test_a_plugin_supplies_missing_settings(self, site: Site) -> None:
        """The plugin's settings and its note are used."""
        site.install("acme", AUTH + located())

        shown = announcement()

        assert "token  dev-key-beside-taskd\n" in shown
        assert "(valid for 24 hours, made for a trial)" in shown

    def test_settings_that_are_set_are_used(self, site: Site) -> None:
        """The plugin sees the environment, and adds nothing to it."""
        site.install("acme", AUTH + located())

        assert "token  dev-own\n         (valid for 24 hours, made with ACME_KEY)" in announcement(ACME_KEY="own")

    def test_a_plugin_gets_the_path_of_the_tasks(self, site: Site) -> None:
        """It can keep its own data beside that file."""
        site.install("acme", AUTH + located("__import__('pathlib').Path('box/tasks')"))

        assert "token  dev-key-beside-box/tasks\n" in announcement()

    @pytest.mark.parametrize(
        ("scheme", "header"),
        [
            ("{'type': 'http', 'scheme': 'token'}", "Authorization: Token dev-own"),
            ("{'type': 'apiKey', 'in': 'header', 'name': 'X-Key'}", "X-Key: dev-own"),
            ("{'type': 'openIdConnect'}", "Authorization: dev-own"),
        ],
    )
    def test_the_curl_command_sends_the_token_as_the_scheme_says(self, site: Site, scheme: str, header: str) -> None:
        """The command authenticates the user that it names."""
        site.install("acme", AUTH + STORE + SCHEME + scheme)

        assert f"-H '{header}'" in announcement(ACME_KEY="own")

    @pytest.mark.parametrize("result", ["{}", "None", "[]"])
    def test_a_wrong_type_is_refused(self, site: Site, result: str) -> None:
        """One line names the plugin and the hook."""
        hook = hook_source("taskd_trial_settings", f"return {result}")
        site.install("acme", hook_source("taskd_auth", "return AuthenticationBackend()") + hook + STORE)

        with pytest.raises(PluginError, match=r"^plugin 'acme' of acme 1\.0 returned a .* from taskd_trial_settings"):
            announcement()

    def test_invalid_settings_are_refused(self, site: Site) -> None:
        """One line names the plugin and the hook."""
        hook = hook_source("taskd_trial_settings", "return taskd.auth.TrialSettings(5)")
        site.install("acme", hook_source("taskd_auth", "return AuthenticationBackend()") + hook + STORE)

        with pytest.raises(PluginError, match=r"^plugin 'acme' of acme 1\.0 .*taskd_trial_settings"):
            announcement()


class TestStorage:
    @pytest.mark.parametrize(("environ", "where"), [({}, ""), ({"BOX": "shoes"}, " (BOX in the environment)")], ids=str)
    def test_the_location_of_the_tasks_is_shown(self, site: Site, environ: dict[str, str], where: str) -> None:
        """If a setting determines the location, it is shown, too."""
        site.install("acme", AUTH + located())

        assert f"\n  tasks  a shoebox{where}\n" in announcement(**environ)

    def test_a_store_need_not_have_a_location(self, site: Site) -> None:
        """Without one, the plugin is named."""
        site.install("acme", AUTH + STORE)

        assert "\n  tasks  plugin acme\n" in announcement()

    @pytest.mark.parametrize(
        "location", ["'a shoebox'", "property(lambda self: 1 / 0)"], ids=["another type", "one that fails"]
    )
    def test_an_invalid_location_is_refused(self, site: Site, location: str) -> None:
        """One line names the plugin."""
        site.install("acme", f"{AUTH}{STORE}\nStore.location = {location}\n")

        with pytest.raises(PluginError, match=r"^plugin 'acme' of acme 1\.0 [^\n]+$"):
            announcement()


def test_an_environment_with_defaults_shares_its_record_of_names(tmp_path: Path) -> None:
    """Variables that are set are kept, and both environments know which names were read from either."""
    given = Environ.of({"A": "1", "TASKD_BB": "2"})
    completed = given.completed({"A": "other", "C": str(tmp_path)})

    assert ("1", str(tmp_path)) == (completed["A"], completed["C"])
    assert {"TASKD_BB": None} == given.unread()
