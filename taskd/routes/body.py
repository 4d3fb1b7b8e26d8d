"""
Read the body of a request into an attrs class.

Reading is strict: types are never coerced, and all errors in a body are reported at once.  The rules are those of the
class: the types of its fields, and its attrs validators.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar, cast, get_type_hints

import attrs
import msgspec
from attrs import AttrsInstance
from cattrs import ClassValidationError
from cattrs.gen import make_dict_structure_fn, override
from cattrs.preconf.msgspec import make_converter
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from taskd.fields import FieldType
from taskd.routes.construct import Maker
from taskd.routes.field_errors import FieldError, InvalidBody
from taskd.routes.media_types import why_not_json

__all__ = ["TOO_LARGE", "decode", "parse_body", "read_body", "receive_body", "structure"]

T = TypeVar("T")

MAX_BODY_BYTES = 64 * 1024
TOO_LARGE = f"The body must not be larger than {MAX_BODY_BYTES} bytes."

_DECODE_REASONS = {"Input data was truncated": "it ends too early, or contains a lone surrogate"}


async def read_body(request: Request, cls: type[T], *, is_required: bool = True) -> T:
    """
    Read the JSON body of *request* into an instance of the attrs class *cls*.  Unknown keys are ignored.

    Args:
        request: The request.
        cls: The class.  The types of its fields may have limits, given by `msgspec.Meta` and `taskd.fields.MustBe`.  If
            its attribute `needs_known_key` is true, a body that has only unknown keys is refused.
        is_required: Whether to refuse a request without a body; if False, a missing body is read as `{}`.

    Raises:
        HTTPException: 415 if the body is declared as anything but JSON in UTF-8; 413 if it is larger than 64 KiB.
        InvalidBody: The body is not a JSON object, or some of its fields break a rule.
    """
    return parse_body(request, await receive_body(request), cls, is_required=is_required)


def parse_body(request: Request, body: bytes, cls: type[T], *, is_required: bool = True) -> T:
    """Like `read_body`, but with the *body* that `receive_body` returned for *request*."""
    if body:
        content_type = request.headers.get("content-type", "")
        # The most common value needs no parsing.
        reason = None if content_type == "application/json" else why_not_json(content_type)
        if reason is not None:
            raise HTTPException(415, reason)
    value = decode(body) if body else None if is_required else {}
    return structure(value, cls)


async def receive_body(request: Request) -> bytes:
    """
    Receive the body of *request*, for an endpoint that also needs its bytes; otherwise, use `read_body`.

    Raises:
        HTTPException: 413 if it is larger than 64 KiB.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
        raise HTTPException(413, TOO_LARGE)
    body, more = bytearray(), True
    # An async generator, such as `request.stream()`, would cost more than reading the usual single part.
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, TOO_LARGE)
        more = message.get("more_body", False)
    return bytes(body)


def decode(body: bytes) -> object:
    """Parse *body* as JSON (RFC 8259) in UTF-8; refuse lone surrogates, and numbers that no 64-bit type can hold."""
    try:
        return msgspec.json.decode(body)
    except msgspec.ValidationError:
        reason = "a number is out of range"
    except msgspec.DecodeError as error:
        # msgspec also says this about a lone surrogate.
        reason = _DECODE_REASONS.get(str(error), str(error).removeprefix("JSON is malformed: "))
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except RecursionError:
        reason = "it is nested too deeply"
    raise InvalidBody(FieldError("body", f"is not valid JSON in UTF-8: {reason}"))


def structure(value: object, cls: type[T]) -> T:
    """
    Make an instance of the attrs class *cls* from *value*, which was parsed from JSON, as `read_body` does.

    Raises:
        InvalidBody: *value* is not an object, or some of its fields break a rule.
    """
    if not isinstance(value, Mapping):
        raise InvalidBody(FieldError("body", "must be a JSON object"))
    if value and getattr(cls, "needs_known_key", False):
        _check_keys(value, cls)
    maker = Maker.of(cast("Any", cls))  # mypy does not see that types are hashable
    made: T | None = None if maker is None else maker.make(value)
    return _structure_by_field(value, cls) if made is None else made


