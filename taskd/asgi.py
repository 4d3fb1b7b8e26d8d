"""
The application for any ASGI server; for example, run `uvicorn taskd.asgi:app`.

It also works without a lifespan, for example under serverless adapters: the store connects on first use.
"""

from __future__ import annotations

from taskd.application import build_app
from taskd.start import starting

__all__ = ["app"]

with starting() as environ:
    app = build_app(environ)
