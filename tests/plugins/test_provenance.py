"""Where plugins come from: defaults are taskd's own, and plugins fit this version of taskd."""

from __future__ import annotations

import pytest

from taskd import PluginError
from taskd.plugins.finder import find
from taskd.plugins.provenance import check_defaults
from taskd.settings import Settings, load_settings
from taskd.version import __version__
from tests.support.applications import build, refusal
from tests.support.third_parties import Site, auth_source, hook_source

ROUTES = hook_source("taskd_routes", "return []")
ANYONE = auth_source("return AuthCredentials(), taskd.auth.User('alice')")


class TestRequirements:
    @pytest.mark.parametrize("requires", ["taskd-server>=99", "taskd_server<0.0.1", "Taskd.Server == 7"])
    def test_a_plugin_for_another_version_is_refused(self, site: Site, requires: str) -> None:
        """pip does not look at plugins when taskd is upgraded."""
        site.install("late", "raise SystemExit", requires=requires)

        message = refusal()

        assert message.startswith("plugin 'late' of acme 1.0 requires ")
        assert (
            f"and this is {__version__}: install another version of it; or set TASKD_DISABLED_PLUGINS=late" in message
        )

    @pytest.mark.parametrize("requires", ["taskd-server>=", "taskd-server; python_version ~= 'x'"])
    def test_a_requirement_that_cannot_be_read_is_refused(self, site: Site, requires: str) -> None:
        """The message quotes it."""
        site.install("odd", "raise SystemExit", requires=requires)

        assert f"plugin 'odd' of acme 1.0 has a requirement that cannot be read ({requires})" in refusal()

    @pytest.mark.parametrize(
        "requires",
        [
            f"taskd-server>={__version__}",
            "taskd-server",
            "taskd-server>=99; python_version < '3'",
            "taskd-server>=99; extra == 'future'",
            "taskd-server-extras>=99",
        ],
    )
    def test_a_plugin_for_this_version_is_loaded(self, site: Site, requires: str) -> None:
        """Requirements of other packages, or under other conditions, do not matter."""
        site.install("fitting", ROUTES, requires=requires)

        assert "fitting" in [each.plugin.name for each in build().plugins.loaded]


class TestDefaults:
    @pytest.mark.parametrize("distribution", ["taskd-server", "Taskd_Server"])
    def test_a_distribution_that_claims_to_be_taskd_s_own_is_refused(self, site: Site, distribution: str) -> None:
        """It may be found first, but nothing has selected it."""
        site.install("jwt", ANYONE, distribution=distribution)

        message = refusal(TASKD_AUTH="jwt")

        assert "than the one found first: delete one of them" in message

    def test_no_other_of_taskd_s_plugins_can_be_replaced_either(self, site: Site) -> None:
        """A plugin for routes would see all tasks."""
        site.install("tasks", ROUTES, distribution="taskd-server")

        assert "is another taskd-server than the one found first" in refusal()

    def test_a_default_that_another_distribution_provides_is_refused(self, site: Site) -> None:
        """Where taskd's own plugin is not installed, no other takes its place without being selected."""
        site.install("vault", ANYONE)

        message = refused_default("vault")

        assert message.startswith("plugin 'vault' of acme 1.0 has the name of a default, but is not taskd's own")
        assert "set TASKD_AUTH=vault to select it" in message


def refused_default(name: str) -> str:
    """Return why the plugin *name* cannot be the default for authentication."""
    found = find(load_settings(Settings, {"TASKD_AUTH": name}))
    with pytest.raises(PluginError) as caught:
        check_defaults(found.plugins, {"TASKD_AUTH": name})
    return str(caught.value)
