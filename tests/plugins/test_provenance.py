"""Where plugins come from: defaults are taskd's own, and plugins fit this version of taskd."""

from __future__ import annotations

import pytest

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

        message = refusal()

        assert message.startswith(f"plugin 'jwt' of {distribution} 1.0 has the name of a default")
        assert "set TASKD_AUTH=jwt to select it" in message
