"""
Read the query parameters of a URL.

Reading is strict, as it is for bodies: each value can be spelled in only one way, and all errors are reported at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import unquote_to_bytes

import attrs
from starlette.requests import Request

from taskd.fields import FieldType
from taskd.routes.field_errors import FieldError, InvalidParameter

__all__ = ["QueryParameters", "ReadBy"]

NOT_TEXT = "must be percent-encoded text in UTF-8, without NUL"
NOT_ONCE = "must be given only once"

_BAD_ENCODING = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# Longer ones do not fit into 64 bits.
_INTEGER = re.compile("0|-?[1-9][0-9]{0,18}", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


@attrs.frozen
class ReadBy:
    """
    How to read a parameter whose type does not say enough.  It goes into the parameter's `Annotated` type.

    Args:
        read: Converts the text of the parameter, or a list of all its texts if the type is a list.  It returns None if
            the parameter counts as not given, and raises `ValueError` with a message such as "must be …".
    """

    read: Callable[[Any], Any]


@attrs.frozen
class QueryParameters:
    """
    The query parameters that an operation reads.

    Args:
        types: The types of the parameters, in the order in which errors are reported.  A type is `bool`, `int` or a
            type that is text in JSON, or a list of these if the parameter may be repeated.  It may have limits, like
            the fields of a body, or a `ReadBy`.  Pass the same types to `taskd.routes.operation`.
    """

    types: Mapping[str, Any]
    _parameters: Mapping[str, _Parameter] = attrs.field(init=False, repr=False)

    @_parameters.default
    def _of_types(self) -> Mapping[str, _Parameter]:
        return {name: _Parameter.of(type_) for name, type_ in self.types.items()}

    def read(self, request: Request) -> dict[str, Any]:
        """
        Return the values of the parameters in *request*, by name, in the order of `types`.

        A parameter without a value counts as not given.  Unknown parameters are ignored.

        Raises:
            InvalidParameter: A parameter breaks a rule, is not UTF-8, or is repeated although its type is not a list.
        """
        query: bytes = request.scope.get("query_string", b"")
        sent = self._sent(query) if query else {}
        values: dict[str, Any] = {}
        errors = []
        for name in [name for name in self._parameters if name in sent]:
            try:
                values[name] = self._parameters[name].read(sent[name])
            except ValueError as error:
                errors.append(FieldError(name, str(error)))
        if errors:
            raise InvalidParameter(*errors)
        return {name: value for name, value in values.items() if value is not None}

    def _sent(self, query: bytes) -> dict[str, list[bytes]]:
        """Return the values of the known parameters, still percent-encoded."""
        sent: dict[str, list[bytes]] = {}
        for part in query.split(b"&"):
            name, _, value = part.partition(b"=")
            if value and (known := _name(name)) in self._parameters:
                sent.setdefault(known, []).append(value)
        return sent


@attrs.frozen
class _Parameter:
    is_list: bool
    convert: Callable[[Any], Any]

    @classmethod
    def of(cls, annotation: Any) -> _Parameter:
        bare = _bare(annotation)
        is_list = get_origin(bare) is list
        own = [extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, ReadBy)]
        if own:
            return cls(is_list, own[-1].read)
        type_ = FieldType.of(annotation)
        if is_list:
            of_text = _of_text(*get_args(bare))
            return cls(is_list, lambda texts: type_.read([of_text(text) for text in texts]))
        of_text = _of_text(bare)
        return cls(is_list, lambda text: type_.read(of_text(text)))

    def read(self, sent: list[bytes]) -> Any:
        texts = list(map(_decoded, sent))
        if self.is_list:
            return self.convert(texts)
        if len(texts) > 1:
            raise ValueError(NOT_ONCE)
        return self.convert(texts[0])


def _bare(annotation: Any) -> Any:
    """Return the type inside an `Annotated` one."""
    return annotation.__origin__ if get_origin(annotation) is Annotated else annotation


def _of_text(type_: Any) -> Callable[[str], object]:
    """Return a function that converts text to a value as in JSON, or returns it unchanged if it does not match."""
    bare = _bare(type_)
    if bare is bool:
        return lambda text: _BOOLEANS.get(text, text)
    if bare is int:
        return lambda text: int(text) if _INTEGER.fullmatch(text) else text
    return str


def _name(encoded: bytes) -> str:
    """Decode the name of a parameter; return an empty string, which names no parameter, if it is not valid."""
    try:
        return _decoded(encoded)
    except ValueError:
        return ""


def _decoded(encoded: bytes) -> str:
    """Decode text from a form; raise `ValueError` if it is not valid."""
    try:
        text = unquote_to_bytes(encoded.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise ValueError(NOT_TEXT) from None
    if "\0" in text or _BAD_ENCODING.search(encoded):
        raise ValueError(NOT_TEXT)
    return text
