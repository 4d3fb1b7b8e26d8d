"""JSON schemas of what the tools accept and return."""

from __future__ import annotations

from typing import Any

import msgspec

from taskd.queries import Order, Sort
from taskd.tasks import Priority, Status

__all__ = ["schema"]

_ENUMS = {each.__name__: each for each in (Order, Priority, Sort, Status)}


def schema(type_: Any) -> dict[str, Any]:
    """Return the schema of *type_*, an attrs class, as an object with definitions of its own."""
    _, components = msgspec.json.schema_components([type_], ref_template="#/$defs/{name}")
    # msgspec sorts the values of enumerations; restore their order.
    for name in components.keys() & _ENUMS.keys():
        components[name] |= {"type": "string", "enum": [member.value for member in _ENUMS[name]]}
    root: dict[str, Any] = components.pop(type_.__name__)
    return {**root, "$defs": components} if components else root
