"""
Check the fields of attrs classes against their types.

The limits of a type are given by a `msgspec.Meta`, and put into words by a `MustBe`.  The same type is used to check a
value from JSON (`FieldType.read`) and a value set in code (`validated`), and to describe the field in the API document.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import operator
import re
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec
from msgspec import UnsetType

__all__ = ["DATE_TIME", "FieldType", "MustBe", "TypeCheck", "checked_time", "in_utc", "validated"]

DATE_TIME = (
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
"""The pattern of a time: RFC 3339, section 5.6, excluding a 13th month, a 25th hour and leap seconds."""
# msgspec also accepts "+0530", and a space instead of the "T".
_DATE_TIME = re.compile(DATE_TIME)

_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a text",
    types.NoneType: "null",
}


@attrs.frozen
class MustBe:
    """
    What a field accepts, in words: the error message is "must be" followed by these *words*.

    It goes into the field's `Annotated` type, beside `msgspec.Meta`, whose `description` is for the API document.
    """

    words: str


@attrs.frozen
class FieldType:
    """
    What a field accepts.

    Attributes:
        type: The type of the values, as represented in JSON.
        refusal: The message for any other value; None if msgspec's own is better.
    """

    type: Any
    refusal: str | None

    @classmethod
    def of(cls, annotation: Any) -> FieldType:
        """Return what a field with *annotation* accepts."""
        words = _words(annotation)
        arguments = get_args(annotation)
        if UnsetType in arguments:
            annotation = functools.reduce(operator.or_, [each for each in arguments if each is not UnsetType])
        return cls(annotation, f"must be {words}" if words else None)

    def read(self, value: object) -> Any:
        """
        Convert *value*, parsed from JSON, to the field's type.  Types are never coerced; times are converted to UTC.

        Raises:
            ValueError: The field does not accept *value*; the message says what it must be.
        """
        try:
            result = msgspec.convert(value, self.type)
            return checked_time(value, result) if isinstance(result, dt.datetime) else result
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            raise ValueError(self.refusal or f"is not valid: {error}") from None

    def check(self, value: object) -> None:
        """
        Check a *value* set in code: `read` must return an equal value from its JSON.

        Raises:
            ValueError: The field does not accept *value*.
        """
        try:
            is_taken = self.read(msgspec.json.decode(msgspec.json.encode(value, enc_hook=_plain))) == value
        except (TypeError, ValueError, OverflowError, RecursionError):
            is_taken = False
        if not is_taken:
            raise ValueError(self.refusal or f"is not valid: expected {self.type}")


def _plain(value: object) -> object:
    """Convert *value* to the built-in type that its class extends: msgspec does not encode subclasses of such types."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, dt.datetime):
        return dt.datetime.combine(value, value.timetz())
    raise TypeError


def validated(cls: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """
    Give each field a validator that checks its type; pass this function to attrs as `field_transformer`.

    Defaults are not checked.  The validators' messages begin with the name of the field.
    """
    annotations = get_type_hints(cls, include_extras=True)
    return [
        field.evolve(validator=TypeCheck(FieldType.of(annotations[field.name]), field.validator)) for field in fields
    ]


@attrs.frozen
class TypeCheck:
    """
    The validator of a field: checks the type of its value.

    Attributes:
        type: What the field accepts.
        own: The validator that the class itself gives to the field; it is called afterwards.
    """

    type: FieldType
    own: Callable[[Any, attrs.Attribute[Any], Any], Any] | None = None

    def __call__(self, instance: object, field: attrs.Attribute[Any], value: object) -> None:
        """Validate the *value* of *field*."""
        self.check_type(field, value)
        if self.own is not None:
            self.own(instance, field, value)

    def check_type(self, field: attrs.Attribute[Any], value: object) -> None:
        """Raise `ValueError` if *field* does not accept *value*, and it is not the default."""
        if value is field.default:
            return
        try:
            self.type.check(value)
        except ValueError as error:
            raise ValueError(f"{field.name} {error}") from None


def in_utc(value: Any) -> Any:
    """Convert *value* to UTC if it is an aware datetime; as an attrs converter, this runs before the validator."""
    try:
        return value.astimezone(dt.timezone.utc) if isinstance(value, dt.datetime) and value.tzinfo else value
    except OverflowError:
        # In UTC, the year would not be between 1 and 9999.  The validator reports that.
        return value


def checked_time(text: object, moment: dt.datetime) -> dt.datetime:
    """Convert *moment*, parsed from *text*, to UTC; raise an error if *text* is not an RFC 3339 date-time."""
    if not _DATE_TIME.fullmatch(str(text)):
        raise ValueError
    return moment.astimezone(dt.timezone.utc)


def _words(annotation: Any) -> str | None:
    """Describe in words what a field with *annotation* accepts; return None if there are no words for it."""
    if get_origin(annotation) is Annotated:
        return next((extra.words for extra in annotation.__metadata__ if isinstance(extra, MustBe)), None)
    if isinstance(annotation, enum.EnumMeta):
        return "one of " + ", ".join(str(member.value) for member in list[enum.Enum](annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        words = [_words(each) for each in get_args(annotation) if each is not UnsetType]
        return ", or ".join(filter(None, words)) if all(words) else None
    return _WORDS.get(annotation)
