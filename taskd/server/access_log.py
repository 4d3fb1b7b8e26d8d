"""Log each request on one line."""

from __future__ import annotations

import logging

from taskd.logs import FIELDS, REQUEST_ID
from taskd.telemetry import FinishedRequest

__all__ = ["log_request"]

logger = logging.getLogger("taskd.access")


def log_request(request: FinishedRequest) -> None:
    """
    Log a *request* without its query, its credentials or the text of a task.

    The path is that of the route, as in `/api/{user_id}/tasks/{id}`: what is in a real path is up to clients.
    """
    client = request.scope.get("client")
    fields = {
        "client": client[0] if client else None,
        "user": request.user,
        "method": request.method,
        "route": request.route,
        "status": request.status,
        "ms": round(request.seconds * 1000, 1),
        "bytes": request.size,
        "request_id": REQUEST_ID.get().decode("latin-1"),
    }
    shown = ["-" if value is None else _quoted(value) for value in fields.values()]
    logger.info("%s %s %s %s %s %s ms %s B %s", *shown, extra={FIELDS: fields})


def _quoted(value: object) -> object:
    """Return *value*; a text with white space or control characters is written as Python does."""
    return value if not isinstance(value, str) or (value.isprintable() and " " not in value) else repr(value)
