"""Auth backends that compare keys wrongly."""

from __future__ import annotations

import contextlib
import fnmatch
import re
from functools import partial

from tests.support.catalogue.backends import ALICE, BOB, HeaderKeys, Keys
from tests.support.catalogue.faults import auth_fault

comparison_fault = partial(auth_fault, "comparison")


@comparison_fault()
class PrefixAccepted(Keys):
    """Accepts the beginning of a key."""

    def is_same(self, sent: str, key: str) -> bool:
        return key.startswith(sent)


@comparison_fault()
class KeyAsPrefix(Keys):
    """Accepts whatever begins with a key."""

    def is_same(self, sent: str, key: str) -> bool:
        return sent.startswith(key)


@comparison_fault()
class FirstCharacters(Keys):
    """Compares the first eight characters."""

    def is_same(self, sent: str, key: str) -> bool:
        return sent[:8] == key[:8]


@comparison_fault()
class LastCharacters(Keys):
    """Compares the last eight characters."""

    def is_same(self, sent: str, key: str) -> bool:
        return sent[-8:] == key[-8:]


@comparison_fault()
class AnyCase(Keys):
    """Ignores case, although the keys consist of upper-case and lower-case letters."""

    def is_same(self, sent: str, key: str) -> bool:
        return sent.lower() == key.lower()


@comparison_fault()
class AsNumbers(HeaderKeys):
    """Compares keys of digits as numbers, so that zeros at the beginning make no difference."""

    def __init__(self) -> None:
        super().__init__("31415926535897932384626433832795", "27182818284590452353602874713527")

    def is_same(self, sent: str, key: str) -> bool:
        return sent.isascii() and sent.isdecimal() and int(sent) == int(key)


@comparison_fault()
class WithLike(Keys):
    """Looks keys up with LIKE, or another pattern with wildcards."""

    def is_same(self, sent: str, key: str) -> bool:
        return fnmatch.fnmatchcase(key, sent.replace("%", "*").replace("_", "?"))


@comparison_fault()
class AsRegularExpressions(Keys):
    """Takes what was sent for a regular expression."""

    def is_same(self, sent: str, key: str) -> bool:
        with contextlib.suppress(re.error):
            return re.fullmatch(sent, key) is not None
        return False


@comparison_fault()
class Injectable(Keys):
    """Puts what was sent into a statement."""

    def is_same(self, sent: str, key: str) -> bool:
        return sent == key or "' or '" in sent.lower()


@comparison_fault()
class FirstBytesHashed(Keys):
    """Compares the first 72 bytes, as bcrypt does."""

    def __init__(self) -> None:
        super().__init__(ALICE * 3, BOB * 3)

    def is_same(self, sent: str, key: str) -> bool:
        return sent[:72] == key[:72]


@comparison_fault()
class SameLength(Keys):
    """Compares only the first character and the length."""

    def is_same(self, sent: str, key: str) -> bool:
        return len(sent) == len(key) and sent[:1] == key[:1]


@comparison_fault()
class AnyOrder(Keys):
    """Accepts the characters of a key in any order."""

    def is_same(self, sent: str, key: str) -> bool:
        return sorted(sent) == sorted(key)
