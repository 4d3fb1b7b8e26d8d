"""
`taskd.asgi:app`, the application for any ASGI server: `uvicorn taskd.asgi:app`.

It serves also where no lifespan runs, as under serverless adapters: the store connects at the first use.
"""

from __future__ import annotations

import sys

from taskd.app import build_app
from taskd.plugins import PluginError
from taskd.settings import SettingsError

__all__ = ["app"]

try:
    app = build_app()
except (PluginError, SettingsError) as error:
    sys.exit(f"taskd: {error}")
