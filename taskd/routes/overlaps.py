"""
Find a URL path that matches the paths of two routes.

A path in Starlette is a regular expression that is literal except for its parameters.  Here it becomes a sequence of
steps, each with a set of characters, and the sequences of two paths are walked in parallel.
"""

from __future__ import annotations

import itertools
import string
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import attrs
from starlette.convertors import (
    CONVERTOR_TYPES,
    FloatConvertor,
    IntegerConvertor,
    PathConvertor,
    StringConvertor,
    UUIDConvertor,
)
from starlette.routing import PARAM_REGEX

__all__ = ["common_path"]


@attrs.frozen
class Characters:
    """The characters in *members*, or, with *is_complement*, all others."""

    members: frozenset[str]
    is_complement: bool = False

    def in_common(self, other: Characters) -> str | None:
        """Return a character that is also in *other*, preferably a letter; None if there is none."""
        if self.is_complement and other.is_complement:
            excluded = self.members | other.members
            return next(character for character in string.ascii_lowercase if character not in excluded)
        if self.is_complement:
            return other.in_common(self)
        rest = self.members - other.members if other.is_complement else self.members & other.members
        return min(rest, default=None)


@attrs.frozen
class Step:
    """One of *characters*; with *is_optional*, possibly none, and with *repeats*, possibly several."""

    characters: Characters
    is_optional: bool = False
    repeats: bool = False


Steps = tuple[Step, ...]


def _one(members: str) -> Step:
    return Step(Characters(frozenset(members)))


def _at_least_one(characters: Characters) -> Steps:
    return (Step(characters), Step(characters, is_optional=True, repeats=True))


_HYPHEN = Step(Characters(frozenset("-")), is_optional=True)
_HEX = _one(string.hexdigits)
_DIGITS = _at_least_one(Characters(frozenset(string.digits)))
# A convertor that is not Starlette's may match anything.
_ANYTHING = (Step(Characters(frozenset(), is_complement=True), is_optional=True, repeats=True),)
# The forms that a parameter can take, by the regular expression of its convertor.
_FORMS: Mapping[str, Sequence[Steps]] = {
    StringConvertor.regex: [_at_least_one(Characters(frozenset("/"), is_complement=True))],
    PathConvertor.regex: [(Step(Characters(frozenset("\n"), is_complement=True), is_optional=True, repeats=True),)],
    IntegerConvertor.regex: [_DIGITS],
    FloatConvertor.regex: [_DIGITS, (*_DIGITS, _one("."), *_DIGITS)],
    UUIDConvertor.regex: [(*[_HEX] * 8, *[_HYPHEN, *[_HEX] * 4] * 3, _HYPHEN, *[_HEX] * 12)],
}


def common_path(one: str, other: str) -> str | None:
    """
    Return a path that matches both *one* and *other*, the paths of two routes; None if there is none.

    A parameter with a convertor that is not Starlette's is assumed to match anything.
    """
    for form, other_form in itertools.product(_forms(one), _forms(other)):
        path = _common_text(form, other_form)
        if path is not None:
            return path
    return None


def _forms(path: str) -> Iterator[Steps]:
    """Yield the forms that *path* can take; there are several only if one of its parameters has several."""
    parts: list[Sequence[Steps]] = []
    end = 0
    for parameter in PARAM_REGEX.finditer(path):
        parts.append([_literal(path[end : parameter.start()])])
        convertor = CONVERTOR_TYPES[(parameter[2] or ":str").removeprefix(":")]
        parts.append(_FORMS.get(convertor.regex, [_ANYTHING]))
        end = parameter.end()
    parts.append([_literal(path[end:])])
    for chosen in itertools.product(*parts):
        yield tuple(itertools.chain.from_iterable(chosen))


def _literal(text: str) -> Steps:
    return tuple(_one(character) for character in text)


def _common_text(one: Steps, other: Steps) -> str | None:
    """Return a string that matches both, or None.  A state is how many steps are done in each, and the text so far."""
    states = deque([(0, 0, "")])
    seen = {(0, 0)}
    while states:
        at, at_other, text = states.popleft()
        if (at, at_other) == (len(one), len(other)):
            return text
        for state in _following(one, other, at, at_other, text):
            if state[:2] not in seen:
                seen.add(state[:2])
                states.append(state)
    return None


def _following(one: Steps, other: Steps, at: int, at_other: int, text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the states after one more step: an optional step is skipped, or a character is added."""
    step = one[at] if at < len(one) else None
    other_step = other[at_other] if at_other < len(other) else None
    if step is not None and step.is_optional:
        yield at + 1, at_other, text
    if other_step is not None and other_step.is_optional:
        yield at, at_other + 1, text
    if step is not None and other_step is not None:
        character = step.characters.in_common(other_step.characters)
        if character is not None:
            yield at + (not step.repeats), at_other + (not other_step.repeats), text + character
