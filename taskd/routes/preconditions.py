"""
Entity tags, and the preconditions that requests make with them (RFC 9110, sections 8.8.3 and 13.1).

Tags are kept as they are written in headers: `"5"` is strong, `W/"5"` is weak.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs
from starlette.requests import Request

__all__ = ["IfMatch", "is_unmodified", "must_not_exist", "version_tag", "weak_version_tag"]

# Stores keep versions as signed 64-bit integers.
MAX_VERSION = 2**63 - 1

_ANY = "*"
_TAG = r'(?:W/)?"[!#-~\x80-\xff]*"'
_ELEMENT = rf"[ \t]*+(?:{_TAG}[ \t]*+)?+"
# List elements may be empty (RFC 9110, section 5.6.1).  The pattern never backtracks, however long the header is.
_LIST = re.compile(rf"{_ELEMENT}(?:,{_ELEMENT})*+")
_TAGS = re.compile(_TAG)
_VERSION = re.compile(r'"(?:0|[1-9][0-9]{0,18})"')


def version_tag(version: int) -> str:
    """Return the strong entity tag for *version* of a task."""
    return f'"{version}"'


def weak_version_tag(version: int) -> str:
    """Return a weak entity tag, for a response whose bytes depend on its encoding or order."""
    return f'W/"{version}"'


@attrs.frozen
class IfMatch:
    """
    The `If-Match` of a request, which requires a task to have one of some versions.

    Attributes:
        versions: The versions, possibly none; None if any version will do.
    """

    versions: frozenset[int] | None

    @classmethod
    def of(cls, request: Request) -> IfMatch | None:
        """
        Return the `If-Match` of *request*, or None if it has none.

        Tags are compared strongly, so weak ones match no version.  Neither does a header that is not a list of tags.
        """
        lines = request.headers.getlist("if-match")
        if not lines:
            return None
        if _is_any(lines):
            return cls(None)
        numbers = [int(tag[1:-1]) for tag in _tags(lines) if _VERSION.fullmatch(tag)]
        return cls(frozenset(number for number in numbers if number <= MAX_VERSION))

    @property
    def version(self) -> int | None:
        """The only version that will do; None if any version will do, or if there is not exactly one."""
        if self.versions is None or len(self.versions) != 1:
            return None
        [version] = self.versions
        return version

    def matches(self, version: int) -> bool:
        """Return whether a task with this *version* meets the condition."""
        return self.versions is None or version in self.versions


def is_unmodified(request: Request, tag: str) -> bool:
    """
    Return whether the `If-None-Match` of *request*, a GET or HEAD, lists *tag*, so the response should be a 304.

    Tags are compared weakly: `W/` makes no difference.  A header that is not a list of tags is ignored.
    """
    lines = request.headers.getlist("if-none-match")
    if not lines:
        return False
    return _is_any(lines) or _opaque(tag) in map(_opaque, _tags(lines))


def must_not_exist(request: Request) -> bool:
    """Return whether *request* has `If-None-Match: *`, so that a PUT must create the resource or fail."""
    return _is_any(request.headers.getlist("if-none-match"))


def _is_any(lines: Sequence[str]) -> bool:
    return len(lines) == 1 and lines[0].strip(" \t") == _ANY


def _tags(lines: Sequence[str]) -> list[str]:
    """Return the tags in all *lines* of a header taken together; none if they are not a list of tags."""
    whole = ",".join(lines)
    return _TAGS.findall(whole) if _LIST.fullmatch(whole) else []


def _opaque(tag: str) -> str:
    return tag.removeprefix("W/")
