"""Translate the bodies of requests and responses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from taskd.routes import in_slices
from taskd_compat import values
from taskd_compat.settings import Dialect

__all__ = ["dated", "dated_list", "enveloped", "names_in", "translated"]

Fields = dict[str, Any]

_ENUMS: Mapping[str, Callable[[str], str]] = {"status": values.status, "priority": values.priority}


def translated(body: bytes, dialects: Collection[Dialect]) -> bytes:
    """Return the *body* of a request as the API expects it; one that is no JSON object is left as it is."""
    given = _object(body)
    fields = dict(given)
    if Dialect.DUE_DATE in dialects and "due_date" in fields:
        # Clients that send a whole task back change only the field that they know.
        fields["due_at"] = _due_at(fields.pop("due_date"))
    if Dialect.ENUMS in dialects:
        fields = {name: _enum(name, value) for name, value in fields.items() if not _is_unset(name, value)}
    return body if fields == given else msgspec.json.encode(fields)


def names_in(body: bytes, dialects: Collection[Dialect]) -> Mapping[str, str]:
    """Return what the client calls the fields of the API, if it uses other names in its *body*."""
    return {"due_at": "due_date"} if Dialect.DUE_DATE in dialects and "due_date" in _object(body) else {}


def _object(body: bytes) -> Fields:
    """Return the fields of a JSON object; none if *body* is something else."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _due_at(value: object) -> object:
    if value == "":
        return None
    return values.due_at(value) if isinstance(value, str) else value


def _is_unset(name: str, value: object) -> bool:
    """Tell whether *value* is what a form sends for a choice that was not made."""
    return name in _ENUMS and value in ("", None)


def _enum(name: str, value: object) -> object:
    return _ENUMS[name](value) if name in _ENUMS and isinstance(value, str) else value


def dated(task: bytes) -> bytes:
    """Return a *task* in JSON with its `due_date`."""
    fields = msgspec.json.decode(task)
    return msgspec.json.encode({**fields, "due_date": fields["due_at"]})


async def dated_list(tasks: bytes) -> bytes:
    """Return a JSON array of *tasks*, each with its `due_date`."""
    items = msgspec.json.decode(tasks, type=list[msgspec.Raw])
    slices = await in_slices(lambda some: b",".join(dated(bytes(each)) for each in some), items)
    return b"[" + b",".join(slices) + b"]"


def enveloped(tasks: bytes, total: str) -> bytes:
    """Return a JSON object with an array of *tasks*, and how many there are on all pages."""
    return b'{"tasks":' + tasks + b',"total":' + total.encode() + b"}"
