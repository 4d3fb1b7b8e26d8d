"""
Write the JSON schemas of the types that endpoints declare.

msgspec generates the schemas, and checks bodies against the same annotations.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import msgspec
from msgspec import inspect

from taskd.plugins import PluginError

__all__ = ["Schemas"]


@attrs.frozen
class Schemas:
    """
    The schemas of *types*.

    Attributes:
        components: The schemas of classes, by name; other schemas refer to them.
    """

    components: Mapping[str, Any]
    _types: Sequence[Any]
    _schemas: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, types: Sequence[Any]) -> Schemas:
        """
        Return the schemas of *types*.

        Raises:
            PluginError: Two classes have the same name.
            Exception: Anything that a plugin's class raises when it is inspected.
        """
        schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
        # If two classes have the same name, msgspec lengthens both, which would change names that clients know.
        if clashing := sorted(name for name in components if "." in name):
            raise PluginError(f"two classes have the same name in the API document: {', '.join(clashing)}: rename one")
        for each in _enums(inspect.multi_type_info(types)):
            # msgspec sorts the values of enumerations; restore their order.
            components[each.__name__]["enum"] = [member.value for member in each]
        for schema in components.values():
            for described in (schema, *schema.get("properties", {}).values()):
                _simplify(described)
        return cls(components, types, schemas)

    def schema(self, type_: Any) -> Mapping[str, Any]:
        """Return the schema of *type_*, which must be one of the types passed to `of`."""
        return next(schema for known, schema in zip(self._types, self._schemas, strict=True) if known is type_)

    def described(self, type_: Any) -> dict[str, Any]:
        """Return the schema of *type_* with its description moved beside it, as parameters and headers need it."""
        schema = dict(self.schema(type_))
        description = schema.pop("description", None)
        return {**({"description": description} if description else {}), "schema": schema}


def _enums(types: Sequence[inspect.Type]) -> Iterator[type[enum.Enum]]:
    """Yield the enumerations in *types*, and in the types of their fields and items."""
    waiting: list[Any] = list(types)
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, (list, tuple)):
            waiting += node
        elif isinstance(node, (inspect.Type, inspect.Field)) and id(node) not in seen:
            # Types can be recursive.
            seen.add(id(node))
            waiting += [getattr(node, name) for name in node.__struct_fields__]
            if isinstance(node, inspect.EnumType):
                yield node.cls


def _simplify(schema: dict[str, Any]) -> None:
    """Change *schema* to what code generators and readers expect, without changing its meaning."""
    # Code generators assume that a property with a default is always present.
    schema.pop("default", None)
    # msgspec gives enumerations no type, so code generators would not give them one, either.
    if schema.get("enum") and all(isinstance(value, str) for value in schema["enum"]):
        schema["type"] = "string"
    # Tools look for the description of a nullable value beside `anyOf`, not inside it.
    for branch in schema.get("anyOf", ()):
        if "description" in branch:
            schema["description"] = branch.pop("description")
