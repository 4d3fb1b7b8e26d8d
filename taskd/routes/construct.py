"""
Make instances of attrs classes from valid JSON objects in one step.

That is the usual case.  `taskd.routes.body` reads everything else field by field, to find all that is wrong.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from taskd.fields import TypeCheck, checked_time

__all__ = ["Maker"]

# A class with one of these does more to make an instance than set its fields.
_HOOKS = ("__attrs_pre_init__", "__attrs_post_init__", "__attrs_init__")


# The type of validators does not say that these are `TypeCheck`s.
Attribute = Any


@attrs.frozen
class Maker:
    """
    Makes instances of an attrs class whose fields are all `taskd.fields.validated`.

    msgspec checks the types of all fields at once, so the constructor need not check each of them again.
    """

    cls: type[Any]
    # Has the same fields; `UNSET` is the default of those that have one.
    _given: type[msgspec.Struct]
    # Each field with its name, and with what the constructor sets by default.
    _fields: tuple[tuple[str, Attribute, Any], ...]
    # The fields with another validator besides the one that checks the type.
    _validated: tuple[tuple[str, Attribute], ...]

    @classmethod
    @functools.cache
    def of(cls, made: Any) -> Maker | None:
        """Return what makes instances of *made*; None if only its constructor can."""
        fields = attrs.fields(made)
        if any(hasattr(made, hook) for hook in _HOOKS) or not all(map(_is_plain, fields)):
            return None
        return cls(
            made,
            msgspec.defstruct(made.__name__, map(_given, fields), kw_only=True),
            tuple((field.name, field, _default(field)) for field in fields),
            tuple((field.name, field) for field in fields if field.validator.own is not None),
        )

    def make(self, value: Mapping[str, Any]) -> Any:
        """
        Make an instance from *value*, which was parsed from JSON; return None if it breaks a rule.

        The instance is the one that the constructor makes from the same values, read by `FieldType.read`.
        """
        try:
            return self._made(value, msgspec.convert(value, self._given))
        except (msgspec.ValidationError, ValueError, OverflowError):
            return None

    def _made(self, value: Mapping[str, Any], values: msgspec.Struct) -> object:
        made = object.__new__(self.cls)
        put = functools.partial(object.__setattr__, made)
        for name, field, default in self._fields:
            given = getattr(values, name)
            put(name, default if given is msgspec.UNSET else _converted(field, given, value[name]))
        for name, field in self._validated:
            field.validator.own(made, field, getattr(made, name))
        return made


def _is_plain(field: Attribute) -> bool:
    is_made = isinstance(field.default, attrs.Factory)  # type: ignore[arg-type]
    takes_more = isinstance(field.converter, attrs.Converter)
    return field.init and not is_made and not takes_more and isinstance(field.validator, TypeCheck)


def _given(field: Attribute) -> Any:
    type_ = field.validator.type.type
    return (field.name, type_) if field.default is attrs.NOTHING else (field.name, type_, msgspec.UNSET)


def _default(field: Attribute) -> Any:
    if field.default is attrs.NOTHING or field.converter is None:
        return field.default
    return field.converter(field.default)


def _converted(field: Attribute, given: Any, value: object) -> Any:
    """Return what the constructor sets *field* to if it is *given* a value, which was *value* in JSON."""
    if type(given) is dt.datetime:
        given = checked_time(value, given)
    if field.converter is None:
        return given
    converted = field.converter(given)
    if type(converted) is not type(given) or converted != given:
        field.validator.check_type(field, converted)
    return converted