def _structure_by_field(value: Mapping[str, Any], cls: type[T]) -> T:
    """Make an instance, or find all that is wrong with *value*."""
    try:
        return _converter.structure(value, cls)
    except ClassValidationError as error:
        raise InvalidBody(*_field_errors(error, value, cls)) from None


def _check_keys(value: Mapping[str, Any], cls: type[Any]) -> None:
    names = [field.name for field in attrs.fields(cls)]
    if value.keys().isdisjoint(names):
        raise InvalidBody(FieldError(names[0], "is required unless the body is empty"))


def _field_errors(error: ClassValidationError, value: Mapping[str, Any], cls: type[Any]) -> Iterator[FieldError]:
    """Yield the problems with *value*, in the order of the fields."""
    located, others = error.group_exceptions()
    messages = {note.name: _read_message(exception) for exception, note in located}
    messages |= _validation_messages(value, cls, messages.keys())
    for field in attrs.fields(cls):
        if field.name in messages:
            yield FieldError(field.name, messages[field.name])
    if not messages:
        yield FieldError("body", f"is not valid: {others[0]}")


def _read_message(error: BaseException) -> str:
    return "is required" if isinstance(error, KeyError) else str(error)


def _validation_messages(value: Mapping[str, Any], cls: type[Any], wrong: Collection[str]) -> dict[str, str]:
    """
    Return the errors of the attrs converters and validators of *cls*, except for fields already known to be *wrong*.

    The constructor would stop at the first error, and cannot be called if a required field is missing.
    """
    draft, types = object.__new__(cls), _field_types(cls)
    fields = [field for field in attrs.fields(cls) if field.init and field.name not in wrong]
    conversions = [(field, partial(_convert, draft, field, types[field.name], value)) for field in fields]
    validations = [(field, partial(_validate, draft, field)) for field in fields]
    messages: dict[str, str] = {}
    for field, step in conversions + validations:
        try:
            step()
        except AttributeError:
            # This step reads another field, which has no value because it is wrong.
            continue
        except Exception as error:  # noqa: BLE001  a plugin's validator can raise anything
            messages[field.name] = _validator_message(field.name, error)
    return messages


def _convert(draft: object, field: attrs.Attribute[Any], type_: FieldType, value: Mapping[str, Any]) -> None:
    """Set *field* of *draft*, as the constructor would."""
    if field.name in value:
        read = type_.read(value[field.name])
        object.__setattr__(draft, field.name, attrs.setters.convert(draft, field, read))
    elif not isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
        object.__setattr__(draft, field.name, field.default)


def _validate(draft: object, field: attrs.Attribute[Any]) -> None:
    attrs.setters.validate(draft, field, getattr(draft, field.name))


def _validator_message(name: str, error: Exception) -> str:
    """Return the message of a validator, without the name of the field at its beginning."""
    message = str(error.args[0]) if error.args else ""
    with_name = re.match(rf"'?{re.escape(name)}'? (?=must |is )", message)
    return message[with_name.end() :] if with_name else f"is not valid: {message}"


def _field_types(cls: type[Any]) -> Mapping[str, FieldType]:
    annotations = get_type_hints(cls, include_extras=True)
    return {field.name: FieldType.of(annotations.get(field.name, Any)) for field in attrs.fields(cls)}


def _class_hook(cls: type[AttrsInstance]) -> Callable[[Mapping[str, Any], Any], Any]:
    """Create the function that makes instances of the attrs class *cls*.  cattrs's own hooks would coerce types."""
    hooks: Any = {name: override(struct_hook=_field_hook(type_)) for name, type_ in _field_types(cls).items()}
    return make_dict_structure_fn(cls, _converter, **hooks)


def _field_hook(type_: FieldType) -> Callable[[object, Any], Any]:
    return lambda value, _: type_.read(value)


_converter = make_converter(detailed_validation=True)
_converter.register_structure_hook_factory(attrs.has, _class_hook)
