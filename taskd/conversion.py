"""
From JSON to the classes of the model and back.

Reading is strict: no type is coerced (cattrs would make "5" of 5), and every fault of a body is reported, not only the
first.  The rules themselves are in `taskd.model`; here they are only applied.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import operator
import re
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec
from attrs import AttrsInstance
from cattrs import ClassValidationError
from cattrs.gen import make_dict_structure_fn, override
from cattrs.preconf.msgspec import make_converter
from msgspec import UnsetType

from taskd.model import DATE_TIME, NewTask, Status, TaskChanges, Wanted, is_contradiction

__all__ = ["Fault", "InvalidBody", "decode", "encode", "structure"]

T = TypeVar("T")

# msgspec also takes "+0530" and a space for the "T"; the RFC's grammar does not.
_DATE_TIME = re.compile(DATE_TIME)
_DECODE_REASONS = {"Input data was truncated": "it ends too early, or holds a lone surrogate"}


@attrs.frozen
class Fault:
    """One thing that is wrong with a body: the *field* (or `body`, for the whole) and what it should be."""

    field: str
    message: str


class InvalidBody(Exception):
    """A body breaks a rule.  `faults` holds all that is wrong, in the order of the fields; never empty."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.field} {fault.message}" for fault in faults))
        self.faults = faults


def decode(body: bytes) -> object:
    """
    Parse *body* as JSON (RFC 8259) in UTF-8.

    Raises:
        InvalidBody: It is not JSON, or holds a lone surrogate, or a number that no 64-bit type can hold.
    """
    try:
        return msgspec.json.decode(body)
    except msgspec.ValidationError:
        reason = "a number is out of range"
    except msgspec.DecodeError as error:
        # Of a lone surrogate, too, msgspec says that the text was truncated.
        reason = _DECODE_REASONS.get(str(error), str(error).removeprefix("JSON is malformed: "))
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except RecursionError:
        reason = "it is nested too deeply"
    raise InvalidBody(Fault("body", f"is not valid JSON in UTF-8: {reason}"))


def encode(value: object) -> bytes:
    """Write attrs instances, or lists and dicts of them, as JSON.  Times in UTC end in `Z`."""
    return _converter.encoder.encode(value)


def structure(value: object, cls: type[T]) -> T:
    """
    Make an instance of the attrs class *cls* from the parsed JSON *value*.  Unknown keys are ignored.

    Raises:
        InvalidBody: *value* is not an object, or some of its fields break a rule.
    """
    if not isinstance(value, Mapping):
        raise InvalidBody(Fault("body", "must be a JSON object"))
    faults = []
    try:
        instance = _converter.structure(value, cls)
    except ClassValidationError as error:
        located, others = error.group_exceptions()
        faults = [Fault(note.name, _message(exception)) for exception, note in located]
        # What a validator of the class's own says.
        faults += [Fault("body", f"is not valid: {exception}") for exception in others]
    if issubclass(cls, (NewTask, TaskChanges)) and _contradicts_itself(value):
        faults.append(Fault("is_completed", 'must be true exactly when status is "completed"'))
    if faults:
        raise InvalidBody(*faults)
    return instance


def _message(error: BaseException) -> str:
    return "is required" if isinstance(error, KeyError) else str(error)


def _contradicts_itself(body: Mapping[str, object]) -> bool:
    is_completed = body.get("is_completed")
    try:
        status = Status(body.get("status"))
    except ValueError:
        return False
    return isinstance(is_completed, bool) and is_contradiction(status, is_completed)


_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a text",
    types.NoneType: "null",
}


def _describe(type_: Any) -> str | None:
    """Say in words which values a field takes, if there are words for it."""
    if get_origin(type_) is Annotated:
        return next((extra.words for extra in type_.__metadata__ if isinstance(extra, Wanted)), None)
    if isinstance(type_, enum.EnumMeta):
        return "one of " + ", ".join(str(member.value) for member in list[enum.Enum](type_))
    if get_origin(type_) in (Union, types.UnionType):
        described = [_describe(arg) for arg in get_args(type_) if arg is not UnsetType]
        return ", or ".join(filter(None, described)) if all(described) else None
    return _WORDS.get(type_)


def _without_unset(type_: Any) -> Any:
    """Return *type_* less `UnsetType`: no value of a body is that."""
    rest = [arg for arg in get_args(type_) if arg is not UnsetType]
    return functools.reduce(operator.or_, rest) if UnsetType in get_args(type_) else type_


def _field_hook(type_: Any) -> Callable[[object, Any], Any]:
    """Make the function that reads a field of *type_*: msgspec checks, and the fault says what is wanted."""
    words = _describe(type_)
    wanted = _without_unset(type_)

    def read(value: object, _: Any) -> Any:
        try:
            result = msgspec.convert(value, wanted)
            return _in_utc(value, result) if isinstance(result, dt.datetime) else result
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            raise ValueError(f"must be {words}" if words else f"is not valid: {error}") from None

    return read


def _in_utc(text: object, moment: dt.datetime) -> dt.datetime:
    if not _DATE_TIME.fullmatch(str(text)):
        raise ValueError
    return moment.astimezone(dt.timezone.utc)


def _class_hook(cls: type[AttrsInstance]) -> Callable[[Mapping[str, Any], Any], Any]:
    """Make the function that reads the attrs class *cls*.  cattrs has hooks of its own for fields, and they coerce."""
    types_ = get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {
        field.name: override(struct_hook=_field_hook(types_.get(field.name, Any))) for field in attrs.fields(cls)
    }
    return make_dict_structure_fn(cls, _converter, **fields)


_converter = make_converter(detailed_validation=True)
_converter.register_structure_hook_factory(attrs.has, _class_hook)
