"""Translate values: due dates, and the names of statuses and priorities."""

from __future__ import annotations

import re

from taskd.tasks import Priority, Status

__all__ = ["due_at", "priority", "status"]

# What `<input type="date">` and `<input type="datetime-local">` yield.
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LOCAL = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(:\d{2}(?:\.\d+)?)?", re.ASCII)

_STATUSES = {
    **dict.fromkeys(("new", "not_started", "open", "to_do", "todo"), Status.PENDING),
    **dict.fromkeys(("doing", "inprogress", "ongoing", "started"), Status.IN_PROGRESS),
    **dict.fromkeys(("closed", "complete", "done", "finished"), Status.COMPLETED),
}
_PRIORITIES = {
    **dict.fromkeys(("lowest", "none"), Priority.LOW),
    **dict.fromkeys(("med", "moderate", "normal"), Priority.MEDIUM),
    **dict.fromkeys(("critical", "highest"), Priority.URGENT),
}


def due_at(text: str) -> str:
    """Return a date, or a date and time without an offset, as a time in UTC; return any other *text* unchanged."""
    if _DATE.fullmatch(text):
        return f"{text}T00:00:00Z"
    local = _LOCAL.fullmatch(text)
    return f"{local[1]}T{local[2]}{local[3] or ':00'}Z" if local else text


def status(text: str) -> str:
    """Return the status that *text* means, whatever its case; an unknown one is returned as it would be written."""
    name = _normalized(text)
    return _STATUSES[name].value if name in _STATUSES else name


def priority(text: str) -> str:
    """Return the priority that *text* means, whatever its case; an unknown one is returned as it would be written."""
    name = _normalized(text)
    return _PRIORITIES[name].value if name in _PRIORITIES else name


def _normalized(text: str) -> str:
    return re.sub(r"[\s_-]+", "_", text.strip()).lower()
