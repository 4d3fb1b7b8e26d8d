"""What the public modules contain, and whether it is described."""

from __future__ import annotations

import ast
import enum
import functools
import importlib
import inspect
import itertools
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import attrs
import msgspec

import taskd

__all__ = ["undescribed_fields", "undescribed_methods", "undescribed_names"]

PACKAGE = Path(taskd.__file__).parent


def undescribed_names(module_name: str) -> list[str]:
    """Return the public names of a module without a description in its source."""
    module = importlib.import_module(module_name)
    return [name for name in module.__all__ if not _is_described(name, getattr(module, name))]


def undescribed_methods(module_name: str) -> list[str]:
    """Return the public methods and properties of a module's public classes that have no docstring of their own."""
    return [
        f"{owner.__name__}.{name}"
        for owner in _classes(module_name)
        for name, member in vars(owner).items()
        if not name.startswith("_") and (function := _function(member)) is not None and not function.__doc__
    ]


def undescribed_fields(module_name: str) -> list[str]:
    """Return the public fields of a module's attrs classes that neither the class's docstring nor a type describes."""
    return [
        f"{owner.__name__}.{field.name}"
        for owner in _classes(module_name)
        if attrs.has(owner)
        for field in attrs.fields(owner)
        if not field.name.startswith("_") and not re.search(rf"\b{field.name}\b", _docstrings(owner))
        if not _describes(typing.get_type_hints(owner, include_extras=True)[field.name])
    ]


def _classes(module_name: str) -> Iterator[type]:
    module = importlib.import_module(module_name)
    return (value for name in module.__all__ if inspect.isclass(value := getattr(module, name)))


def _function(member: object) -> object | None:
    """Return the function of ours that a *member* of a class is made from; None if there is none."""
    if isinstance(member, (classmethod, staticmethod)):
        member = member.__func__
    elif isinstance(member, property):
        member = member.fget
    # Decorators of other packages may add methods.
    return member if inspect.isfunction(member) and member.__module__.startswith("taskd") else None


def _docstrings(owner: type) -> str:
    return "\n".join(each.__doc__ or "" for each in owner.__mro__ if each is not object)


def _is_described(name: str, value: object) -> bool:
    if inspect.isclass(value) or inspect.isfunction(value) or isinstance(value, ModuleType):
        return bool(value.__doc__)
    return _describes(value) or name in _constants_with_docstrings() or value is msgspec.UNSET


def _describes(kind: object) -> bool:
    """Tell whether a type says what its values mean."""
    if any(getattr(each, "description", None) for each in getattr(kind, "__metadata__", ())):
        return True
    if inspect.isclass(kind) and (issubclass(kind, enum.Enum) or attrs.has(kind)):
        return bool(kind.__doc__)
    return any(map(_describes, typing.get_args(kind)))


@functools.cache
def _constants_with_docstrings() -> frozenset[str]:
    """Return the names of the constants that a text follows, as a docstring follows `def`."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for statement, following in itertools.pairwise(ast.parse(path.read_text()).body):
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                found |= {target.id for target in _targets(statement) if isinstance(target, ast.Name)}
    return frozenset(found)


def _targets(statement: ast.stmt) -> list[ast.expr]:
    """Return what a *statement* assigns to."""
    if isinstance(statement, ast.Assign):
        return statement.targets
    return [statement.target] if isinstance(statement, ast.AnnAssign) else []
