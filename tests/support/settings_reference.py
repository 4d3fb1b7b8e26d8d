"""The tables in docs/reference/settings.md, made from the settings' help texts; .ci/update_reference.py writes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import environ as environ_config

from taskd.settings import Settings
from taskd_compat.settings import CompatSettings
from taskd_jwt.settings import JWTSettings
from taskd_mcp.settings import MCPSettings
from taskd_metrics.settings import MetricsSettings
from taskd_otel.settings import OTelSettings
from taskd_sql.settings import SQLSettings
from tests.support.documentation import ROOT, with_table

__all__ = ["PAGE", "declared", "written"]

PAGE = ROOT / "docs" / "reference" / "settings.md"
PARTS = {
    "core": Settings,
    "sql": SQLSettings,
    "jwt": JWTSettings,
    "compat": CompatSettings,
    "mcp": MCPSettings,
    "metrics": MetricsSettings,
    "otel": OTelSettings,
}

# The default of a setting that must be set.
REQUIRED = object()


def declared(part: type) -> list[dict[str, Any]]:
    """Return the settings that a *part* declares, as environ-config describes them."""
    described: list[dict[str, Any]] = []
    environ_config.generate_help(part, formatter=described.extend)
    return described


def written(page: str) -> str:
    """Return the text of the *page* with up-to-date tables."""
    for name, part in PARTS.items():
        page = with_table(page, f"settings: {name}", rows(declared(part)))
    return page


def rows(settings: Iterable[dict[str, Any]]) -> Iterable[str]:
    """Return the lines of a table."""
    yield "| variable | meaning | default |"
    yield "| --- | --- | --- |"
    for setting in settings:
        given = setting.get("default", REQUIRED)
        default = "required" if given is REQUIRED else f"`{given}`" if given else "none"
        yield f"| `{setting['var_name']}` | {setting['help_str']} | {default} |"
