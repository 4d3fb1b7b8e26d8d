"""Track which environment variables are read, and find names that look like typos."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

__all__ = ["Environ"]

PREFIX = "TASKD_"
# Kubernetes sets these in all containers if there is a service called taskd, or something that begins with taskd.
KUBERNETES = re.compile(r"TASKD(_\w+)?_(SERVICE_(HOST|PORT)|PORT)(_\w+)?", re.ASCII)
# How similar a name must be to a known one, as measured by `difflib`.  Names without our prefix may belong to other
# programs.
ALIKE, ALIKE_WITHOUT_PREFIX = 0.75, 0.9


@attrs.frozen(eq=False)
class Environ(Mapping[str, str]):
    """
    Environment variables, without those whose value is empty.

    It remembers which names were read, and so knows the settings of all parts, including those of third-party plugins,
    although nobody declares them.  Code that iterates over all names, as `dict(environ)` does, does not count as
    reading them.
    """

    _values: Mapping[str, str] = attrs.field(repr=False)
    # The file from which some of them were read, if there is one.
    file: Path | None = attrs.field(default=None, kw_only=True)
    # The names as iteration yields them: new string objects, so that a name from elsewhere is a different object.
    _given: Mapping[str, str] = attrs.field(init=False, repr=False)
    _asked: set[str] = attrs.field(factory=set)
    # Who reads at the moment: the last one, for which the others wait.
    _readers: list[set[str]] = attrs.field(factory=list, repr=False)

    @_given.default
    def _copies(self) -> Mapping[str, str]:
        return {name: "".join([name[:1], name[1:]]) for name in self._values}

    @classmethod
    def of(cls, environ: Mapping[str, str], file: Path | None = None) -> Environ:
        """Convert *environ*, some of which is from *file*, to an `Environ`, unless it is one already."""
        if isinstance(environ, cls):
            return environ
        return cls({name: value for name, value in environ.items() if value}, file=file)

    def __getitem__(self, name: str) -> str:
        """Return the value of *name*, and remember that it was read, unless *name* comes from iteration."""
        if self._given.get(name) is not name:
            self._asked.add(name)
            if self._readers:
                self._readers[-1].add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Yield all names."""
        return iter(self._given.values())

    def __len__(self) -> int:
        """Return the number of variables."""
        return len(self._values)

    def completed(self, defaults: Mapping[str, str]) -> Environ:
        """Return this environment with *defaults* for names that are not set; both share one record of names read."""
        return Environ({**defaults, **self._values}, self._asked, self._readers, file=self.file)

    @contextlib.contextmanager
    def recording(self, names: set[str]) -> Iterator[None]:
        """Add to *names* those that are read in the block, except for what an inner block records."""
        self._readers.append(names)
        try:
            yield
        finally:
            self._readers.pop()

    def unread(self) -> dict[str, str | None]:
        """
        Return the names that no part has read, each with the known name that it resembles, if there is one.

        Names that resemble no known name are included if they begin with `TASKD_`.  Call this once all parts have read
        their settings.
        """
        found = {name: self._like(name) for name in sorted(set(self._values) - self._asked)}
        return {name: meant for name, meant in found.items() if meant or name.startswith(PREFIX)}

    def mistakes(self) -> list[str]:
        """Return a line for each name that looks like a typo."""
        return [
            f"{name} is set, and nothing reads it: did you mean {meant}?"
            for name, meant in self.unread().items()
            if meant
        ]

    def unknown(self) -> list[str]:
        """
        Return a line for each name that begins with `TASKD_`, resembles no known one, and was not set by Kubernetes.

        It may belong to a disabled plugin.  Call this once all parts have read their settings.
        """
        names = [name for name, meant in self.unread().items() if not meant and not KUBERNETES.fullmatch(name)]
        return [f"{name} is set, and nothing reads it" for name in names]

    def _like(self, name: str) -> str | None:
        """
        Return the known name that is most similar to *name*, if any is similar enough.

        If *name* does not begin with `TASKD_`, it may belong to another program, so it must very closely resemble a
        known name that is not set.
        """
        if name.startswith(PREFIX):
            known = {other.removeprefix(PREFIX): other for other in sorted(self._asked)}
            found = difflib.get_close_matches(name.removeprefix(PREFIX), known, 1, ALIKE)
        else:
            missing = [other for other in self._asked if not other.startswith(PREFIX) and other not in self._values]
            known = {other: other for other in sorted(missing)}
            found = difflib.get_close_matches(name, known, 1, ALIKE_WITHOUT_PREFIX)
        return known[found[0]] if found else None
